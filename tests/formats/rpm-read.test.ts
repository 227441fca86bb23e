/** The rpm reader against rpmbuild's own packages and against uploads that are not what they say. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { encodeRpmHeader, type RpmValue } from "../../src/formats/rpm-header.ts";
import { type RpmPackage, readRpm } from "../../src/formats/rpm-read.ts";
import { rpmSignatureTag } from "../../src/formats/rpm-tags.ts";
import { fileBytes } from "../../src/io/spool.ts";
import { needClient } from "../support/clients.ts";
import { codeOf, rpmFile, sampleSpec, temporaryFolder } from "./sample.ts";

const read = (bytes: Uint8Array): Promise<RpmPackage> => readRpm(bytesSource(bytes));

test("a package built by rpmbuild is read: epoch, changelog, capabilities, ghosts", async (t) => {
  if (!needClient(t, "rpmbuild")) return;
  const folder = await temporaryFolder(t);
  const spec = `Name: built
Epoch: 2
Version: 1.0
Release: 3
Summary: Built by rpmbuild
License: MIT
BuildArch: noarch
Requires: foo >= 1:2.0-3
Requires(pre): shadow
%description
Text.
%install
mkdir -p %{buildroot}/opt/built
echo x > %{buildroot}/opt/built/x
%files
%dir /opt/built
/opt/built/x
%ghost /opt/built/run
%changelog
* Tue Nov 14 2023 Toy <toy@example.test> - 1.0-3
- first change
`;
  await writeFile(join(folder, "built.spec"), spec);
  execFileSync("rpmbuild", ["-bb", "--define", `_topdir ${folder}/top`, join(folder, "built.spec")], { stdio: "pipe", env: { ...process.env, HOME: folder } });
  const path = join(folder, "top/RPMS/noarch/built-1.0-3.noarch.rpm");
  const rpm = await readRpm(fileBytes(path, (await stat(path)).size));
  assert.deepEqual([rpm.name, rpm.epoch, rpm.version, rpm.release, rpm.arch], ["built", "2", "1.0", "3", "noarch"]);
  assert.deepEqual(rpm.files, [
    { path: "/opt/built", kind: "dir" },
    { path: "/opt/built/run", kind: "ghost" },
    { path: "/opt/built/x", kind: "file" },
  ]);
  assert.deepEqual(
    rpm.requires.filter((one) => !one.isRpmlib),
    [
      { name: "foo", isPre: false, isRpmlib: false, flags: "GE", epoch: "1", version: "2.0", release: "3" },
      { name: "shadow", isPre: true, isRpmlib: false },
    ],
  );
  assert.deepEqual(rpm.provides, [{ name: "built", isPre: false, isRpmlib: false, flags: "EQ", epoch: "2", version: "1.0", release: "3" }]);
  assert.deepEqual(
    rpm.changelogs.map((one) => [one.author, one.text]),
    [["Toy <toy@example.test> - 1.0-3", "- first change"]],
  );
});

const ours = async (t: Parameters<typeof temporaryFolder>[0]): Promise<Buffer> => readFile(await rpmFile(await temporaryFolder(t), sampleSpec()));

/** The file with its main header replaced by one that is made of these values, its digests made right again. */
async function withHeader(bytes: Buffer, change: (header: Buffer) => Buffer, extra: ReadonlyMap<number, RpmValue> = new Map()): Promise<Buffer> {
  const { headerRange } = await read(bytes);
  const header = change(Buffer.from(bytes.subarray(headerRange.start, headerRange.end)));
  const hex = (algorithm: string): RpmValue => ({ kind: "string", text: createHash(algorithm).update(header).digest("hex") });
  const signature = encodeRpmHeader(62, new Map([[rpmSignatureTag.SHA1, hex("sha1")], [rpmSignatureTag.SHA256, hex("sha256")], ...extra]));
  const padding = Buffer.alloc((8 - (signature.length % 8)) % 8);
  return Buffer.concat([bytes.subarray(0, 96), signature, padding, header, bytes.subarray(headerRange.end)]);
}

test("a header made again with right digests is read: the attacks below fail for their own reason", async (t) => {
  const bytes = await ours(t);
  assert.equal((await read(await withHeader(bytes, (header) => header))).name, "toy");
});

const changed = (bytes: Buffer, at: number, value: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy.writeUInt32BE(value, at);
  return copy;
};
const attacks: readonly { readonly what: string; readonly bytes: (good: Buffer) => Promise<Buffer> | Buffer; readonly code: string }[] = [
  { what: "nothing", bytes: () => Buffer.alloc(0), code: "format_invalid" },
  { what: "a deb", bytes: () => Buffer.from("!<arch>\n".padEnd(200)), code: "format_invalid" },
  { what: "a source package", bytes: (good) => changed(good, 6, 0x00010001), code: "format_invalid" },
  { what: "another signature type", bytes: (good) => changed(good, 78, 0x00010000), code: "format_invalid" },
  { what: "a truncated payload", bytes: (good) => good.subarray(0, -1), code: "format_invalid" },
  { what: "bytes behind the payload", bytes: (good) => Buffer.concat([good, Buffer.from("x")]), code: "format_invalid" },
  { what: "a header that announces 2 GiB", bytes: (good) => changed(good, 96 + 12, 0x80000000), code: "format_limit" },
  { what: "a header with a million entries", bytes: (good) => changed(good, 96 + 8, 1_000_000), code: "format_invalid" },
  {
    what: "a region that covers fewer entries (dribbles)",
    bytes: (good) => withHeader(good, (header) => changed(header, header.length - 8, (-16 * 2) >>> 0)),
    code: "format_invalid",
  },
  { what: "a region of another tag", bytes: (good) => withHeader(good, (header) => changed(header, 16, 61)), code: "format_invalid" },
  { what: "an entry beyond the data", bytes: (good) => withHeader(good, (header) => changed(header, 16 + 16 + 8, 0x7fffffff)), code: "format_invalid" },
  { what: "a count beyond the data", bytes: (good) => withHeader(good, (header) => changed(header, 16 + 16 + 12, 0x7fffffff)), code: "format_invalid" },
  { what: "a tag twice", bytes: (good) => withHeader(good, (header) => changed(header, 16 + 32, 100)), code: "format_invalid" },
  {
    what: "wrong announced sizes",
    bytes: (good) => withHeader(good, (header) => header, new Map([[rpmSignatureTag.SIZE, { kind: "int32", values: [5] }]])),
    code: "format_invalid",
  },
];
for (const { what, bytes, code } of attacks) {
  test(`an upload with ${what} is refused with ${code}`, async (t) => {
    const good = await ours(t);
    await assert.rejects(async () => read(await bytes(good)), { code });
  });
}

test("a flipped bit in header or payload is always found; elsewhere nothing crashes", async (t) => {
  const bytes = await ours(t);
  const { headerRange } = await read(bytes);
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 7 }), async (at, bit) => {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ (1 << bit);
      if (at >= headerRange.start) await assert.rejects(read(copy), { code: /^format_/ });
      else await read(copy).catch((error: unknown) => assert.match(codeOf(error), /^format_/));
    }),
    { numRuns: 300 },
  );
});
