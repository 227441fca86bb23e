/** The flags of a server on a fresh PostgreSQL database. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { needPostgres } from "../support/stores.ts";

/** Undefined where PostgreSQL is missing: the test is then skipped. The URL goes by a file, as a secret does. */
export async function postgresFlags(t: TestContext): Promise<Readonly<Record<string, string>> | undefined> {
  const databaseUrl = await needPostgres(t);
  if (databaseUrl === undefined) return undefined;
  const folder = await mkdtemp(join(tmpdir(), "slipway-postgres-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const databaseUrlFile = join(folder, "database-url");
  await writeFile(databaseUrlFile, databaseUrl, { mode: 0o600 });
  return { databaseUrlFile };
}
