/**
 * Tells the vendor's server which version runs and how an upgrade ended, where the operator says agent: { check_in: true }.
 *
 * Sent are product, version, outcome and the installation's random id, with the access pair that reads the releases: nothing else, and to nobody else.
 */
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { retryAfterMs } from "../io/download.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { type Installation, readCredentials } from "../updater/installation.ts";
import { readState } from "../updater/installed-state.ts";
import type { Machine } from "../updater/machine.ts";
import { stateDirectoryOf } from "../updater/state-directory.ts";
import type { AgentEvent } from "./agent.ts";
import { exchangeJson } from "./agent-client.ts";

export type CheckInOutcome = "running" | "upgraded" | "rolled_back" | "rollback_failed" | "failed";

const timeLimitMs = 15_000;
/** For a server that says 429 and not until when. */
const unaskedWaitMs = 60_000;
const attempts = 5;
/** Check-ins that wait; the oldest go first. */
const waitingLimit = 20;

/** What an event of the agent means to the vendor; undefined for what is none of his business, or not over yet. */
export function outcomeOf(event: AgentEvent): CheckInOutcome | undefined {
  if (event.event === "update.offer") return "running";
  const outcome = event.event === "update.operation" ? event.subject.outcome : undefined;
  if (event.event !== "update.operation" || outcome === undefined) return undefined;
  if (outcome.kind === "done") {
    if (event.subject.kind === "rollback") return "rolled_back";
    return outcome.result["kind"] === "installed" ? "upgraded" : "running";
  }
  const { code, isRetryable } = outcome.error;
  if (code === "health_failed") return "rolled_back";
  if (code === "rollback_failed") return "rollback_failed";
  return isRetryable || code === "needs_confirmation" ? undefined : "failed";
}

export type CheckIn = { readonly version: string; readonly outcome: CheckInOutcome; readonly machine: string };

/** What there is to tell now; undefined where nothing was installed by us yet. */
async function readCheckIn({ product, stateDir }: Installation, outcome: CheckInOutcome): Promise<CheckIn | undefined> {
  const { installed, machineId } = await readState(stateDirectoryOf(stateDir).state, product);
  return installed === undefined || machineId === undefined ? undefined : { version: installed.version, outcome, machine: machineId };
}

/** Returns 0 when the server took it, and the ms after which it wants to hear of it again where it asks for that. Throws where it does not take it. */
async function sendCheckIn(
  installation: Installation,
  checkIn: CheckIn,
  { env, signal }: { readonly env: Readonly<Record<string, string | undefined>>; readonly signal: AbortSignal },
): Promise<number> {
  const { product, source } = installation;
  const pair = await readCredentials(source, installation, env);
  if (pair === undefined) return 0;
  const url = new URL(`${source.url.replace(/\/+$/, "")}/releases/${encodeURIComponent(product)}/check-in`);
  const bytes = JSON.stringify(checkIn);
  const agent = url.protocol === "https:" ? new HttpsAgent({ proxyEnv: process.env }) : new HttpAgent({ proxyEnv: process.env });
  const { status, retryAfter } = await exchangeJson(
    { url: url.href },
    {
      method: "POST",
      path: url.pathname,
      agent,
      headers: {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(bytes),
        authorization: `Basic ${Buffer.from(`${pair.keyId}:${pair.secret}`).toString("base64")}`,
      },
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeLimitMs)]),
    },
    bytes,
  );
  if (status === 429) return Math.max(1000, retryAfterMs(retryAfter ?? null) ?? unaskedWaitMs);
  if (status !== 200)
    throw new SlipwayError("server_error", `the check-in was answered with ${status}`, {
      hint: "an older server does not know check-ins; agent: { check_in: false } ends them",
    });
  return 0;
}

export type CheckIns = {
  readonly tell: (outcome: CheckInOutcome) => void;
  /** Resolves when nothing waits any more, or the signal has ended it. */
  readonly ended: () => Promise<void>;
};

/**
 * Tells one after the other, and waits as long as the server asks for, with up to a fifth more: machines that were refused together do not come back together.
 * A vendor who cannot be told is no reason to stop: that goes to `onFailure`.
 */
export function createCheckIns(options: {
  readonly installation: Installation;
  readonly machine: Pick<Machine, "env" | "sleep" | "random">;
  readonly signal: AbortSignal;
  readonly onFailure: (error: SlipwayError) => void;
}): CheckIns {
  const { installation, machine, signal, onFailure } = options;
  const waiting: Promise<CheckIn | undefined>[] = [];
  let telling = Promise.resolve();
  const tellNext = async (): Promise<void> => {
    const checkIn = await waiting.shift();
    if (checkIn === undefined) return;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      const waitMs = await sendCheckIn(installation, checkIn, { env: machine.env, signal });
      if (waitMs === 0) return;
      if (attempt === attempts) throw new SlipwayError("rate_limited", `the vendor's server did not take a check-in in ${attempts} attempts`);
      await machine.sleep(waitMs * (1 + machine.random() / 5), signal);
      if (checkIn.outcome === "running" && waiting.length > 0) return; // the next one says it as well, and newer
    }
  };
  return {
    tell: (outcome) => {
      if (waiting.length === waitingLimit) void waiting.shift();
      const read = readCheckIn(installation, outcome); // as it is now, not when its turn comes
      read.catch(() => undefined); // its failure is seen in its turn
      waiting.push(read);
      telling = telling.then(tellNext).catch((error: unknown) => {
        if (!signal.aborted) onFailure(asSlipwayError(error));
      });
    },
    ended: () => telling,
  };
}
