/** The deb writer against dpkg-deb: what it reads of our package, and what dpkg-deb itself would have built of the same tree. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, lutimes, mkdir, readFile, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { createCompressor } from "../../src/formats/compress.ts";
import { writeDeb } from "../../src/formats/deb.ts";
import { debChangelog, debCopyright } from "../../src/formats/deb-docs.ts";
import { readDeb } from "../../src/formats/deb-read.ts";
import { undeclaredParents } from "../../src/formats/entry-path.ts";
import type { MakeXzCompressor, PackageCompression } from "../../src/formats/package.ts";
import { requireCommand } from "../../src/io/command.ts";
import { fileBytes } from "../../src/io/spool.ts";
import { parseVersion } from "../../src/model/version.ts";
import { needClient } from "../support/clients.ts";
import { bytesOf, debFile, dependencies, file, gzip, loggingScripts, sampleEntries, sampleSpec, spoolMaker, temporaryFolder, text, zstd } from "./sample.ts";

const run = (...argv: readonly string[]): Promise<string> =>
  requireCommand(argv, { timeoutMs: 60_000, env: { PATH: process.env["PATH"] ?? "", TZ: "UTC", LC_ALL: "C.UTF-8" } });

/** What io will do by streaming; the test's packages are small. */
const xzByProgram: MakeXzCompressor = (level, sink) => {
  const pieces: Uint8Array[] = [];
  return {
    write: async (piece) => void pieces.push(Uint8Array.from(piece)),
    end: async () => sink(execFileSync("xz", [`-${level}`, "-c", "-T1"], { input: Buffer.concat(pieces) })),
  };
};

const codecs: readonly PackageCompression[] = [
  gzip,
  { codec: "gzip", level: 9 },
  zstd,
  { codec: "zstd", level: 19 },
  { codec: "xz", level: 6 },
  { codec: "none", level: 0 },
];

for (const compression of codecs) {
  test(`C11 dpkg-deb reads what we write with ${compression.codec} ${compression.level}, and our reader agrees with it`, async (t) => {
    if (!needClient(t, "dpkg-deb", ...(compression.codec === "xz" ? ["xz"] : []))) return;
    const folder = await temporaryFolder(t);
    const spec = sampleSpec({ compression, scripts: loggingScripts, dependencies: { depends: dependencies("a-dep (>= 2) | b-dep", "c-dep") } });
    const path = await debFile(folder, spec, { makeXzCompressor: xzByProgram });
    const listed = (await run("dpkg-deb", "-c", path)).trimEnd().split("\n");
    const control = await run("dpkg-deb", "-f", path);
    const deb = await readDeb(fileBytes(path, (await stat(path)).size));
    assert.equal(listed.length, 1 + sampleEntries.length - 1 + undeclaredParents(sampleEntries).length, "the root, all but the ghost, and the parents");
    assert.deepEqual(
      listed.map((line) =>
        line
          .replace(/ -> .*/, "")
          .split(" ")
          .at(-1),
      ),
      ["./", ...deb.files.map((one) => `.${one.path}${one.kind === "directory" ? "/" : ""}`)],
    );
    assert.equal(control, deb.fields.map(({ name, value }) => `${name}: ${value}\n`).join(""));
    assert.equal(deb.sizes.packageBytes, (await stat(path)).size);
    assert.deepEqual(deb.scripts, ["preinst", "postinst", "prerm", "postrm"]);
    assert.match(control, /^Depends: a-dep \(>= 2\) \| b-dep, c-dep$/m);
  });
}

test("the same tree built by dpkg-deb has the same listing, modes, times and contents", async (t) => {
  if (!needClient(t, "dpkg-deb")) return;
  const folder = await temporaryFolder(t);
  const spec = sampleSpec();
  const ours = await debFile(folder, spec);
  const tree = join(folder, "tree");
  const parents = undeclaredParents(spec.entries.filter((entry) => entry.kind !== "ghost"));
  for (const path of ["", ...parents]) await mkdir(tree + path, { recursive: true });
  for (const entry of spec.entries) {
    const path = tree + entry.path;
    await mkdir(dirname(path), { recursive: true });
    if (entry.kind === "directory") await mkdir(path);
    if (entry.kind === "symlink") await symlink(entry.target, path);
    if (entry.kind === "file") await writeFile(path, await bytesOf(entry.source.open()));
    if (entry.kind === "file" || entry.kind === "directory") await chmod(path, entry.mode);
  }
  await mkdir(join(tree, "DEBIAN"));
  await writeFile(join(tree, "DEBIAN/control"), await run("dpkg-deb", "-f", ours));
  const everything = ["", ...parents, ...spec.entries.filter((entry) => entry.kind !== "ghost" && entry.kind !== "symlink").map((entry) => entry.path)];
  for (const path of everything) await utimes(tree + path, spec.epochSeconds, spec.epochSeconds);
  for (const entry of spec.entries) if (entry.kind === "symlink") await lutimes(tree + entry.path, spec.epochSeconds, spec.epochSeconds);
  const theirs = join(folder, "theirs.deb");
  await run("dpkg-deb", "--root-owner-group", "-b", tree, theirs);

  const listing = async (path: string): Promise<readonly string[]> => (await run("dpkg-deb", "-c", path)).trimEnd().split("\n").sort();
  const contents = async (path: string): Promise<string> => {
    await run("dpkg-deb", "-x", path, join(folder, "out"));
    return run("sh", "-c", `cd "${folder}/out" && find . -type f -exec sha256sum {} + | sort && rm -r "${folder}/out"`);
  };
  assert.deepEqual(await listing(ours), await listing(theirs));
  assert.equal(await contents(ours), await contents(theirs));
});

