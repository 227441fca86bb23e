/** Records events as fast as it can, eight at a time, and prints each one's path once it was acknowledged; it is killed from outside. */
import { writeSync } from "node:fs";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import { systemClock } from "../../src/io/clock.ts";
import { openStore } from "../../src/store/store.ts";

const [, , dataDir = "", databaseUrl = "", round = ""] = process.argv;
const store = await openStore({ dataDir, clock: systemClock, ...(databaseUrl === "" ? {} : { databaseUrl }) });
const trail = openAuditTrail(store);

async function recordForever(worker: number): Promise<never> {
  for (let count = 0; ; count += 1) {
    const path = `/${round}/${worker}/${count}`;
    await trail.record({ actor: { kind: "server" }, action: "download", result: "complete", path });
    writeSync(1, `${path}\n`); // at once: what is printed is what was acknowledged
  }
}

await Promise.all(Array.from({ length: 8 }, (_unused, worker) => recordForever(worker)));
