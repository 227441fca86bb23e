/** The updater with TUF metadata: what a source, a clock or a disk may do to it. Row numbers are those of the attack table. */
import assert from "node:assert/strict";
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { signTuf, tufTime } from "../../src/trust/tuf-metadata.ts";
import { tufSnapshot, tufTimestamp } from "../../src/repositories/tuf.ts";
import { raiseFloor, trustRoot } from "../../src/trust/tuf-client.ts";
import { openTufSession, type TufSession } from "../../src/updater/tuf-session.ts";
import { commitTufSet, readTufSets, tufFileName } from "../../src/updater/tuf-set.ts";
import { newKey, TestTuf } from "../support/tuf-repository.ts";
import { archiveName, failure, noSignal, readJson, type Site } from "./support.ts";
import { field, refused, requireUntouched, sequenceOf } from "./tuf-field.ts";

const signal = noSignal;
const hour = 3_600_000;

const clockAt = (ms: number) => ({ clock: { now: () => new Date(ms) } });
const trusted = (site: Site): string => join(site.updates, "trust/online/current");

test("an upgrade is refreshed, listed and verified; what was trusted is kept as one set, and remembered apart from it", async (t) => {
  const { site, vendor } = await field(t, { require: ", require: [minisign, tuf]" });
  vendor.requests.length = 0;
  const result = await (await site.updater()).install({ signal });
  assert.equal(result.kind, "installed");
  assert.equal(await site.running(), "1.5.0");
  assert.deepEqual(await readdir(trusted(site)), ["root.json", "snapshot.json", "targets.json", "timestamp.json", "toy-stable.json"]);
  const memory = await readJson(join(site.updates, "tuf.json"));
  assert.equal((memory["online"] as Record<string, unknown>)["timestampVersion"], 3);
  assert.ok((await readJson(join(site.updates, "transaction.json")))["trust"], "the journal says what was checked");
  assert.equal((await lstat(join(site.updates, "trust"))).mode & 0o077, 0);
  // Nothing to do costs the index, the next root that is not there, and the timestamp.
  vendor.requests.length = 0;
  await (await site.updater()).check({ signal });
  assert.deepEqual(vendor.requests.length, 3, vendor.requests.join("\n"));
});

test("a release that the index offers and no metadata lists is not offered, and refused by name", async (t) => {
  const all = await field(t);
  await all.vendor.release("1.6.0");
  const check = await (await all.site.updater()).check({ signal });
  assert.ok(check.offer.kind === "upgrade" && check.offer.version === "1.5.0");
  await failure((await all.site.updater()).install({ version: "1.6.0" as never, signal }), "version_not_found");
  await requireUntouched(all.site);
});

test("a release's bytes that are signed by the release key and not the listed ones are refused", async (t) => {
  const all = await field(t);
  const manifest = all.tuf.targets["toy/stable/1.5.0/release.json"];
  const archive = all.tuf.targets[`toy/stable/1.5.0/${archiveName("1.5.0")}`];
  assert.ok(manifest && archive);
  archive.length += 1;
  all.tuf.list();
  await refused(all, "upgrade_verification_failed", "hash_mismatch");
  archive.length -= 1;
  delete all.tuf.targets["toy/stable/1.5.0/SHA256SUMS"];
  all.tuf.list();
  await refused(all, "upgrade_verification_failed", "target_not_listed");
});

test("a sequence or version that is not the listed one is refused, in the index and in the release itself", async (t) => {
  const all = await field(t);
  const target = all.tuf.targets["toy/stable/1.5.0/release.json"];
  assert.ok(target);
  target.custom = { version: "1.5.0", sequence: 99_000 };
  all.tuf.list();
  const check = await (await all.site.updater()).check({ signal });
  assert.equal(check.offer.kind, "none", "what the index says is not what is listed");
  const release = (version: string, sequence: number) => ({ version, channel: "stable", sequence, state: "published" });
  all.vendor.faults.index = () => ({ schema: 1, product: "toy", releases: [release("1.5.0", 99_000)] });
  await refused(all, "upgrade_verification_failed", "release_json_mismatch");
});

test("a release that was promoted is taken from the channel of the installation, whatever channel its manifest was made for", async (t) => {
  const all = await field(t);
  const files = await all.vendor.release("1.6.0", { changeManifest: (manifest) => ({ ...manifest, channel: "preview" }) });
  const sequence = sequenceOf(files);
  all.vendor.faults.index = () => ({ schema: 1, product: "toy", releases: [{ version: "1.6.0", channel: "stable", sequence, state: "published" }] });
  assert.equal((await (await all.site.updater()).check({ signal })).offer.kind, "none", "nobody listed it in stable yet");
  all.tuf.release("1.6.0", sequence, files);
  await (await all.site.updater()).install({ signal });
  assert.equal(await all.site.running(), "1.6.0");
});

