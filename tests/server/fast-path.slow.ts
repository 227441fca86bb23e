/** The fast path beside the ordinary way, everything again with PostgreSQL behind it. */
import { test } from "node:test";
import { fastPathCases } from "./fast-path-cases.ts";
import { postgresFlags } from "./postgres-flags.ts";

for (const { name, run } of fastPathCases) {
  test(`${name} (PostgreSQL)`, async (t) => {
    const flags = await postgresFlags(t);
    if (flags !== undefined) await run(t, flags);
  });
}
