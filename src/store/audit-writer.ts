/**
 * Makes groups of audit events durable: one transaction for each group, on either database.
 *
 * SQLite's work is done by a thread of its own (audit-worker.ts): a commit waits for the disk, and no request should wait with it.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { type Kysely, sql } from "kysely";
import type { AuditAnswer, AuditRequest, AuditWorkerInput } from "./audit-worker.ts";
import type { AuditEventTable } from "./audit-tables.ts";
import type { Database } from "./schema.ts";

export type AuditWriter = {
  /** Resolves when all rows are on the disk; rejects when none is. The rows have the same columns in the same order. */
  append(rows: readonly AuditEventTable[]): Promise<void>;
  close(): Promise<void>;
};

/** One JSON parameter instead of 19 for each row: the statement's text is the same for any number of rows. */
export function postgresAuditWriter(db: Kysely<Database>): AuditWriter {
  return {
    append: async (rows) => {
      const [first] = rows;
      if (first === undefined) return;
      const columns = sql.join(Object.keys(first).map((column) => sql.ref(column)));
      const source = sql`select ${columns} from json_populate_recordset(null::audit_events, ${JSON.stringify(rows)})`;
      await sql`insert into audit_events (${columns}) ${source}`.execute(db);
    },
    close: () => Promise.resolve(),
  };
}

function send(worker: Worker, message: AuditRequest | "close"): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin, windows have
  worker.postMessage(message);
}

type Waiting = { readonly resolve: () => void; readonly reject: (error: unknown) => void };

/** The thread starts with the first group, and again after it failed; while nothing waits it does not keep the process alive. */
export function sqliteAuditWriter(path: string): AuditWriter {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let count = 0;

  function settle(answer: AuditAnswer): void {
    const group = waiting.get(answer.group);
    waiting.delete(answer.group);
    if (waiting.size === 0) worker?.unref();
    if (answer.failure === undefined) group?.resolve();
    else group?.reject(new Error(`the audit events could not be written: ${answer.failure}`));
  }

  function start(): Worker {
    const started = new Worker(new URL("./audit-worker.ts", import.meta.url), { workerData: { path } satisfies AuditWorkerInput });
    const fail = (error: unknown): void => {
      if (worker === started) worker = undefined;
      const groups = [...waiting.values()];
      waiting.clear();
      for (const group of groups) group.reject(error);
    };
    started.on("message", settle);
    started.on("error", fail);
    started.on("exit", () => fail(new Error("the audit thread ended")));
    return started;
  }

  return {
    append: (rows) => {
      const [first] = rows;
      if (first === undefined) return Promise.resolve();
      worker ??= start();
      worker.ref();
      const group = (count += 1);
      // JSON text is half the price of a structured clone.
      const request: AuditRequest = { group, columns: Object.keys(first), rows: JSON.stringify(rows.map((row) => Object.values(row))) };
      send(worker, request);
      return new Promise((resolve, reject) => waiting.set(group, { resolve, reject }));
    },
    close: async () => {
      if (worker === undefined) return;
      const exited = once(worker, "exit");
      worker.ref();
      send(worker, "close");
      await exited;
    },
  };
}