test("a newer root that the operator put beside the installation file counts, whatever is kept and withheld", async (t) => {
  const all = await field(t);
  all.tuf.online = newKey();
  const root = all.tuf.root();
  all.tuf.snapshot();
  const without = all.tuf.freeze() as Map<string, Uint8Array>;
  without.delete("2.root.json");
  all.serve.files = without;
  await refused(all, "metadata_threshold");
  await writeFile(join(all.site.folder, "toy.root.json"), root);
  await (await all.site.updater()).install({ signal });
  assert.equal(await all.site.running(), "1.5.0");
});

test("22 a timestamp older than the one that was seen is metadata_rollback, also when the whole set was lost", async (t) => {
  const all = await field(t);
  const old = all.tuf.freeze();
  all.tuf.timestamp();
  await (await all.site.updater()).check({ signal });
  all.serve.files = old;
  await refused(all, "metadata_rollback");
  await rm(join(all.site.updates, "trust"), { recursive: true });
  await refused(all, "metadata_rollback");
});

test("23 an expired timestamp is metadata_expired, retryable, and after a day it is called frozen", async (t) => {
  const all = await field(t);
  const at = async (ms: number, detail: string): Promise<void> => {
    const error = await failure((await all.site.updater(clockAt(Date.now() + ms))).install({ signal }), "metadata_expired", detail);
    assert.equal(error.exitCode, 21);
    assert.equal(error.isRetryable, true);
    await requireUntouched(all.site);
  };
  await at(25 * hour, "expired");
  await at(72 * hour, "frozen");
});

test("24 a snapshot or a targets file replaced by an older one, both well signed, is metadata_mix", async (t) => {
  for (const name of ["3.snapshot.json", "3.toy-stable.json"]) {
    const all = await field(t);
    all.serve.files = new Map([...all.tuf.files, [name, all.tuf.files.get(name.replace("3", "2")) ?? new Uint8Array()]]);
    await refused(all, "metadata_mix");
  }
});

test("25 a root with one old and one new signature of two is root_rotation_invalid, and the one before goes on to count", async (t) => {
  const all = await field(t);
  const { tuf, site } = all;
  const [kept] = tuf.rootKeys;
  assert.ok(kept);
  const fresh = newKey();
  const before = [...tuf.rootKeys];
  tuf.rootKeys = [kept, fresh, newKey()];
  tuf.root([kept, fresh]);
  await refused(all, "root_rotation_invalid");
  tuf.versions.root -= 1;
  tuf.root([...before, ...tuf.rootKeys]);
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
});

test("26 a root that is withheld holds nobody back for longer than the timestamp is good", async (t) => {
  const all = await field(t);
  all.tuf.online = newKey();
  all.tuf.root();
  const without = all.tuf.freeze() as Map<string, Uint8Array>;
  without.delete("2.root.json");
  all.tuf.snapshot();
  all.serve.files = without;
  await failure((await all.site.updater(clockAt(Date.now() + 25 * hour))).install({ signal }), "metadata_expired");
  await requireUntouched(all.site);
  all.serve.files = all.tuf.files;
  await (await all.site.updater()).install({ signal });
  assert.equal(await all.site.running(), "1.5.0");
});

test("27 a torn or foreign file of the kept set falls back to the set before it or the root that came along, says so, and forgets nothing", async (t) => {
  const all = await field(t);
  const old = all.tuf.freeze();
  all.tuf.timestamp();
  await (await all.site.updater()).check({ signal });
  for (const name of ["root.json", "timestamp.json", "snapshot.json"]) {
    for (const damage of ["torn", "empty", "noise", "directory", "link"]) {
      const path = join(trusted(all.site), name);
      const { size } = await lstat(path);
      if (damage === "torn") await truncate(path, size >> 1);
      else if (damage === "empty") await truncate(path, 0);
      else if (damage === "noise") await writeFile(path, Buffer.alloc(size, 7));
      else await rm(path);
      if (damage === "directory") await mkdir(path);
      if (damage === "link") await symlink("/dev/zero", path);
      all.serve.files = old;
      await failure((await all.site.updater()).check({ signal }), "metadata_rollback");
      all.serve.files = all.tuf.files;
      await (await all.site.updater()).check({ signal });
      assert.ok(
        all.site.events.some((event) => event.event === "warning" && event.text.startsWith("trust_cache_repaired")),
        `${name} ${damage}`,
      );
      all.site.events.length = 0;
      await (await all.site.updater()).check({ signal });
      assert.deepEqual(all.site.events, [], `${name} ${damage}: repaired for good`);
    }
  }
  await rm(join(all.site.updates, "trust/online/current"));
  await (await all.site.updater()).check({ signal });
  assert.match(await readlink(trusted(all.site)), /^sets\/\d+$/);
});

