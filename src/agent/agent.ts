/**
 * The updater as a service: one operation at a time, which belongs to the agent and not to the connection that asked for it.
 *
 * The journal is the memory. An agent that was killed takes up at its next start what the journal says; the same wish again finds the same
 * transaction, another one is refused with `lock_held`.
 */
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import { createEventStream, type EventStream } from "../updater/event-stream.ts";
import type { Installation } from "../updater/installation.ts";
import type { Machine, UpdateEvent } from "../updater/machine.ts";
import type { Approver, CheckResult, Updater } from "../updater/operations.ts";
import { isFinal, isSwitching, type Transaction } from "../updater/transaction.ts";
// Loaded now, and not when the first upgrade begins: an agent runs for months, and by then its own files may have been replaced.
import "../updater/settled-updater.ts";
import { createUpdater } from "../updater/updater.ts";
import { isSameWish, type Operation, startOperation, type Wish } from "./operation.ts";

export type AgentEvent = { readonly seq: number; readonly at: string; readonly operation: string | null } & (
  | { readonly event: "update.progress"; readonly data: UpdateEvent }
  /** An operation began or ended: it is `subject` as it was then. */
  | { readonly event: "update.operation"; readonly subject: Operation }
  | { readonly event: "update.offer"; readonly check: CheckResult }
);

export type InstallWish = {
  readonly version?: Version | undefined;
  readonly isOutsideWindow?: boolean | undefined;
  readonly idempotencyKey?: string | undefined;
};
export type RollbackWish = {
  readonly version?: Version | undefined;
  readonly restoreState?: "auto" | "always" | "never" | undefined;
  readonly idempotencyKey?: string | undefined;
};

export type LastCheck = { readonly at: Date; readonly check?: CheckResult; readonly error?: SlipwayError };

export type Agent = {
  /** Asks the source; several who ask at once share one answer. */
  readonly check: () => Promise<CheckResult>;
  readonly plan: Updater["plan"];
  /** Answers as soon as there is a transaction; a refusal before that is thrown. */
  readonly install: (wish: InstallWish, approver: Approver) => Promise<Operation>;
  readonly confirm: (approver: Approver) => Promise<Operation>;
  readonly rollback: (wish: RollbackWish, by: string) => Promise<Operation>;
  /** Takes up what an earlier run left; undefined where that is nothing. */
  readonly resume: () => Promise<Operation | undefined>;
  /** Gives up an upgrade that has switched nothing yet; throws `conflict` for one that has. */
  readonly cancel: () => Promise<{ readonly version: string }>;
  readonly status: Updater["status"];
  readonly current: () => Operation | undefined;
  readonly last: () => Operation | undefined;
  readonly lastCheck: () => LastCheck | undefined;
  readonly events: EventStream<AgentEvent>["events"];
  /** The newest events after `seq`, oldest first, as far as they are kept. */
  readonly since: (seq: number) => readonly AgentEvent[];
  /** Stops at the next safe point; what is past the switch is brought to its end first. */
  readonly close: () => Promise<void>;
};

/** How long an answer may take before it says "running" without a transaction: the index comes over the network. */
const answerMs = 2000;
const keptEvents = 500;
const keptKeys = 200;
/** Releases that are newer and not offered: events are kept, and a source may have many. */
const skippedLimit = 50;

