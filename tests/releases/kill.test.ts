/** Kill -9 at any moment of staging and publishing: whatever is published is whole, and the same call again completes the rest. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import { systemClock } from "../../src/io/clock.ts";
import { digestFromHex, digestHex } from "../../src/model/digest.ts";
import { requireProduct } from "../../src/releases/products.ts";
import { openRepositoryKey } from "../../src/releases/repository-key.ts";
import { listReleases, readRelease } from "../../src/releases/releases.ts";
import { createDownloadResolver } from "../../src/releases/resolve.ts";
import { readHead } from "../../src/releases/snapshot.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { openStore, type Store } from "../../src/store/store.ts";
import { needPostgres } from "../support/stores.ts";
import { product, publish, sampleRelease, stage } from "./sample-release.ts";

const driver = join(import.meta.dirname, "publish-driver.ts");
const rounds = 12;

async function assertWholeBlob(store: Store, digest: Parameters<Store["blobs"]["open"]>[0]): Promise<void> {
  const hash = createHash("sha256");
  await pipeline(await store.blobs.open(digest), hash);
  assert.equal(digestFromHex(hash.digest("hex")), digest);
}

/** Every published release whole, in every index, and the indexes naming nothing else. */
async function assertWhole(store: Store, acknowledged: readonly string[]): Promise<void> {
  const all = await listReleases(store, product);
  const published = all.filter((release) => release.state === "published");
  const versions = published.map((release) => release.version as string);
  for (const version of acknowledged) assert.ok(versions.includes(version), `${version} was acknowledged and is not published`);
  const resolver = createDownloadResolver(store);
  try {
    for (const release of published) {
      for (const artifact of (await readRelease(store, product, release.version)).artifacts) {
        const found = await resolver.resolve({ product, tree: "releases", path: `${release.version}/${artifact.name}` });
        assert.ok(found.kind === "file", `${release.version}/${artifact.name}`);
        await assertWholeBlob(store, found.digest);
      }
    }
    const { snapshot } = await readHead(store, await requireProduct(store, product));
    if (snapshot === undefined) return assert.deepEqual(versions, []);
    const files = await store.db.selectFrom("snapshot_files").select(["digest", "path"]).where("snapshot_id", "=", snapshot.id).execute();
    for (const file of files) await assertWholeBlob(store, file.digest);
    const packages = files.find((file) => file.path === "apt/dists/stable/main/binary-amd64/Packages.gz");
    assert.ok(packages !== undefined);
    const text = gunzipSync(await store.blobs.read(packages.digest, 10_000_000)).toString();
    const listed = [...text.matchAll(/^Version: (.*)$/gm)].map((match) => match[1]);
    assert.equal(listed.length, versions.length);
    assert.deepEqual(new Set(listed), new Set(versions), "the index lists the published releases, each once");
    const release = files.find((file) => file.path === "apt/dists/stable/Release");
    assert.ok(release !== undefined && (await store.blobs.read(release.digest, 10_000_000)).includes(digestHex(packages.digest)));
  } finally {
    resolver.close();
  }
}

for (const database of ["SQLite", "PostgreSQL"] as const) {
  test(`a publish killed at any moment leaves every published release whole and is completed by the next call (regression 22, ${database})`, async (t) => {
    const databaseUrl = database === "PostgreSQL" ? await needPostgres(t) : undefined;
    if (database === "PostgreSQL" && databaseUrl === undefined) return;
    const dataDir = await mkdtemp(join(tmpdir(), "slipway-kill-"));
    t.after(() => rm(dataDir, { recursive: true, force: true }));
    const open = (): Promise<Store> => openStore({ dataDir, clock: systemClock, ...(databaseUrl === undefined ? {} : { databaseUrl }) });
    const acknowledged: string[] = [];
    let unfinished = 0;
    for (let round = 0; round < rounds; round += 1) {
      const store = await open();
      const isStarted = await store.db.selectFrom("products").select("id").executeTakeFirst();
      const releases = isStarted === undefined ? [] : await listReleases(store, product);
      await store.close();
      // Goes on with the draft that the last kill left, if there is one: staging and publishing again must complete it.
      const from = releases.filter((release) => release.state === "published").length;
      const publisher = spawn(process.execPath, [driver, dataDir, databaseUrl ?? "", String(from)], { stdio: ["ignore", "pipe", "inherit"] });
      let text = "";
      publisher.stdout.on("data", (piece: Buffer) => {
        text += piece.toString("utf8");
      });
      // Every third time a publication gets through first, however slow the machine.
      const sign = round % 3 === 0 ? /^\d/m : /ready/;
      while (!sign.test(text) && publisher.exitCode === null) await sleep(5);
      await sleep(20 + ((round * 37) % 400)); // spread over the steps of one to a few publications
      publisher.kill("SIGKILL");
      await once(publisher, "close");
      assert.equal(publisher.signalCode, "SIGKILL", "it was killed, not ended by an error");
      acknowledged.push(...text.split("\n").filter((line) => /^\d/.test(line)));
      const after = await open();
      const isAnything = await after.db.selectFrom("products").select("id").executeTakeFirst();
      if (isAnything !== undefined) {
        await assertWhole(after, acknowledged);
        unfinished += (await listReleases(after, product)).filter((release) => release.state === "draft").length;
      }
      await after.close();
    }
    t.diagnostic(`${acknowledged.length} publications acknowledged, ${unfinished} kills left a draft`);
    assert.ok(acknowledged.length > 0 && unfinished > 0, "the kills hit publications at work");

    const store = await open();
    const repositoryKey = await openRepositoryKey(store, await openKeyEncryptionKey({ dataDir }));
    const drafts = (await listReleases(store, product)).filter((release) => release.state === "draft");
    for (const draft of drafts) {
      const release = await sampleRelease(draft.version);
      await stage(store, release);
      assert.equal((await publish(store, release, repositoryKey)).isNew, true);
    }
    const versions = (await listReleases(store, product)).map((release) => release.version);
    await assertWhole(store, versions);
    const { events } = await openAuditTrail(store).list({ action: "release.publish", limit: 1_000 });
    assert.equal(events.length, versions.length);
    assert.deepEqual(new Set(events.map((event) => event.version)), new Set<string | undefined>(versions), "each publication is in the audit trail once");
    await store.close();
  });
}
