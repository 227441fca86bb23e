/** Key rotation as a customer's machine sees it: N-1 by K1, N introduces K2, N+1 by K2 alone; what the machine has learnt it does not forget. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { KeySet, KeySetKey } from "../../src/model/key-set.ts";
import type { Manifest } from "../../src/model/manifest.ts";
import { formatMinisignPublicKey, generateMinisignKey, type MinisignSecretKey } from "../../src/trust/minisign-key.ts";
import { failure, makeSite, noSignal, readJson, type Site, type SiteOptions, startVendor, toyFiles, type Vendor } from "./support.ts";
import { join } from "node:path";

const signal = noSignal;
const [k2, k3] = [generateMinisignKey(), generateMinisignKey()];

const keyOf = (key: MinisignSecretKey, role: KeySetKey["role"], notAfterSequence?: number): KeySetKey => ({
  kind: "minisign",
  id: key.keyId,
  publicKey: formatMinisignPublicKey(key).trim().split("\n").at(-1) ?? "",
  role,
  ...(notAfterSequence === undefined ? {} : { notAfterSequence }),
});
const carrying =
  (set: (manifest: Manifest) => KeySet) =>
  (manifest: Manifest): Manifest => ({ ...manifest, trust: set(manifest) });

/** The set of N: its own sequence is the last that K1 may have signed. */
const transition =
  (k1: MinisignSecretKey) =>
  ({ sequence }: Manifest): KeySet => ({ epoch: 2, keys: [keyOf(k1, "retired", sequence), keyOf(k2, "active"), keyOf(k3, "standby")] });

/** 1.4.2 (N-1) is installed, which trusts K1 alone. */
async function field(t: TestContext, options: SiteOptions = {}, first?: (vendor: Vendor) => KeySet): Promise<{ readonly vendor: Vendor; readonly site: Site }> {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2", first === undefined ? {} : { changeManifest: carrying(() => first(vendor)) });
  const site = await makeSite(vendor, options, t);
  await (await site.updater()).install({ signal });
  return { vendor, site };
}

const install = async (site: Site): Promise<string> => (await (await site.updater()).install({ signal })).kind;
const refused = async (site: Site, detail: string, version: string): Promise<Error & { hint: string }> => {
  const error = await failure((await site.updater()).install({ signal }), "upgrade_verification_failed", detail);
  assert.deepEqual([await site.running(), await site.live()], [version, version]);
  return error;
};

test("J10 a machine at N-1 goes to N, which the old key signed, and from there to N+1, which only the new key signed", async (t) => {
  const { vendor, site } = await field(t);
  await vendor.release("1.5.0", { changeManifest: carrying(transition(vendor.key)) });
  assert.equal(await install(site), "installed");
  await vendor.release("1.6.0", { key: k2 });
  assert.equal(await install(site), "installed");
  assert.equal(await site.running(), "1.6.0");
});

test("J10 72 N+1 offered to N-1 directly is refused, and the message says to step through N", async (t) => {
  const { vendor, site } = await field(t);
  await vendor.release("1.6.0", { key: k2 });
  const error = await refused(site, "minisig_key_unknown", "1.4.2");
  assert.match(error.hint, /install the release that introduces the new key first/);
});

test("J10 after N the old key counts no more, not even after going back to N-1 by hand", async (t) => {
  const { vendor, site } = await field(t);
  await vendor.release("1.5.0", { changeManifest: carrying(transition(vendor.key)) });
  await install(site);
  await (await site.updater()).rollback({ signal });
  assert.equal(await site.running(), "1.4.2");
  await vendor.release("1.6.0");
  await refused(site, "key_retired", "1.4.2");
  const state = await readJson(join(site.updates, "state.json"));
  assert.equal((state["trust"] as { set: { epoch: number } }).set.epoch, 2);
});

