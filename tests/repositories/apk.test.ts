/** The APK view: entries, indexes per architecture, signatures, taken apart by the verifier of the format tests. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { readApk } from "../../src/formats/apk-read.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import type { PackageSpec } from "../../src/formats/package.ts";
import { parseVersion } from "../../src/model/version.ts";
import { type ApkEntry, type ApkState, apkPath, apkStanza, apkStateSchema, emptyApk, renderApk, updateApk } from "../../src/repositories/apk.ts";
import { apkBytes, apkKey, apkSamples, nextApkKey, signWith } from "../formats/apk-sample.ts";
import { gzipMembers, tarEntries, verifySignatures } from "../formats/apk-verifier.ts";
import { sampleSpec } from "../formats/sample.ts";

const now = new Date(1_780_000_000_000);
const keys = { [apkKey.keyFile]: apkKey.publicText, [nextApkKey.keyFile]: nextApkKey.publicText };

async function entryOf(spec: PackageSpec): Promise<ApkEntry> {
  return apkStanza(await readApk(bytesSource(await apkBytes(spec))));
}
const sample = (name: string): Promise<ApkEntry> => entryOf(apkSamples[name] ?? assert.fail(name));

async function filesOf(state: ApkState, sign = signWith(apkKey)): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const file of await renderApk({ state, product: "toy", channel: "stable", now, sign })) {
    const bytes = Buffer.from(file.bytes);
    assert.equal(file.digest, `sha256:${createHash("sha256").update(bytes).digest("hex")}`);
    assert.equal(file.size, bytes.length);
    files.set(file.path, bytes);
  }
  return files;
}

/** Asserts the form of one index and returns its text. */
function indexText(bytes: Buffer | undefined): { readonly text: string; readonly description: string; readonly signatures: readonly string[] } {
  assert.ok(bytes !== undefined);
  const [signatures, index, ...others] = gzipMembers(bytes);
  assert.ok(signatures !== undefined && index !== undefined && others.length === 0, "two gzip members: apk tells the parts by their borders");
  const [description, entries, ...rest] = tarEntries(index.plain, "with an end");
  assert.deepEqual([description?.name, entries?.name, rest.length], ["DESCRIPTION", "APKINDEX", 0]);
  return {
    signatures: verifySignatures(signatures, index, keys),
    description: description?.content.toString("utf8") ?? "",
    text: entries?.content.toString("utf8") ?? "",
  };
}

/** SHA-256 of the two indexes that apk-tools 2.14.10 and 3.0.6 took over HTTP with an access pair: the second is signed by two keys. */
const blessed = {
  zlib: "1.3.2.1-motley-8002e91 x64",
  first: "fd495ee2dbff14e20cf5ca6751e5920bf6a53ea62a4afc4b97d91b996bd69642",
  second: "316c5e0313dd2c8eb320dfcc609f089f4a898025c8eac05d4794cee49bf177c7",
} as const;

test("C11 the indexes are byte for byte those that real apk 2.14 and 3.0 fetched, verified and installed from", async (t) => {
  if (`${process.versions.zlib} ${process.arch}` !== blessed.zlib)
    return t.skip(`blessed with zlib ${blessed.zlib}; another one packs the same contents in other bytes`);
  const sha256 = async (state: ApkState, sign = signWith(apkKey)): Promise<string> =>
    createHash("sha256")
      .update((await filesOf(state, sign)).get("x86_64/APKINDEX.tar.gz") ?? "")
      .digest("hex");
  const first = updateApk(emptyApk(["x86_64", "aarch64"]), { add: [await sample("toy-shell-1.0.0-r3"), await sample("toy-1.4.0_rc1-r0")] });
  assert.equal(await sha256(first), blessed.first);
  const second = updateApk(first, { add: [await sample("toy-1.4.0-r0"), await sample("toy-links-1.4.0-r0")] });
  assert.equal(await sha256(second, signWith(nextApkKey, apkKey)), blessed.second);
});