test("md5sums have no ./ and leave configuration out; without configuration there is no conffiles member (regression 13)", async (t) => {
  if (!needClient(t, "dpkg-deb")) return;
  const folder = await temporaryFolder(t);
  const path = await debFile(folder, sampleSpec());
  const sums = await run("dpkg-deb", "-I", path, "md5sums");
  assert.match(sums, /^[0-9a-f]{32} {2}usr\/bin\/toy$/m);
  assert.doesNotMatch(sums, /\.\/|etc\/toy/);
  assert.equal(await run("dpkg-deb", "-I", path, "conffiles"), "/etc/toy/extra.conf\n/etc/toy/toy.conf\n");
  const plain = await debFile(folder, sampleSpec({ name: "plain", entries: [file("/usr/bin/plain", "x")] }));
  await assert.rejects(run("dpkg-deb", "-I", plain, "conffiles"));
});

test("Installed-Size counts every file in whole KiB and 1 for each folder and link", async (t) => {
  const folder = await temporaryFolder(t);
  const entries = [
    file("/usr/bin/a", "x".repeat(1025)),
    file("/usr/bin/b", ""),
    { kind: "symlink", path: "/usr/bin/c", target: "a", owner: "root", group: "root" } as const,
    { kind: "ghost", path: "/var/lib/toy", mode: 0o644, owner: "root", group: "root" } as const,
  ];
  const path = await debFile(folder, sampleSpec({ entries }));
  const deb = await readDeb(fileBytes(path, (await stat(path)).size));
  // /usr 1, /usr/bin 1, a 2, b 0, c 1; the ghost and its parents are not in a deb.
  assert.equal(deb.fields.find((field) => field.name === "Installed-Size")?.value, "5");
});

test("the version and architecture are Debian's own words (regression 9, 10)", async (t) => {
  const folder = await temporaryFolder(t);
  const table = [
    { version: "1.2.0-rc.1", arch: "amd64", expected: ["1.2.0~rc.1", "amd64"] },
    { version: "1.2.0-preview10", arch: "armv7", expected: ["1.2.0~preview10", "armhf"] },
    { version: "1.2.0-preview-3", arch: "386", expected: ["1.2.0~preview.3", "i386"] },
    { version: "1.2.0+build.5", arch: "all", expected: ["1.2.0", "all"] },
  ] as const;
  for (const { version, arch, expected } of table) {
    const path = await debFile(folder, sampleSpec({ version: parseVersion(version), arch }));
    const deb = await readDeb(fileBytes(path, (await stat(path)).size));
    assert.deepEqual([deb.version, deb.architecture], expected);
  }
});

