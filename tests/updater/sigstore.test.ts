/** The updater with a Sigstore policy: the target's bundle is demanded before anything is applied, at the tag of the version that was asked for. */
import assert from "node:assert/strict";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { actionsIssuer, type SigstoreInstance, startSigstore } from "../support/sigstore-instance.ts";
import { archiveName, failure, makeSite, noSignal, type Site, startVendor, type TestRelease, type Vendor } from "./support.ts";

const repository = "https://github.com/acme/toy";
const workflow = ".github/workflows/release.yml";
const identityOf = (version: string): string => `${repository}/${workflow}@refs/tags/v${version}`;

type Field = { readonly vendor: Vendor; readonly site: Site; readonly release: TestRelease; readonly sigstore: SigstoreInstance; readonly sign: Sign };
type Sign = (version: string, names?: readonly string[], who?: { readonly identity?: string; readonly issuer?: string }) => Promise<void>;

/** 1.4.2 is installed and runs; 1.5.0 is on offer, both signed keyless. `trust` stands before the Sigstore policy. */
async function field(t: TestContext, trust: (vendor: Vendor) => string = () => ""): Promise<Field> {
  const vendor = await startVendor(t);
  const sigstore = await startSigstore(t);
  const policy = `sigstore: { issuer: "${actionsIssuer}", repository: "${repository}", workflow: "${workflow}", trusted_root: root.json }`;
  const site = await makeSite(vendor, { trust: `{ ${trust(vendor)}${policy} }` }, t);
  await writeFile(join(site.folder, "root.json"), sigstore.trustedRoot);
  const sign: Sign = async (version, names = ["SHA256SUMS", archiveName(version)], { identity = identityOf(version), issuer = actionsIssuer } = {}) => {
    const release = vendor.releases.get(version);
    for (const name of names) {
      const path = join(site.folder, "to-sign");
      await writeFile(path, release?.get(name) ?? "");
      release?.set(`${name}.bundle`, await sigstore.bundle(path, { identity, issuer }));
    }
  };
  const keyless = trust(vendor) === "";
  for (const version of ["1.4.2", "1.5.0"]) {
    await vendor.release(version);
    await sign(version);
    if (keyless) vendor.releases.get(version)?.delete("SHA256SUMS.minisig");
    if (version === "1.4.2") await (await site.updater()).install({ signal: noSignal });
  }
  const release = vendor.releases.get("1.5.0");
  assert.ok(release !== undefined);
  return { vendor, site, release, sigstore, sign };
}

async function refused(site: Site, detail: string): Promise<Error> {
  const error = await failure((await site.updater()).install({ signal: noSignal }), "upgrade_verification_failed", detail);
  assert.deepEqual([await site.running(), await site.live()], ["1.4.2", "1.4.2"]);
  assert.deepEqual(await readdir(join(site.root, "versions")), ["1.4.2"]);
  return error;
}

test("K8 a release whose sums and artifact are signed by the workflow at its tag is installed, and nobody but the source is asked", async (t) => {
  const { site, sigstore } = await field(t);
  const before = sigstore.requests.length;
  const result = await (await site.updater()).install({ signal: noSignal });
  assert.equal(result.kind, "installed");
  assert.equal(await site.running(), "1.5.0");
  assert.equal(sigstore.requests.length, before, "verification works offline");
});

for (const missing of ["SHA256SUMS", archiveName("1.5.0")]) {
  test(`K8 17 without the bundle of ${missing} nothing is installed: bundle_missing`, async (t) => {
    const { vendor, site, release } = await field(t);
    release.delete(`${missing}.bundle`);
    vendor.requests.length = 0;
    await refused(site, "bundle_missing");
    assert.ok(!vendor.requests.some((line) => line.endsWith(archiveName("1.5.0"))), "the artifact itself is not even fetched");
  });

  test(`K8 12 the bundle of ${missing} from another tag's run is refused: identity_mismatch`, async (t) => {
    const { site, sign } = await field(t);
    await sign("1.5.0", [missing], { identity: identityOf("1.5.01") });
    await refused(site, "identity_mismatch");
  });
}

test("K8 15 the right identity from another issuer is refused: issuer_mismatch", async (t) => {
  const { site, sign } = await field(t);
  await sign("1.5.0", [archiveName("1.5.0")], { issuer: "https://evil.example" });
  await refused(site, "issuer_mismatch");
});

test("K8 17 a truncated bundle is refused: bundle_malformed", async (t) => {
  const { site, release } = await field(t);
  const name = `${archiveName("1.5.0")}.bundle`;
  release.set(name, release.get(name)?.subarray(0, 500) ?? Buffer.alloc(0));
  await refused(site, "bundle_malformed");
});

test("K8 the bundle of another artifact is refused: bundle_untrusted", async (t) => {
  const { site, release } = await field(t);
  release.set(`${archiveName("1.5.0")}.bundle`, release.get("SHA256SUMS.bundle") ?? Buffer.alloc(0));
  await refused(site, "bundle_untrusted");
});

test("K8 good bundles do not stand in for the minisign signature that is required as well, nor it for them", async (t) => {
  const both = await field(t, (vendor) => `minisign: [${vendor.publicKey}], `);
  const minisig = both.release.get("SHA256SUMS.minisig") ?? Buffer.alloc(0);
  both.release.delete("SHA256SUMS.minisig");
  await refused(both.site, "minisig_missing");
  both.release.set("SHA256SUMS.minisig", minisig);
  both.release.delete(`${archiveName("1.5.0")}.bundle`);
  await refused(both.site, "bundle_missing");
});

test("a bundle that is not required but there must be good; one that is neither is not missed", async (t) => {
  const { site, release, sign } = await field(t, (vendor) => `minisign: [${vendor.publicKey}], require: [minisign], `);
  await sign("1.5.0", [archiveName("1.5.0")], { identity: identityOf("9.9.9") });
  await refused(site, "identity_mismatch");
  release.delete(`${archiveName("1.5.0")}.bundle`);
  assert.equal((await (await site.updater()).install({ signal: noSignal })).kind, "installed");
});

test("16 an installation file whose identity is empty is refused before anything is fetched", async (t) => {
  const { vendor, site } = await field(t);
  const text = await (await import("node:fs/promises")).readFile(site.file, "utf8");
  await writeFile(site.file, text.replace(`repository: "${repository}"`, 'repository: ""'));
  vendor.requests.length = 0;
  await failure((await site.updater()).install({ signal: noSignal }), "installation_invalid");
  assert.deepEqual(vendor.requests, []);
  await rm(join(site.folder, "root.json"));
  await writeFile(site.file, text);
  await failure((await site.updater()).install({ signal: noSignal }), "installation_invalid");
});