test("28 a clock that was set back by three days is clock_untrusted, whatever the metadata says", async (t) => {
  const all = await field(t);
  const error = await failure((await all.site.updater(clockAt(Date.now() - 72 * hour))).install({ signal }), "clock_untrusted");
  assert.equal(error.exitCode, 75);
  await requireUntouched(all.site);
  await (await all.site.updater(clockAt(Date.now() - 3 * hour))).check({ signal }); // a mistaken time zone is no attack
});

test("29 a clock that is years ahead is metadata_expired, and does no harm once it is right", async (t) => {
  const all = await field(t);
  const error = await failure((await all.site.updater(clockAt(Date.now() + 4 * 365 * 24 * hour))).install({ signal }), "metadata_expired");
  assert.equal(error.isRetryable, true);
  await requireUntouched(all.site);
  await (await all.site.updater()).install({ signal });
  assert.equal(await all.site.running(), "1.5.0");
});

test("30 versions driven to 2^31 by a stolen server key are left behind by a root that names another", async (t) => {
  const all = await field(t);
  const { tuf } = all;
  tuf.versions.timestamp = 2 ** 31;
  tuf.versions.snapshot = 2 ** 31;
  tuf.snapshot();
  await (await all.site.updater()).check({ signal });
  Object.assign(tuf.versions, { timestamp: 3, snapshot: 3 });
  tuf.snapshot();
  await refused(all, "metadata_rollback");
  tuf.online = newKey();
  tuf.root();
  tuf.snapshot();
  await (await all.site.updater()).install({ signal });
  assert.equal(await all.site.running(), "1.5.0");
});