test("a deb has no PAX record and its zstd members have one frame each (regression 1, 2)", async (t) => {
  if (!needClient(t, "zstd", "ar")) return;
  const folder = await temporaryFolder(t);
  const big = { ...file("/usr/share/toy.bin", ""), source: text("0123456789abcdef".repeat(100_000)) };
  const path = await debFile(folder, sampleSpec({ entries: [big], compression: zstd }));
  for (const member of ["control.tar.zst", "data.tar.zst"]) {
    await run("sh", "-c", `cd "${folder}" && ar x "${path}" ${member}`);
    await run("zstd", "-t", "-q", join(folder, member));
    assert.match(await run("zstd", "-lv", join(folder, member)), /# Zstandard Frames: 1\n/);
    await run("zstd", "-d", "-q", "-f", join(folder, member));
    const tar = await readFile(join(folder, member.replace(".zst", "")));
    for (let at = 0; at < tar.length; at += 512) {
      const isHeader = tar.toString("latin1", at + 257, at + 262) === "ustar";
      if (isHeader) assert.match(String.fromCharCode(tar[at + 156] ?? 0), /[0125LK]/);
    }
  }
});

const refusals = [
  { what: "a name in upper case", changes: { name: "Toy" }, code: "name_invalid" },
  { what: "a name of one letter", changes: { name: "t" }, code: "name_invalid" },
  { what: "a summary of two lines", changes: { summary: "one\nDepends: evil" }, code: "recipe_invalid" },
  { what: "an empty maintainer", changes: { maintainer: "" }, code: "recipe_invalid" },
  { what: "a file dependency", changes: { dependencies: { depends: dependencies("/usr/bin/docker") } }, code: "recipe_invalid" },
  { what: "alternatives under conflicts", changes: { dependencies: { conflicts: dependencies("aa | bb") } }, code: "recipe_invalid" },
  { what: "a version range under provides", changes: { dependencies: { provides: dependencies("aa (>= 1)") } }, code: "recipe_invalid" },
  { what: "a script without an interpreter", changes: { scripts: { postinstall: "echo hello\n" } }, code: "recipe_invalid" },
  { what: "a gzip level of 0", changes: { compression: { codec: "gzip", level: 0 } }, code: "recipe_invalid" },
  { what: "xz without a maker", changes: { compression: { codec: "xz", level: 6 } }, code: "recipe_invalid" },
  { what: "a path with ..", changes: { entries: [file("/usr/../etc/passwd", "x")] }, code: "path_unsafe" },
  { what: "a path with a line feed", changes: { entries: [file("/usr/a\nb", "x")] }, code: "path_unsafe" },
  { what: "a relative path", changes: { entries: [file("usr/bin/x", "x")] }, code: "path_unsafe" },
  { what: "type bits in a mode", changes: { entries: [file("/usr/bin/x", "x", { mode: 0o100755 })] }, code: "recipe_invalid" },
  {
    what: "a file that is shorter than announced",
    changes: { entries: [{ ...file("/usr/bin/x", "x"), source: { ...text("x"), size: 5 } }] },
    code: "source_unusable",
  },
  {
    what: "a file that is longer than announced",
    changes: { entries: [{ ...file("/usr/bin/x", "x"), source: { ...text("xyz"), size: 1 } }] },
    code: "source_unusable",
  },
] as const;
for (const { what, changes, code } of refusals) {
  test(`a deb with ${what} is refused with ${code}`, async (t) => {
    await assert.rejects(debFile(await temporaryFolder(t), sampleSpec(changes), { name: "refused.deb" }), { code });
  });
}

test("entries that are not sorted, or lie below a file, are a bug and stop the writer", async (t) => {
  const folder = await temporaryFolder(t);
  for (const entries of [
    [file("/b", ""), file("/a", "")],
    [file("/a", ""), file("/a", "")],
    [file("/a", ""), file("/a/b", "")],
  ]) {
    await assert.rejects(debFile(folder, sampleSpec({ entries })), { name: "AssertionError" });
  }
});

test("a sink or spool that fails ends the writer with its own error", async (t) => {
  const folder = await temporaryFolder(t);
  const full = new Error("no space");
  const fail = (): never => {
    throw full;
  };
  await assert.rejects(writeDeb(sampleSpec(), { sink: fail, makeSpool: spoolMaker(folder) }), full);
  let isRemoved = false;
  const makeSpool = async () => ({ write: fail, finish: fail, remove: async () => void (isRemoved = true) });
  await assert.rejects(writeDeb(sampleSpec(), { sink: () => undefined, makeSpool }), full);
  assert.equal(isRemoved, true);
  const compressor = createCompressor(gzip, fail);
  await compressor.write(new Uint8Array(1));
  await assert.rejects(compressor.end(), full);
});

test("the generated documents are what Debian's tools read", async (t) => {
  if (!needClient(t, "dpkg-parsechangelog")) return;
  const folder = await temporaryFolder(t);
  const spec = sampleSpec();
  const older = { version: parseVersion("1.3.0-rc.1"), epochSeconds: spec.epochSeconds - 86_400, changes: [] };
  const changes = ["Faster.", `Fixes a leak in the pool ${"of many words ".repeat(10)}`];
  const changelog = debChangelog({ ...spec, changelog: [{ version: spec.version, epochSeconds: spec.epochSeconds, changes }, older] });
  assert.ok(changelog.split("\n").every((line) => line.length < 80));
  await writeFile(join(folder, "changelog"), changelog);
  const parsed = await run("dpkg-parsechangelog", "-l", join(folder, "changelog"));
  assert.match(parsed, /^Source: toy\nVersion: 1\.4\.0\nDistribution: stable\n/);
  assert.match(parsed, /Date: Tue, 14 Nov 2023 22:13:20 \+0000/);
  const all = await run("dpkg-parsechangelog", "-l", join(folder, "changelog"), "--all", "--format", "rfc822");
  assert.deepEqual(all.match(/^Version: .*$/gm), ["Version: 1.4.0", "Version: 1.3.0~rc.1"]);
  assert.match(
    debCopyright(spec, "the whole text"),
    /^License: Apache-2\.0\n On Debian systems the full text is in \/usr\/share\/common-licenses\/Apache-2\.0\.\n$/m,
  );
  assert.match(debCopyright({ ...spec, license: "Proprietary" }, "Ask us.\n\n  First.\n"), /^License: Proprietary\n Ask us\.\n \.\n   First\.\n$/m);
});
