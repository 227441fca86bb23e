/** The rpm writer against the real rpm: what it reads of our package, and what rpmbuild itself would have built of the same files. */
import assert from "node:assert/strict";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { PackageCompression } from "../../src/formats/package.ts";
import { encodeRpmHeader, parseRpmHeader, type RpmValue } from "../../src/formats/rpm-header.ts";
import { readRpm } from "../../src/formats/rpm-read.ts";
import { requireCommand } from "../../src/io/command.ts";
import { fileBytes } from "../../src/io/spool.ts";
import { parseVersion } from "../../src/model/version.ts";
import { needClient } from "../support/clients.ts";
import { bytesOf, dependencies, file, gzip, loggingScripts, rpmFile, sampleEntries, sampleSpec, temporaryFolder, text, zstd } from "./sample.ts";

const run = (...argv: readonly string[]): Promise<string> =>
  requireCommand(argv, { timeoutMs: 60_000, env: { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", TZ: "UTC", LC_ALL: "C.UTF-8" } });
const query = async (path: string, ...args: readonly string[]): Promise<readonly string[]> =>
  (await run("rpm", "-qp", "--nosignature", ...args, path)).trimEnd().split("\n");

const full = {
  scripts: loggingScripts,
  dependencies: {
    depends: dependencies("docker.io (>= 20) | docker-ce", "/usr/bin/id", "glibc (>= 2.28)"),
    recommends: dependencies("jq"),
    suggests: dependencies("yq"),
    conflicts: dependencies("toy-old (<< 1.0)"),
    provides: dependencies("toyd (= 1.4.0)"),
    replaces: dependencies("toy-legacy (<= 0.9)"),
  },
};

for (const compression of [gzip, zstd, { codec: "none", level: 0 }] satisfies readonly PackageCompression[]) {
  test(`C11 rpm reads what we write with ${compression.codec}, all digests hold, and our reader agrees with it`, async (t) => {
    if (!needClient(t, "rpm", "rpmkeys", "rpm2cpio", "cpio")) return;
    const folder = await temporaryFolder(t);
    const path = await rpmFile(folder, sampleSpec({ ...full, compression }));
    const rpm = await readRpm(fileBytes(path, (await stat(path)).size));
    const checked = await run("rpmkeys", "--define", "_pkgverify_level digest", "-K", "-v", path);
    for (const digest of ["Header SHA256", "Header SHA1", "Payload SHA256", "MD5"]) assert.match(checked, new RegExp(`${digest} digest: OK`));
    assert.deepEqual(
      await query(path, "-l"),
      rpm.files.map((one) => one.path),
    );
    const names = await query(path, "--requires");
    assert.deepEqual(names, rpm.requires.map(spelled));
    assert.ok(names.includes("(docker.io >= 20 or docker-ce)"));
    assert.ok(names.includes("rpmlib(RichDependencies) <= 4.12.0-1"));
    assert.equal(names.includes("rpmlib(PayloadIsZstd) <= 5.4.18-1"), compression.codec === "zstd");
    assert.deepEqual(await query(path, "--provides"), rpm.provides.map(spelled));
    assert.deepEqual(await query(path, "--conflicts"), ["toy-old < 1.0"]);
    assert.deepEqual(await query(path, "--obsoletes"), ["toy-legacy <= 0.9"]);
    assert.deepEqual(await query(path, "--recommends"), ["jq"]);
    assert.deepEqual(await query(path, "--suggests"), ["yq"]);
    const format = "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE} %{VENDOR} %{URL} %{SOURCERPM} %{BUILDTIME} %{LONGSIZE} %{LONGARCHIVESIZE}";
    const own = [rpm.name, rpm.version, rpm.release, rpm.arch, rpm.license, rpm.vendor, rpm.url, rpm.sourceRpm];
    assert.deepEqual(await query(path, "--qf", format), [[...own, rpm.buildTime, rpm.sizes.installedBytes, rpm.sizes.archiveBytes].join(" ")]);
    const listed = (await run("sh", "-c", `rpm2cpio "${path}" | cpio -t --quiet`)).trimEnd().split("\n");
    assert.deepEqual(
      listed,
      sampleEntries.filter((entry) => entry.kind !== "ghost").map((entry) => `.${entry.path}`),
      "ghosts are not in the payload (regression 24)",
    );
    assert.deepEqual(
      rpm.files.filter((one) => one.kind !== "file"),
      [
        { path: "/var/lib/toy", kind: "dir" },
        { path: "/var/lib/toy/state", kind: "ghost" },
      ],
    );
  });
}

const operators = { LT: "<", LE: "<=", EQ: "=", GE: ">=", GT: ">" } as const;
function spelled(one: Awaited<ReturnType<typeof readRpm>>["requires"][number]): string {
  return one.flags === undefined ? one.name : `${one.name} ${operators[one.flags]} ${one.version}${one.release === undefined ? "" : `-${one.release}`}`;
}

test("the header range is that of createrepo: the bytes between lead with signature and payload", async (t) => {
  const folder = await temporaryFolder(t);
  const path = await rpmFile(folder, sampleSpec());
  const bytes = await readFile(path);
  const { headerRange, headerBytes } = await readRpm(fileBytes(path, bytes.length));
  assert.deepEqual(bytes.subarray(headerRange.start, headerRange.end), Buffer.from(headerBytes));
  assert.equal(bytes.toString("hex", headerRange.start, headerRange.start + 4), "8eade801");
  assert.equal(bytes.toString("hex", headerRange.end, headerRange.end + 3), "1f8b08", "then the gzip payload begins");
});

test("rpmbuild makes the same files, flags, modes, dependencies and scripts of the same content (golden; regression 15, 24)", async (t) => {
  if (!needClient(t, "rpmbuild", "rpm")) return;
  const folder = await temporaryFolder(t);
  const spec = sampleSpec(full);
  const ours = await rpmFile(folder, spec);
  for (const entry of spec.entries) {
    if (entry.kind !== "file") continue;
    await mkdir(join(folder, "src", entry.path, ".."), { recursive: true });
    await writeFile(join(folder, "src", entry.path), await bytesOf(entry.source.open()));
  }
  const attributes = (mode: number): string => `%attr(${mode.toString(8).padStart(4, "0")},root,root)`;
  const files = spec.entries.map((entry) => {
    if (entry.kind === "symlink") return entry.path;
    if (entry.kind === "directory") return `%dir ${attributes(entry.mode)} ${entry.path}`;
    if (entry.kind === "ghost") return `%ghost ${attributes(entry.mode)} ${entry.path}`;
    const config = entry.config === undefined ? "" : entry.config === "noreplace" ? "%config(noreplace) " : "%config ";
    return `${config}${entry.isDoc === true ? "%doc " : ""}${entry.isLicense === true ? "%license " : ""}${attributes(entry.mode)} ${entry.path}`;
  });
  const script = (name: string, body = ""): string => `%${name}\n${body.replace("#!/bin/sh\n", "")}`;
  await writeFile(
    join(folder, "toy.spec"),
    `Name: toy
Version: 1.4.0
Release: 1
Summary: A toy for tests
License: Apache-2.0
Vendor: Toy Makers
URL: https://toy.example.test
Packager: Toy Makers <toy@example.test>
AutoReqProv: no
Requires: (docker.io >= 20 or docker-ce)
Requires: /usr/bin/id
Requires: glibc >= 2.28
Recommends: jq
Suggests: yq
Conflicts: toy-old < 1.0
Provides: toyd = 1.4.0
Obsoletes: toy-legacy <= 0.9
%description
First paragraph of it.

Second paragraph.
%install
mkdir -p %{buildroot}
cp -r ${folder}/src/. %{buildroot}/
ln -s toy %{buildroot}/usr/bin/toyctl
mkdir -p %{buildroot}/var/lib/toy
touch %{buildroot}/var/lib/toy/state
${script("pre", spec.scripts.preinstall)}
${script("post", spec.scripts.postinstall)}
${script("preun", spec.scripts.preremove)}
${script("postun", spec.scripts.postremove)}
%files
${files.join("\n")}
`,
  );
  const defines = [`_topdir ${folder}/top`, "debug_package %{nil}", "__os_install_post %{nil}", "_build_id_links none"];
  await run("rpmbuild", "-bb", "--target", "x86_64-linux", ...defines.flatMap((define) => ["--define", define]), join(folder, "toy.spec"));
  const theirs = join(folder, "top/RPMS/x86_64/toy-1.4.0-1.x86_64.rpm");

  /** path size mtime digest mode owner group isconfig isdoc rdev linkto: mtimes differ, and folders have their size on disk. */
  const dump = async (path: string): Promise<readonly string[]> =>
    (await query(path, "--dump")).map((line) => {
      const words = line.split(" ");
      words[2] = "time";
      if ((words[4] ?? "").startsWith("040")) words[1] = "0";
      return words.join(" ");
    });
  assert.deepEqual(await dump(ours), await dump(theirs));
  const flags = "[%{FILENAMES} %{FILEFLAGS:fflags} %{FILEVERIFYFLAGS} %{FILEMODES:octal}\n]";
  assert.deepEqual(await query(ours, "--qf", flags), await query(theirs, "--qf", flags));
  // rpmbuild adds config(toy), which ties nothing, and writes its own interpreter lines without the #! line.
  const relations = async (path: string): Promise<readonly string[]> => {
    const format = (kind: string): string => `[${kind} %{${kind}NAME} %{${kind}FLAGS:depflags} %{${kind}VERSION} %{${kind}FLAGS}\n]`;
    const lines = await query(path, "--qf", ["PROVIDE", "REQUIRE", "CONFLICT", "OBSOLETE", "RECOMMEND", "SUGGEST"].map(format).join(""));
    return lines.filter((line) => !line.includes(" config(")).sort();
  };
  assert.deepEqual(await relations(ours), await relations(theirs));
  const scripts = async (path: string): Promise<string> => (await query(path, "--scripts")).filter((line) => line !== "#!/bin/sh" && line !== "").join("\n");
  assert.equal(await scripts(ours), await scripts(theirs));
});

test("rpm never owns the parents that nobody declared (regression 16) and knows its source package (regression 25)", async (t) => {
  if (!needClient(t, "rpm")) return;
  const folder = await temporaryFolder(t);
  const path = await rpmFile(folder, sampleSpec({ entries: [file("/usr/lib/systemd/system/toy.service", "x")] }));
  assert.deepEqual(await query(path, "-l"), ["/usr/lib/systemd/system/toy.service"]);
  assert.deepEqual(await query(path, "--qf", "%{SOURCERPM} %{SOURCEPACKAGE}"), ["toy-1.4.0-1.src.rpm (none)"]);
});

test("a package without files has no file tags (regression 14)", async (t) => {
  if (!needClient(t, "rpm")) return;
  const folder = await temporaryFolder(t);
  const path = await rpmFile(folder, sampleSpec({ entries: [] }));
  assert.deepEqual(await query(path, "--qf", "%{BASENAMES} %{FILESIZES} %{DIRNAMES} %{FILEDIGESTALGO}"), ["(none) (none) (none) (none)"]);
  assert.deepEqual((await readRpm(fileBytes(path, (await stat(path)).size))).files, []);
});

test("versions and architectures are rpm's own words, with the rpmlib() of a tilde (regression 9, 10)", async (t) => {
  if (!needClient(t, "rpm")) return;
  const folder = await temporaryFolder(t);
  const table = [
    { version: "1.2.0-rc.1", arch: "arm64", expected: "1.2.0~rc.1 aarch64 toy(aarch-64)", tilde: true },
    { version: "1.2.0-preview10", arch: "armv7", expected: "1.2.0~preview10 armv7hl toy(armv7hl-32)", tilde: true },
    { version: "1.2.0", arch: "ppc64le", expected: "1.2.0 ppc64le toy(ppc-64)", tilde: false },
    { version: "1.2.0+build.5", arch: "all", expected: "1.2.0 noarch toy", tilde: false },
  ] as const;
  for (const { version, arch, expected, tilde } of table) {
    const path = await rpmFile(folder, sampleSpec({ version: parseVersion(version), arch }));
    const provides = await query(path, "--provides");
    const [line] = await query(path, "--qf", "%{VERSION} %{ARCH}");
    assert.equal(`${line} ${(provides.at(-1) ?? "").split(" ")[0]}`, expected);
    assert.equal((await query(path, "--requires")).includes("rpmlib(TildeInVersions) <= 4.10.0-1"), tilde);
  }
});

test("an EdDSA packet goes to tag 267 and an RSA one to 268, over the header bytes; room to sign again stays (regression 12)", async (t) => {
  const folder = await temporaryFolder(t);
  for (const { algorithm, tag } of [
    { algorithm: "rsa", tag: 268 },
    { algorithm: "eddsa", tag: 267 },
  ] as const) {
    let signed: Uint8Array | undefined;
    const packet = new Uint8Array(566).fill(7);
    const signHeader = async (header: Uint8Array) => {
      signed = Uint8Array.from(header);
      return { packet, algorithm };
    };
    const path = await rpmFile(folder, sampleSpec(), { name: `${algorithm}.rpm`, signHeader });
    const rpm = await readRpm(fileBytes(path, (await stat(path)).size));
    assert.deepEqual(
      rpm.signatures.map((one) => [one.tag, Buffer.from(one.packet)]),
      [[tag, Buffer.from(packet)]],
    );
    assert.deepEqual(Buffer.from(rpm.headerBytes), Buffer.from(signed ?? []));
    const plain = await rpmFile(folder, sampleSpec(), { name: "plain.rpm" });
    assert.ok(Math.abs((await stat(path)).size - (await stat(plain)).size) <= 8, "the signature takes its room from RESERVEDSPACE");
  }
});

test("files that together reach 4 GiB are refused by name of the limit, before a byte is read (regression 23)", async (t) => {
  const folder = await temporaryFolder(t);
  const open = (): never => {
    throw new Error("a source was opened");
  };
  const half = { ...file("/usr/a", ""), source: { size: 2 ** 31, open } };
  const entries = [half, { ...half, path: "/usr/b" }];
  await assert.rejects(rpmFile(folder, sampleSpec({ entries })), { code: "format_limit", message: /4294967296 bytes; an rpm ends at 4294967295/ });
});

const refusals = [
  { what: "a name with a slash", changes: { name: "a/b" }, code: "name_invalid" },
  { what: "a release with a dash", changes: { release: "1-2" }, code: "recipe_invalid" },
  { what: "a NUL in a text", changes: { summary: "a\0b" }, code: "recipe_invalid" },
  { what: "alternatives under provides", changes: { dependencies: { provides: dependencies("aa | bb") } }, code: "recipe_invalid" },
  { what: "a script without an interpreter", changes: { scripts: { postinstall: "echo hello\n" } }, code: "recipe_invalid" },
  { what: "a file that changes its size", changes: { entries: [{ ...file("/usr/bin/x", "x"), source: { ...text("x"), size: 5 } }] }, code: "source_unusable" },
] as const;
for (const { what, changes, code } of refusals) {
  test(`an rpm with ${what} is refused with ${code}`, async (t) => {
    await assert.rejects(rpmFile(await temporaryFolder(t), sampleSpec(changes), { name: "refused.rpm" }), { code });
  });
}

test("a script's interpreter with arguments is kept as rpm keeps it", async (t) => {
  if (!needClient(t, "rpm")) return;
  const folder = await temporaryFolder(t);
  const path = await rpmFile(folder, sampleSpec({ scripts: { postinstall: "#!/bin/bash -eu\necho hi\n" } }));
  assert.match((await query(path, "--scripts")).join("\n"), /postinstall scriptlet \(using \/bin\/bash -eu\)/);
  assert.ok((await query(path, "--requires")).includes("/bin/bash"));
});

test("headers of every value kind are read back as they were written", () => {
  const values = new Map<number, RpmValue>([
    [1000, { kind: "string", text: "näme" }],
    [1004, { kind: "i18n", texts: ["summary"] }],
    [1030, { kind: "int16", values: [0o100755, 0] }],
    [1028, { kind: "int32", values: [0, 0xffffffff] }],
    [1117, { kind: "strings", texts: ["", "b", ""] }],
    [1003, { kind: "binary", bytes: new Uint8Array([0, 1, 0]) }],
  ]);
  const header = parseRpmHeader(encodeRpmHeader(63, values), 63);
  assert.equal(header.text(1000), "näme");
  assert.deepEqual(header.texts(1117), ["", "b", ""]);
  assert.deepEqual(header.numbers(1030), [0o100755, 0]);
  assert.deepEqual(header.numbers(1028), [0, 0xffffffff]);
  assert.deepEqual(header.binary(1003), Buffer.from([0, 1, 0]));
  assert.equal(header.text(9999), undefined);
});