test("31 names in metadata never become paths: crooked targets are listed and harmless, crooked roles stay inside their set", async (t) => {
  const all = await field(t);
  const entry = { length: 1, hashes: { sha256: "0".repeat(64) } };
  for (const name of ["../../etc/passwd", "/etc/passwd", "toy/stable/1.5.0/../../x", "toy/stable/1.5.0/a\u0000b", "C:\\windows", "CON", "__proto__"])
    all.tuf.targets[name] = entry;
  all.tuf.list();
  await (await all.site.updater()).install({ signal });
  assert.equal(await all.site.running(), "1.5.0");
  assert.deepEqual(
    (await readdir(all.site.updates)).filter((name) => name.includes("passwd")),
    [],
  );
  const folder = await mkdtemp(join(tmpdir(), "slipway-tuf-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const names = ["../../evil", "/etc/evil", ".", "..", "a\u0000b", "C:evil", "CON"].map(tufFileName);
  await commitTufSet(join(folder, "online"), new Map(names.map((name) => [name, Buffer.from("{}")])));
  assert.deepEqual((await readdir(join(folder, "online/sets/1"))).sort(), [...names].sort());
  assert.deepEqual(await readdir(folder), ["online"]);
});

/** A bundle's metadata, carried to a machine: the offline repository out of a map. */
async function carried(
  folder: string,
  offline: TestTuf,
  options: { readonly now: Date; readonly floor?: ReturnType<TufSession["floor"]> },
): Promise<TufSession> {
  return openTufSession({
    folder,
    pinnedRoot: offline.firstRoot,
    floor: options.floor,
    now: options.now,
    source: { metadata: (name) => Promise.resolve(offline.files.get(name)) },
    onRepair: () => assert.fail("nothing is damaged"),
  });
}

test("74 a carried repository that is older than what was seen, expired, or without the role of a channel is refused", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "slipway-tuf-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const now = new Date();
  const offline = new TestTuf({ product: "toy", now, repository: "offline" });
  const old = offline.freeze();
  offline.release("1.0.0", 1, new Map([["release.json", Buffer.from("{}")]]));
  const session = await carried(join(folder, "a"), offline, { now });
  await session.refresh();
  assert.equal((await session.find("toy/stable/1.0.0/release.json"))?.role, "toy-stable");
  await failure((await carried(join(folder, "a"), offline, { now: new Date(now.getTime() + 31 * 24 * hour) })).refresh(), "metadata_expired");
  const late = await carried(join(folder, "b"), offline, { now: new Date(now.getTime() + 29 * 24 * hour) });
  await late.refresh(); // a month, not a day
  const newest = new Map(offline.files);
  offline.files.clear();
  for (const [name, bytes] of old) offline.files.set(name, bytes);
  await failure((await carried(join(folder, "a"), offline, { now })).refresh(), "metadata_rollback");
  await failure((await carried(join(folder, "c"), offline, { now, floor: session.floor() })).refresh(), "metadata_rollback");
  for (const [name, bytes] of newest) offline.files.set(name, bytes);
  const targets = newest.get("1.targets.json") ?? new Uint8Array();
  const snapshot = signTuf(tufSnapshot({ version: 9, now, repository: "offline", roles: [{ role: "targets", version: 1, bytes: targets }] }), [offline.online]);
  offline.files.set("9.snapshot.json", snapshot);
  offline.files.set(
    "timestamp.json",
    signTuf(tufTimestamp({ version: 9, now, repository: "offline", snapshot: { version: 9, bytes: snapshot } }), [offline.online]),
  );
  const missing = await carried(join(folder, "d"), offline, { now });
  await missing.refresh();
  await failure(missing.find("toy/stable/1.0.0/release.json"), "metadata_mix", "role_missing");
});

test("75 the offline repository's metadata, which is good for a month, is refused by a machine that asks online", async (t) => {
  const all = await field(t);
  const offline = new TestTuf({ product: "toy", now: all.tuf.now, repository: "offline", like: all.tuf });
  Object.assign(offline.versions, { timestamp: 9, snapshot: 9 });
  offline.snapshot();
  all.serve.files = new Map([...all.tuf.files, ["timestamp.json", offline.files.get("timestamp.json") ?? new Uint8Array()]]);
  await refused(all, "metadata_threshold");
  offline.root();
  all.serve.files = offline.files;
  await refused(all, "root_rotation_invalid");
});

test("a folder without metadata, an HTML page, and an endless file in place of metadata are refused; the old version runs", async (t) => {
  const all = await field(t);
  all.serve.files = new Map();
  await refused(all, "metadata_mix", "file_missing");
  all.serve.files = new Map([...all.tuf.files, ["timestamp.json", Buffer.from("<html>log in</html>")]]);
  await refused(all, "metadata_invalid");
  all.serve.files = new Map([...all.tuf.files, ["timestamp.json", Buffer.alloc(64 * 1024, " ")]]);
  await refused(all, "too_large");
});

test("a set that is cut off at any step of its commit leaves the old set current, and the next commit clears it away", async (t) => {
  const folder = join(await mkdtemp(join(tmpdir(), "slipway-tuf-")), "online");
  t.after(() => rm(join(folder, ".."), { recursive: true, force: true }));
  const set = (text: string) => new Map([["root.json", Buffer.from(text)]]);
  await commitTufSet(folder, set("one"));
  await commitTufSet(folder, set("two"));
  // What a crash leaves: a half-written set, a temporary file, a link that was not renamed.
  await mkdir(join(folder, "sets/3"));
  await writeFile(join(folder, "sets/3/root.json"), "ha");
  await writeFile(join(folder, "sets/3/.root.json.123.tmp"), "half");
  await symlink("sets/3", join(folder, ".current.tmp"));
  const read = async (): Promise<readonly string[]> => (await readTufSets(folder)).sets.map((files) => Buffer.from(files.get("root.json") ?? "").toString());
  assert.deepEqual(await read(), ["two", "one"]);
  await commitTufSet(folder, set("three"));
  assert.deepEqual(await read(), ["three", "two"]);
  assert.deepEqual((await readdir(join(folder, "sets"))).sort(), ["2", "3"]);
  assert.deepEqual(await readdir(join(folder, "sets/3")), ["root.json"]);
  assert.equal(await readFile(join(folder, "current/root.json"), "utf8"), "three");
});

test("the memory holds what a fresh trust has, and metadata's dates are whole seconds", () => {
  const tuf = new TestTuf({ product: "toy", now: new Date("2026-06-01T12:00:00.999Z") });
  assert.equal(tufTime(tuf.now), "2026-06-01T12:00:00Z");
  assert.equal(raiseFloor(trustRoot(tuf.firstRoot), undefined).rootVersion, 1);
});
