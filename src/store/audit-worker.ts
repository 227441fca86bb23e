/** The thread that writes audit events into SQLite: each message is a group, each group one transaction, answered when it is on the disk. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { openSqliteFile } from "./sqlite-file.ts";

export type AuditWorkerInput = { readonly path: string };

export type AuditRequest = {
  /** Names the group in the answer. */
  readonly group: number;
  readonly columns: readonly string[];
  /** JSON: an array of rows, each an array of values in the order of `columns`. */
  readonly rows: string;
};

export type AuditAnswer = { readonly group: number; readonly failure?: string };

function insertGroup(database: DatabaseSync, insert: StatementSync, rows: readonly (readonly SQLInputValue[])[]): void {
  database.exec("begin immediate");
  try {
    for (const row of rows) insert.run(...row);
    database.exec("commit");
  } catch (error) {
    // A failed commit may have rolled back by itself (disk full).
    if (database.isTransaction) database.exec("rollback");
    throw error;
  }
}

async function serve(port: NonNullable<typeof parentPort>, input: AuditWorkerInput): Promise<void> {
  const database = await openSqliteFile(input.path);
  let insert: StatementSync | undefined;
  port.on("message", (request: AuditRequest | "close") => {
    if (request === "close") {
      database.close();
      port.close();
      return;
    }
    let answer: AuditAnswer = { group: request.group };
    try {
      insert ??= database.prepare(`insert into audit_events (${request.columns.join(", ")}) values (${request.columns.map(() => "?").join(", ")})`);
      insertGroup(database, insert, JSON.parse(request.rows) as SQLInputValue[][]);
    } catch (error) {
      answer = { group: request.group, failure: error instanceof Error ? error.message : String(error) };
    }
    port.postMessage(answer);
  });
}

// A failure to open the database is an unhandled rejection, which ends the thread with an "error" event at its writer.
if (parentPort !== null) void serve(parentPort, workerData as AuditWorkerInput);
