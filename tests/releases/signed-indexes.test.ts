/** What a publication signs, checked by gpgv: the release file and repomd.xml of the snapshot that is served. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../src/io/clock.ts";
import { runCommand } from "../../src/io/command.ts";
import { createDownloadResolver, type DownloadTree } from "../../src/releases/resolve.ts";
import { openStore } from "../../src/store/store.ts";
import { exportPublicKeys } from "../../src/trust/openpgp.ts";
import { needClient } from "../support/clients.ts";
import { product, publish, sampleRelease, stage, testRepositoryKey } from "./sample-release.ts";

test("C12 C13 gpgv accepts the signatures of every signed index after a publication, and not over other bytes", async (t) => {
  if (!needClient(t, "gpgv")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-gpgv-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const repositoryKey = await testRepositoryKey();
  const store = await openStore({ dataDir: join(folder, "data"), clock: systemClock });
  const release = await sampleRelease("1.4.2");
  await stage(store, release);
  await publish(store, release, repositoryKey);
  const resolver = createDownloadResolver(store);
  const fetch = async (tree: DownloadTree, path: string): Promise<string> => {
    const found = await resolver.resolve({ product, tree, path });
    assert.ok(found.kind === "file", path);
    const local = join(folder, path.replaceAll("/", "_"));
    await writeFile(local, await store.blobs.read(found.digest, 10_000_000));
    return local;
  };
  const keyring = join(folder, "keyring.gpg");
  await writeFile(keyring, await exportPublicKeys([Buffer.from(repositoryKey.publicText)], "gpg"));
  const gpgv = async (...files: readonly string[]): Promise<number | null> =>
    (await runCommand(["gpgv", "--keyring", keyring, ...files], { timeoutMs: 30_000 })).exitCode;
  const releaseFile = await fetch("apt", "dists/stable/Release");
  const repomd = await fetch("yum", "stable/repodata/repomd.xml");
  const repomdSignature = await fetch("yum", "stable/repodata/repomd.xml.asc");
  assert.equal(await gpgv(await fetch("apt", "dists/stable/InRelease")), 0);
  assert.equal(await gpgv(await fetch("apt", "dists/stable/Release.gpg"), releaseFile), 0);
  assert.equal(await gpgv(repomdSignature, repomd), 0);
  assert.notEqual(await gpgv(repomdSignature, releaseFile), 0);
  resolver.close();
  await store.close();
});
