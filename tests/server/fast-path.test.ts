/** The fast path beside the ordinary way: all that must hold of it on SQLite, and on PostgreSQL what depends on the database most. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { postgresFlags } from "./postgres-flags.ts";
import { fastPathCases } from "./fast-path-cases.ts";

for (const { name, run } of fastPathCases) test(name, (t) => run(t, {}));

test("C9 on PostgreSQL too: what another server wrote to the same database is in force on the fast path within a second", async (t) => {
  const flags = await postgresFlags(t);
  if (flags === undefined) return;
  const shared = fastPathCases.find(({ name }) => name.includes("another server")) ?? assert.fail("no such case");
  await shared.run(t, flags);
});