test("an entry says what apk looks at, in apk's order, and leads to the package's path", async () => {
  const apk = await readApk(bytesSource(await apkBytes(apkSamples["toy-1.4.0-r0"] ?? assert.fail())));
  const { arch, stanza } = apkStanza(apk);
  assert.equal(arch, "x86_64");
  assert.equal(apkPath(apk, "x86_64"), "x86_64/toy-1.4.0-r0.apk");
  assert.deepEqual(stanza.split("\n"), [
    `C:${apk.identity}`,
    "P:toy",
    "V:1.4.0-r0",
    "A:x86_64",
    `S:${apk.sizes.packageBytes}`,
    `I:${apk.sizes.installedBytes}`,
    "T:A toy for tests",
    "U:https://toy.example.test",
    "L:Apache-2.0",
    "o:toy",
    "m:Toy Makers <toy@example.test>",
    "t:1700000000",
    "D:!toy-rival /bin/sh toy-shell",
    "p:cmd:toy=1.4.0",
    "",
    "",
  ]);
  assert.match(apk.identity, /^Q1[A-Za-z0-9+/]{27}=$/);
});

test("each architecture has its index; a package of none is in all of them, also in one that joins later, under the folder's name", async () => {
  let state = updateApk(emptyApk(["aarch64"]), { add: [await sample("toy-shell-1.0.0-r3")] });
  state = apkStateSchema.parse(JSON.parse(JSON.stringify(updateApk(state, { add: [await entryOf(sampleSpec())] }))));
  const files = await filesOf(state);
  assert.deepEqual([...files.keys()], ["aarch64/APKINDEX.tar.gz", "x86_64/APKINDEX.tar.gz"]);
  const names = (path: string): readonly string[] => indexText(files.get(path)).text.match(/^[PA]:.*/gm) ?? [];
  // Without an architecture, or with `noarch`, apk 3 and apk 2 would ask for `//toy-shell…` and `noarch/toy-shell…`.
  assert.deepEqual(names("aarch64/APKINDEX.tar.gz"), ["P:toy-shell", "A:aarch64"]);
  assert.deepEqual(names("x86_64/APKINDEX.tar.gz"), ["P:toy-shell", "A:x86_64", "P:toy", "A:x86_64"]);
  assert.equal(indexText(files.get("x86_64/APKINDEX.tar.gz")).description, "toy stable");
});

test("an empty channel has a signed index too, so that apk update works before the first release", async () => {
  const { text, signatures } = indexText((await filesOf(emptyApk(["x86_64"]))).get("x86_64/APKINDEX.tar.gz"));
  assert.deepEqual([text, signatures], ["", [`RSA256 ${apkKey.keyFile}`, `RSA ${apkKey.keyFile}`]]);
});

test("during a change of keys an index is signed by both, the coming one first", async () => {
  const files = await filesOf(updateApk(emptyApk(), { add: [await sample("toy-1.4.0-r0")] }), signWith(nextApkKey, apkKey));
  assert.deepEqual(indexText(files.get("x86_64/APKINDEX.tar.gz")).signatures, [
    `RSA256 ${nextApkKey.keyFile}`,
    `RSA ${nextApkKey.keyFile}`,
    `RSA256 ${apkKey.keyFile}`,
    `RSA ${apkKey.keyFile}`,
  ]);
});

test("what was added leaves again, and what is not there cannot", async () => {
  const [shell, toy] = [await sample("toy-shell-1.0.0-r3"), await sample("toy-1.4.0-r0")];
  const before = updateApk(emptyApk(["x86_64"]), { add: [shell, toy] });
  assert.deepEqual(updateApk(before, { add: [], remove: [shell] }).indexes["x86_64"], [toy.stanza]);
  assert.throws(() => updateApk(before, { add: [], remove: [shell, shell] }), { code: "internal" });
});

test("the same state gives the same bytes, and a large index is still one member", async () => {
  const one = await sample("toy-1.4.0-r0");
  const add = Array.from({ length: 20_000 }, (_, place) => ({ ...one, stanza: one.stanza.replace("P:toy\n", `P:toy${place}\n`) }));
  const state = updateApk(emptyApk(), { add });
  const [first, second] = [await filesOf(state), await filesOf(state)].map((files) => files.get("x86_64/APKINDEX.tar.gz"));
  assert.ok(first !== undefined && second !== undefined && first.equals(second));
  assert.equal(indexText(first).text.match(/^P:/gm)?.length, 20_000);
});

test("a description of the package cannot write entries of its own", async () => {
  const apk = await readApk(bytesSource(await apkBytes(sampleSpec({ version: parseVersion("1.0.0") }))));
  const forged = { ...apk, info: { ...apk.info, description: "fine\n\nC:Q1evil" } };
  assert.throws(() => apkStanza(forged), { code: "format_invalid" });
});