test("J10 a machine that verified N and had to go back from it knows the new keys all the same", async (t) => {
  const { vendor, site } = await field(t);
  await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes"), changeManifest: carrying(transition(vendor.key)) });
  await failure((await site.updater()).install({ signal }), "health_failed").catch(() => undefined);
  assert.equal(await site.running(), "1.4.2");
  await vendor.release("1.5.1");
  await refused(site, "key_retired", "1.4.2");
  await vendor.release("1.5.1", { key: k2 });
  assert.equal(await install(site), "installed");
});

test("J10 with a standby key from day one a stolen K1 is replaced without an introduction", async (t) => {
  const { vendor, site } = await field(t, {}, ({ key }) => ({ epoch: 1, keys: [keyOf(key, "active"), keyOf(k2, "standby")] }));
  const first = JSON.parse(vendor.releases.get("1.4.2")?.get("release.json")?.toString("utf8") ?? "{}") as Manifest;
  const stolen = { epoch: 2, keys: [keyOf(vendor.key, "retired", first.sequence), keyOf(k2, "active"), keyOf(k3, "standby")] } satisfies KeySet;
  await vendor.release("1.5.0", { key: k2, changeManifest: carrying(() => stolen) });
  assert.equal(await install(site), "installed");
  await vendor.release("1.6.0");
  await refused(site, "key_retired", "1.5.0");
});

test("a key that a newer set does not name at all has ended with it", async (t) => {
  const { vendor, site } = await field(t, {}, ({ key }) => ({ epoch: 1, keys: [keyOf(key, "active"), keyOf(k2, "standby")] }));
  await vendor.release("1.5.0", { changeManifest: carrying(() => ({ epoch: 2, keys: [keyOf(k2, "active")] })) });
  await install(site);
  await vendor.release("1.6.0");
  await refused(site, "key_retired", "1.5.0");
});

test("the policy tightens by a signed release and never loosens", async (t) => {
  const { vendor, site } = await field(t);
  const demanding: KeySet = { epoch: 1, keys: [keyOf(vendor.key, "active"), keyOf(k2, "standby")], require: ["openpgp", "minisign"] };
  await vendor.release("1.5.0", { changeManifest: carrying(() => demanding) });
  assert.equal(await install(site), "installed", "openpgp is remembered, and counts as soon as the file knows a key for it");
  const state = await readJson(join(site.updates, "state.json"));
  assert.deepEqual((state["trust"] as { require: string[] }).require, ["openpgp", "minisign"]);
  await vendor.release("1.6.0", { changeManifest: carrying(() => ({ ...demanding, epoch: 2, require: undefined })) });
  assert.equal(await install(site), "installed");
  assert.deepEqual(((await readJson(join(site.updates, "state.json")))["trust"] as { require: string[] }).require, ["openpgp", "minisign"]);
});

for (const [what, set] of [
  ["calls a key by another's id", (k1: MinisignSecretKey): KeySet => ({ epoch: 2, keys: [keyOf(k1, "active"), { ...keyOf(k2, "standby"), id: k3.keyId }] })],
  ["is another one under the same epoch", (k1: MinisignSecretKey): KeySet => ({ epoch: 1, keys: [keyOf(k1, "active"), keyOf(k3, "standby")] })],
] as const) {
  test(`a key set that ${what} is refused: key_set_invalid`, async (t) => {
    const { vendor, site } = await field(t, {}, ({ key }) => ({ epoch: 1, keys: [keyOf(key, "active"), keyOf(k2, "standby")] }));
    await vendor.release("1.5.0", { changeManifest: carrying(() => set(vendor.key)) });
    await refused(site, "key_set_invalid", "1.4.2");
  });
}

test("a set of an older epoch, in a release that was made later, changes nothing", async (t) => {
  const { vendor, site } = await field(t);
  await vendor.release("1.5.0", { changeManifest: carrying(transition(vendor.key)) });
  await install(site);
  await vendor.release("1.6.0", { key: k2, changeManifest: carrying(() => ({ epoch: 1, keys: [keyOf(vendor.key, "active")] })) });
  assert.equal(await install(site), "installed");
  await vendor.release("1.7.0");
  await refused(site, "key_retired", "1.6.0");
});
