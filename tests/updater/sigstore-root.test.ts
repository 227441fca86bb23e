/** The Sigstore trusted root through TUF: authorities are rotated, and an old installation follows; nobody but the targets role moves it. */
import assert from "node:assert/strict";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { sigstoreRootTarget } from "../../src/trust/sigstore-policy.ts";
import { loadInstallation } from "../../src/updater/installation.ts";
import { readTrustPolicy } from "../../src/updater/prove.ts";
import { actionsIssuer, type SigstoreInstance, startSigstore } from "../support/sigstore-instance.ts";
import { hexOf } from "../support/tuf-repository.ts";
import { archiveName, failure, noSignal } from "./support.ts";
import { emptyField, type Field, requireUntouched, sequenceOf } from "./tuf-field.ts";

const signal = noSignal;
const repository = "https://github.com/acme/toy";
const workflow = ".github/workflows/release.yml";

/** Publishes a release that `sigstore` vouches for, listed in the metadata. */
async function release({ vendor, tuf, site }: Field, version: string, sigstore: SigstoreInstance): Promise<void> {
  const files = await vendor.release(version);
  files.delete("SHA256SUMS.minisig");
  for (const name of ["SHA256SUMS", archiveName(version)]) {
    const path = join(site.folder, "to-sign");
    await writeFile(path, files.get(name) ?? "");
    files.set(`${name}.bundle`, await sigstore.bundle(path, { identity: `${repository}/${workflow}@refs/tags/v${version}` }));
  }
  tuf.release(version, sequenceOf(files), files);
}

type Rotated = Field & { readonly before: SigstoreInstance; readonly after: SigstoreInstance; readonly kept: string };

/** 1.4.2 runs, proven by the authorities of the installation file; 1.5.0 is vouched for by others: other CA, other log, other keys. */
async function rotated(t: TestContext): Promise<Rotated> {
  const [before, after] = [await startSigstore(t), await startSigstore(t)];
  const policy = `issuer: "${actionsIssuer}", repository: "${repository}", workflow: "${workflow}", trusted_root: root.json`;
  const all = await emptyField(t, () => `sigstore: { ${policy} }, tuf: { root: toy.root.json }`);
  await writeFile(join(all.site.folder, "root.json"), before.trustedRoot);
  await release(all, "1.4.2", before);
  await (await all.site.updater()).install({ signal });
  await release(all, "1.5.0", after);
  return { ...all, before, after, kept: join(all.site.updates, "trust/sigstore-root.json") };
}

const install = async ({ site }: Field) => (await site.updater()).install({ signal });

test("an installation follows rotated authorities through TUF, verifies by them without asking again, and does not go back to the old ones", async (t) => {
  const all = await rotated(t);
  await failure(install(all), "upgrade_verification_failed", "bundle_untrusted");
  await requireUntouched(all.site);
  const old = all.tuf.freeze();
  all.tuf.own(sigstoreRootTarget, all.after.trustedRoot);
  await install(all);
  assert.equal(await all.site.running(), "1.5.0");
  assert.equal((JSON.parse(await readFile(all.kept, "utf8")) as { sha256: string }).sha256, hexOf(all.after.trustedRoot));
  assert.equal(all.site.events.filter((event) => event.event === "step" && event.step === "trust").length, 1);
  all.vendor.requests.length = 0;
  await (await all.site.updater()).check({ signal });
  assert.ok(!all.vendor.requests.some((request) => request.includes("trusted_root")), "what is kept is not fetched again");
  // The authority of the installation file was taken away: it vouches for nothing any more.
  await release(all, "1.6.0", all.before);
  await failure(install(all), "upgrade_verification_failed", "bundle_untrusted");
  assert.equal(await all.site.running(), "1.5.0");
  // Nor does metadata of before bring it back.
  all.serve.files = old;
  await failure(install(all), "metadata_rollback");
  all.serve.files = all.tuf.files;
  delete all.tuf.ownTargets[sigstoreRootTarget];
  all.tuf.delegate();
  all.tuf.snapshot();
  await failure(install(all), "upgrade_verification_failed", "bundle_untrusted");
});

test("a trusted root that is withheld, swapped or useless stops everything, and what was followed stays", async (t) => {
  const all = await rotated(t);
  all.tuf.own(sigstoreRootTarget, all.after.trustedRoot);
  all.serve.targets = new Map();
  await failure(install(all), "metadata_mix", "file_missing");
  const [path = ""] = all.tuf.targetFiles.keys();
  const other = Buffer.from(all.after.trustedRoot);
  other[100] = (other[100] ?? 0) ^ 1;
  all.serve.targets = new Map([[path, other]]);
  await failure(install(all), "metadata_mix", "hash_mismatch");
  all.serve.targets = all.tuf.targetFiles;
  const { tlogs: _, ...without } = JSON.parse(all.after.trustedRoot.toString("utf8")) as Record<string, unknown>;
  all.tuf.own(sigstoreRootTarget, Buffer.from(JSON.stringify({ ...without, tlogs: [] })));
  const refusal = await failure(install(all), "policy_invalid");
  assert.match(refusal.message, /names no transparency log/);
  await requireUntouched(all.site);
  all.tuf.own(sigstoreRootTarget, all.after.trustedRoot);
  await install(all);
  assert.equal(await all.site.running(), "1.5.0");
});

test("a damaged file of what was followed is no way back to the file's authorities: it is fetched again, and without a network nothing is proven", async (t) => {
  const all = await rotated(t);
  all.tuf.own(sigstoreRootTarget, all.after.trustedRoot);
  await (await all.site.updater()).check({ signal });
  await truncate(all.kept, 100);
  await failure(loadInstallation(all.site.file).then(readTrustPolicy), "journal_corrupt");
  await failure(install(all), "journal_corrupt");
  await (await all.site.updater()).check({ signal });
  await install(all);
  assert.equal(await all.site.running(), "1.5.0");
});

test("a channel's key, which speaks for releases, does not say whom to trust", async (t) => {
  const all = await rotated(t);
  const bytes = all.after.trustedRoot;
  all.tuf.targets[sigstoreRootTarget] = { length: bytes.length, hashes: { sha256: hexOf(bytes) } };
  all.tuf.targetFiles.set(`trust/sigstore/${hexOf(bytes)}.trusted_root.json`, bytes);
  all.tuf.list();
  await failure(install(all), "upgrade_verification_failed", "bundle_untrusted");
  await requireUntouched(all.site);
});
