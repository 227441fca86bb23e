/** Publishes, promotes, rolls out, makes customer views and retires in stages until it is killed from outside; a day passes with each version. */
import { writeSync } from "node:fs";
import { systemClock } from "../../src/io/clock.ts";
import { rankChannel } from "../../src/releases/channels.ts";
import { createCustomerViews } from "../../src/releases/customer-view.ts";
import { createProduct } from "../../src/releases/products.ts";
import { changeRollout, promoteRelease } from "../../src/releases/promote.ts";
import { publishRelease } from "../../src/releases/publish.ts";
import { openRepositoryKey } from "../../src/releases/repository-key.ts";
import { createDownloadResolver } from "../../src/releases/resolve.ts";
import { retainNow } from "../../src/releases/retain.ts";
import { setRetention } from "../../src/releases/retention-facts.ts";
import { sweep } from "../../src/releases/sweep.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { openStore } from "../../src/store/store.ts";
import { actor, product, sampleRelease, stage } from "./sample-release.ts";
import { pinnedHolder } from "./view-check.ts";

const [, , dataDir = "", databaseUrl = "", from = "0"] = process.argv;
const time = { days: Number(from) };
const clock = { now: () => new Date(systemClock.now().getTime() + time.days * 86_400_000) };
const store = await openStore({ dataDir, clock, ...(databaseUrl === "" ? {} : { databaseUrl }) });
const repositoryKey = await openRepositoryKey(store, await openKeyEncryptionKey({ dataDir }));
const resolver = createDownloadResolver(store, createCustomerViews(store, repositoryKey));
await createProduct(store, { name: product, actor });
await rankChannel(store, { product, channel: "beta", rank: 50, actor });
writeSync(1, "ready\n");
for (let patch = Number(from); ; patch += 1) {
  time.days = patch;
  const release = await sampleRelease(`1.0.${patch}`);
  await stage(store, release);
  await publishRelease(store, { product, version: release.version, sums: release.sums, share: 5_000, repositoryKey, actor });
  await setRetention(store, { product, keep: 2, change: { announceDays: 1, unlistDays: 1, graceDays: 0 }, actor });
  const look = { product, tree: "apt", path: "dists/stable/InRelease" } as const;
  await resolver.resolve({ ...look, holder: pinnedHolder(`1.0.${Math.max(0, patch - 1)}`) });
  await promoteRelease(store, { product, version: release.version, channel: "beta", repositoryKey, actor });
  await changeRollout(store, { product, version: release.version, channel: "stable", percent: 100, repositoryKey, actor });
  await resolver.resolve({ ...look, holder: pinnedHolder("0.9.0") });
  await retainNow(store, { product, repositoryKey, actor });
  await sweep(store);
  writeSync(1, `${release.version}\n`);
}