export function createAgent(options: {
  readonly installation: Installation;
  readonly machine: Omit<Machine, "observe">;
  readonly onEvent?: (event: AgentEvent) => void;
}): Agent {
  const { installation, machine } = options;
  const now = machine.clock.now;
  const stream = createEventStream<AgentEvent>();
  const kept: AgentEvent[] = [];
  const byKey = new Map<string, Operation>();
  const closing = new AbortController();
  let seq = 0;
  let current: (Operation & { readonly hasBegun: () => void }) | undefined;
  let last: Operation | undefined;
  let lastCheck: LastCheck | undefined;
  let checking: Promise<CheckResult> | undefined;

  type Content =
    | { event: "update.progress"; data: UpdateEvent }
    | { event: "update.operation"; subject: Operation }
    | { event: "update.offer"; check: CheckResult };
  const publish = (content: Content): void => {
    seq += 1;
    const event: AgentEvent = { seq, at: now().toISOString(), operation: current?.id ?? last?.id ?? null, ...content };
    kept.push(event);
    if (kept.length > keptEvents) kept.shift();
    stream.publish(event);
    options.onEvent?.(event);
  };

  const updater = createUpdater(installation, {
    ...machine,
    observe: (data) => {
      publish({ event: "update.progress", data });
      if (data.event === "phase") void refresh(current).then(current?.hasBegun);
    },
  });

  const journaled = async (): Promise<Transaction | undefined> => {
    const { journal } = await updater.status();
    return journal.kind === "known" ? journal.transaction : undefined;
  };

  /** What the journal says goes into the operation. A journal that cannot be read is the operation's own failure, not this one's. */
  const refresh = async (operation: Operation | undefined): Promise<void> => {
    if (operation === undefined) return;
    const transaction = await journaled().catch(() => undefined);
    if (transaction !== undefined && transaction.updatedAt >= operation.startedAt.getTime()) operation.transaction = transaction;
  };

  const begin = async (wish: Wish, by: string, run: (signal: AbortSignal) => Promise<Readonly<Record<string, unknown>>>): Promise<Operation> => {
    if (closing.signal.aborted)
      throw new SlipwayError("unavailable", "the agent is stopping", { hint: "ask again when it is up; what has begun is brought to a safe point" });
    if (current !== undefined) {
      if (isSameWish(current, wish)) return current;
      throw new SlipwayError("lock_held", `the agent is at work: ${current.kind} ${current.version ?? ""}`.trimEnd());
    }
    const runAndLook = async (signal: AbortSignal): ReturnType<typeof run> => {
      try {
        return await run(signal);
      } finally {
        await refresh(started); // before the operation counts as ended: who sees its end may begin the next one at once
      }
    };
    const started = startOperation({ wish, by, now, signal: closing.signal, run: runAndLook });
    current = started;
    last = started;
    publish({ event: "update.operation", subject: { ...started } });
    void started.ended.then(() => {
      current = undefined;
      publish({ event: "update.operation", subject: { ...started } });
    });
    await Promise.race([started.begun, new Promise((resolve) => setTimeout(resolve, answerMs).unref())]);
    const { outcome, transaction } = started;
    if (outcome?.kind === "failed" && transaction === undefined) throw outcome.error;
    return started;
  };

  /** Somebody else's work is seen at once, not after the ten seconds that a lock is waited for. */
  const requireFree = async (): Promise<void> => {
    if (current !== undefined) return;
    const { lock } = await updater.status();
    if (lock !== null && lock.pid !== process.pid) throw new SlipwayError("lock_held", `another slipway is at work: ${lock.operation} since ${lock.startedAt}`);
  };

  const once = async (key: string | undefined, wish: Wish, start: () => Promise<Operation>): Promise<Operation> => {
    const known = key === undefined ? undefined : byKey.get(key);
    if (known !== undefined) {
      if (known.kind === wish.kind && known.version === wish.version) return known;
      throw new SlipwayError("conflict", "this idempotency key was used for another request", { hint: "make a new key for each new request" });
    }
    const operation = await start();
    if (key !== undefined) {
      byKey.set(key, operation);
      const [oldest] = byKey.keys();
      if (byKey.size > keptKeys && oldest !== undefined) byKey.delete(oldest);
    }
    return operation;
  };

  return {
    check: () => {
      checking ??= updater
        .check({ signal: closing.signal })
        .then(
          (whole) => {
            const check = { ...whole, offer: { ...whole.offer, skipped: whole.offer.skipped.slice(-skippedLimit) } };
            lastCheck = { at: now(), check };
            publish({ event: "update.offer", check });
            return check;
          },
          (error: unknown) => {
            if (error instanceof SlipwayError) lastCheck = { at: now(), error };
            throw error;
          },
        )
        .finally(() => {
          checking = undefined;
        });
      return checking;
    },

    plan: updater.plan,

    install: ({ version, isOutsideWindow, idempotencyKey }, approver) => {
      const wish: Wish = { kind: "install", version };
      return once(idempotencyKey === undefined ? undefined : `${approver.by} ${idempotencyKey}`, wish, async () => {
        await requireFree();
        return begin(wish, approver.by, (signal) => updater.install({ version, isOutsideWindow, approver, signal }));
      });
    },

    confirm: async (approver) => {
      await requireFree();
      return begin({ kind: "confirm" }, approver.by, (signal) => updater.confirm({ approver, signal }));
    },

    rollback: ({ version, restoreState, idempotencyKey }, by) => {
      const wish: Wish = { kind: "rollback", version };
      return once(idempotencyKey === undefined ? undefined : `${by} ${idempotencyKey}`, wish, async () => {
        await requireFree();
        return begin(wish, by, (signal) => updater.rollback({ version, restoreState, signal }));
      });
    },

    resume: async () => {
      const left = await journaled();
      if (left === undefined || isFinal(left)) return undefined;
      const wish: Wish = { kind: "resume", version: (left.goal ?? left.to.version) as Version };
      return begin(wish, "schedule", (signal) => updater.resume({ signal }));
    },

    cancel: async () => {
      const running = current;
      if (running !== undefined) {
        await refresh(running);
        if (running.kind === "rollback" || (running.transaction !== undefined && isSwitching(running.transaction)))
          throw new SlipwayError("conflict", "it is past the point where it could be given up", {
            hint: "wait for its end; a rollback goes back to the previous version",
          });
        running.cancel.abort();
        await running.ended;
        if (running.outcome?.kind === "done")
          throw new SlipwayError("conflict", "it had come to its end before it could be given up", { hint: "update.status says how it ended" });
      }
      return updater.cancel();
    },

    status: updater.status,
    current: () => current,
    last: () => last,
    lastCheck: () => lastCheck,
    events: stream.events,
    since: (after) => kept.filter((event) => event.seq > after),

    close: async () => {
      closing.abort();
      await current?.ended;
      stream.close();
    },
  };
}
