/** The deb reader against uploads that are not what they say: each is refused with its code before anything is believed. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { link, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import * as fc from "fast-check";
import { arHeader, arMagic, arPadding } from "../../src/formats/ar.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { type DebPackage, readDeb } from "../../src/formats/deb-read.ts";
import { comparePaths } from "../../src/formats/entry-path.ts";
import { createTarWriter, type TarHeader } from "../../src/formats/tar.ts";
import { fileBytes } from "../../src/io/spool.ts";
import { needClient } from "../support/clients.ts";
import { codeOf, debFile, file, gzip, sampleSpec, temporaryFolder, zstd } from "./sample.ts";

type Member = { readonly name: string; readonly bytes: Uint8Array };

function ar(members: readonly Member[]): Buffer {
  const parts = members.flatMap(({ name, bytes }) => [arHeader({ name, sizeBytes: bytes.length, epochSeconds: 0 }), bytes, arPadding(bytes.length)]);
  return Buffer.concat([arMagic, ...parts]);
}

async function tar(members: readonly (Partial<TarHeader> & { readonly name: string; readonly content?: string })[]): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  const writer = createTarWriter((piece) => void pieces.push(Uint8Array.from(piece)));
  for (const { content, ...header } of members) {
    await writer.add({ kind: "file", mode: 0o644, epochSeconds: 0, ...header }, content === undefined ? undefined : bytesSource(Buffer.from(content)));
  }
  await writer.end();
  return Buffer.concat(pieces);
}

const controlText = "Package: toy\nVersion: 1.0\nArchitecture: amd64\nMaintainer: M <m@example.test>\nDescription: d\n more\n .\n lines\n";
const version: Member = { name: "debian-binary", bytes: Buffer.from("2.0\n") };
const controlOf = async (text: string): Promise<Member> => ({ name: "control.tar.gz", bytes: gzipSync(await tar([{ name: "./control", content: text }])) });
const control = await controlOf(controlText);
const dataTar = await tar([
  { name: "./", kind: "directory" },
  { name: "./a", content: "content" },
]);
const data: Member = { name: "data.tar.gz", bytes: gzipSync(dataTar) };
const good = ar([version, control, data]);

const read = (bytes: Uint8Array): Promise<DebPackage> => readDeb(bytesSource(bytes));
const twice = (bytes: Buffer): Buffer => Buffer.concat([zstdCompressSync(bytes.subarray(0, 512)), zstdCompressSync(bytes.subarray(512))]);

test("a small deb made by hand is read whole, with a signature member behind", async () => {
  const deb = await read(ar([version, control, data, { name: "_gpgorigin", bytes: Buffer.from("sig") }]));
  assert.deepEqual(deb.fields.at(-1), { name: "Description", value: "d\n more\n .\n lines" });
  assert.deepEqual(deb.files, [{ kind: "file", path: "/a", mode: 0o644, sizeBytes: 7 }]);
});

test("a package built by dpkg-deb itself is read, with each of its compressions", async (t) => {
  if (!needClient(t, "dpkg-deb")) return;
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, "tree/DEBIAN"), { recursive: true });
  await mkdir(join(folder, "tree/usr/share"), { recursive: true });
  await writeFile(join(folder, "tree/DEBIAN/control"), controlText);
  await writeFile(join(folder, "tree/usr/share/x"), "x".repeat(300_000));
  for (const codec of ["gzip", "xz", "zstd", "none"] as const) {
    const path = join(folder, `${codec}.deb`);
    execFileSync("dpkg-deb", [`-Z${codec}`, "--root-owner-group", "-b", join(folder, "tree"), path], { stdio: "pipe" });
    const deb = await readDeb(fileBytes(path, (await stat(path)).size));
    assert.deepEqual([deb.name, deb.version, deb.architecture, deb.codec, deb.sizes.installedBytes], ["toy", "1.0", "amd64", codec, 300_000]);
    assert.deepEqual(
      deb.files.map((one) => one.path),
      ["/usr", "/usr/share", "/usr/share/x"],
    );
  }
});

test("a package as distributions have them is read: hard links, a unit's backslashes, a control file of before UTF-8", async (t) => {
  if (!needClient(t, "dpkg-deb")) return;
  const folder = await temporaryFolder(t);
  const [bin, units] = [join(folder, "tree/usr/bin"), join(folder, "tree/lib/systemd/system")];
  for (const one of [join(folder, "tree/DEBIAN"), bin, units]) await mkdir(one, { recursive: true });
  await writeFile(join(folder, "tree/DEBIAN/control"), controlText.replace("M <m@", "Jürgen <m@"), "latin1");
  await writeFile(join(bin, "perl"), "x".repeat(1000));
  await link(join(bin, "perl"), join(bin, "perl5"));
  await writeFile(join(units, String.raw`dev-disk-by\x2duuid.swap`), "[Swap]\n");
  execFileSync("dpkg-deb", ["--root-owner-group", "-b", join(folder, "tree"), join(folder, "x.deb")], { stdio: "pipe" });
  const deb = await read(await readFile(join(folder, "x.deb")));
  const files = deb.files.filter(({ kind }) => kind === "file");
  assert.ok(files.some(({ path }) => path === String.raw`/lib/systemd/system/dev-disk-by\x2duuid.swap`));
  // dpkg-deb takes the folder's own order: either of the two may be the link.
  assert.deepEqual(
    files.map(({ sizeBytes }) => sizeBytes).toSorted((left, right) => left - right),
    [0, 7, 1000],
  );
  assert.match(files.find(({ target }) => target !== undefined)?.target ?? "", /^usr\/bin\/perl5?$/);
  assert.equal(deb.fields.find(({ name }) => name === "Maintainer")?.value, "Jürgen <m@example.test>");
});

const withControl = async (text: string): Promise<Buffer> => ar([version, await controlOf(text), data]);
const withData = async (members: Parameters<typeof tar>[0]): Promise<Buffer> =>
  ar([version, control, { name: "data.tar.gz", bytes: gzipSync(await tar(members)) }]);
const attacks: readonly { readonly what: string; readonly bytes: () => Promise<Uint8Array> | Uint8Array; readonly code: string }[] = [
  { what: "nothing", bytes: () => Buffer.alloc(0), code: "format_invalid" },
  { what: "an rpm", bytes: () => Buffer.from("edabeedb0300".padEnd(400, "0"), "hex"), code: "format_invalid" },
  { what: "a truncated file", bytes: () => good.subarray(0, good.length - 30), code: "format_invalid" },
  { what: "no data.tar", bytes: () => ar([version, control]), code: "format_invalid" },
  { what: "members in the wrong order", bytes: () => ar([version, data, control]), code: "format_invalid" },
  { what: "an unknown extra member", bytes: () => ar([version, control, data, { name: "evil", bytes: Buffer.from("x") }]), code: "format_invalid" },
  { what: "format version 3.0", bytes: () => ar([{ name: "debian-binary", bytes: Buffer.from("3.0\n") }, control, data]), code: "format_invalid" },
  { what: "a data.tar.lzma", bytes: () => ar([version, control, { ...data, name: "data.tar.lzma" }]), code: "format_invalid" },
  { what: "gzip under the name of zstd", bytes: () => ar([version, control, { ...data, name: "data.tar.zst" }]), code: "format_invalid" },
  { what: "two zstd frames (regression 2)", bytes: () => ar([version, control, { name: "data.tar.zst", bytes: twice(dataTar) }]), code: "format_invalid" },
  {
    what: "a member that announces more than there is",
    bytes: () => Buffer.from(good.toString("latin1").replace(/(control\.tar\.gz.{34})\d+ /, "$1999999"), "latin1"),
    code: "format_invalid",
  },
  { what: "a control.tar bomb", bytes: () => ar([version, { name: "control.tar.gz", bytes: gzipSync(Buffer.alloc(9_000_000)) }, data]), code: "format_limit" },
  { what: "a control file of 5 MB", bytes: () => withControl(`${controlText}X: ${"x".repeat(5_000_000)}\n`), code: "format_limit" },
  { what: "no control file", bytes: async () => ar([version, { name: "control.tar.gz", bytes: gzipSync(await tar([])) }, data]), code: "format_invalid" },
  { what: "no Version", bytes: () => withControl(controlText.replace(/Version.*\n/, "")), code: "format_invalid" },
  { what: "a field twice", bytes: () => withControl(`${controlText}package: other\n`), code: "format_invalid" },
  { what: "a second paragraph", bytes: () => withControl(`${controlText}\nPackage: other\n`), code: "format_invalid" },
  { what: "a package name with a slash", bytes: () => withControl(controlText.replace("toy", "../toy")), code: "format_invalid" },
  { what: "a version with a space", bytes: () => withControl(controlText.replace("1.0", "1.0 x")), code: "format_invalid" },
  { what: "a file outside the root", bytes: () => withData([{ name: "../evil", content: "x" }]), code: "path_unsafe" },
  { what: "an absolute file", bytes: () => withData([{ name: "/etc/evil", content: "x" }]), code: "path_unsafe" },
  {
    what: "the same file twice",
    bytes: () =>
      withData([
        { name: "./a", content: "x" },
        { name: "./a", content: "y" },
      ]),
    code: "path_unsafe",
  },
];
for (const { what, bytes, code } of attacks) {
  test(`an upload with ${what} is refused with ${code}`, async () => {
    await assert.rejects(async () => read(await bytes()), { code });
  });
}

test("a deb whose bytes are flipped anywhere is read as damage or as another deb, never as a crash", async (t) => {
  const path = await debFile(await temporaryFolder(t), sampleSpec());
  const bytes = await readFile(path);
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ change;
      await read(copy).catch((error: unknown) => assert.match(codeOf(error), /^(format_invalid|format_limit|path_unsafe)$/));
    }),
    { numRuns: 150 },
  );
});

test("reader(writer(x)) = x for arbitrary packages", async (t) => {
  const folder = await temporaryFolder(t);
  const path = fc.array(
    fc.stringMatching(/^[a-zA-Zö0-9_.-]{1,40}$/).filter((part) => part !== "." && part !== ".."),
    { minLength: 1, maxLength: 4 },
  );
  const content = fc.string({ maxLength: 2_000 });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(path, content), { maxLength: 15 }), fc.boolean(), async (files, isZstd) => {
      const byPath = new Map(files.map(([parts, body], place) => [`/p${place}/${parts.join("/")}`, body]));
      const entries = [...byPath].map(([name, body]) => file(name, body)).sort((left, right) => comparePaths(left.path, right.path));
      const deb = await readDeb(bytesSource(await readFile(await debFile(folder, sampleSpec({ entries, compression: isZstd ? zstd : gzip })))));
      assert.deepEqual(
        deb.files.filter((one) => one.kind === "file").map((one) => [one.path, one.sizeBytes]),
        entries.map((entry) => [entry.path, entry.source.size]),
      );
    }),
    { numRuns: 25 },
  );
});
