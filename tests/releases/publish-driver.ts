/** Stages and publishes one release after another until it is killed from outside; prints each version once its publish returned. */
import { writeSync } from "node:fs";
import { systemClock } from "../../src/io/clock.ts";
import { openRepositoryKey } from "../../src/releases/repository-key.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { openStore } from "../../src/store/store.ts";
import { publish, sampleRelease, stage } from "./sample-release.ts";

const [, , dataDir = "", databaseUrl = "", from = "0"] = process.argv;
const store = await openStore({ dataDir, clock: systemClock, ...(databaseUrl === "" ? {} : { databaseUrl }) });
const repositoryKey = await openRepositoryKey(store, await openKeyEncryptionKey({ dataDir }));
writeSync(1, "ready\n");
for (let patch = Number(from); ; patch += 1) {
  const release = await sampleRelease(`1.0.${patch}`);
  await stage(store, release);
  await publish(store, release, repositoryKey);
  writeSync(1, `${release.version}\n`);
}
