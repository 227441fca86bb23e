/** rpm-md fragments and repomd.xml as text; createrepo_c is the judge of the fragments where it is installed. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { requireCommand } from "../../src/io/command.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { parseVersion } from "../../src/model/version.ts";
import { memoryIndexFiles } from "../../src/repositories/index-files.ts";
import { renderYum, updateYum } from "../../src/repositories/yum.ts";
import { type RpmDescription, yumFragments } from "../../src/repositories/yum-fragments.ts";
import { needClient } from "../support/clients.ts";
import { printingPackage, testModifiedAt, writeTestRpm, yumFragmentsOf } from "../support/test-packages.ts";

const rpm: RpmDescription = {
  name: "coequal",
  epoch: "0",
  version: "1.4.2",
  release: "1",
  arch: "x86_64",
  summary: "Jobs & more",
  description: 'Says "a < b".',
  packager: "",
  url: "https://coequal.example/?a=1&b=2",
  license: "Apache-2.0",
  vendor: "Coequal",
  group: "",
  buildHost: "reproducible",
  sourceRpm: "coequal-1.4.2-1.src.rpm",
  buildTime: 1_780_000_000,
  sizes: { packageBytes: 1000, installedBytes: 3000, archiveBytes: 3500 },
  headerRange: { start: 280, end: 900 },
  provides: [{ name: "coequal", flags: "EQ", epoch: "0", version: "1.4.2", release: "1", isPre: false, isRpmlib: false }],
  requires: [
    { name: "/bin/sh", isPre: true, isRpmlib: false },
    { name: "/bin/sh", isPre: true, isRpmlib: false },
    { name: "/usr/bin/coequal", isPre: false, isRpmlib: false },
    { name: "rpmlib(FileDigests)", flags: "LE", epoch: "0", version: "4.6.0", release: "1", isPre: false, isRpmlib: true },
  ],
  conflicts: [],
  obsoletes: [],
  recommends: [],
  suggests: [],
  supplements: [],
  enhances: [],
  files: [
    { path: "/etc/coequal", kind: "dir" },
    { path: "/usr/bin/coequal", kind: "file" },
    { path: "/usr/share/coequal/a&b", kind: "file" },
    { path: "/var/lib/coequal/state", kind: "ghost" },
  ],
  changelogs: [
    { author: "B <b@coequal.example>", epochSeconds: 200, text: "- newer" },
    { author: "A <a@coequal.example>", epochSeconds: 100, text: "- older" },
  ],
};
const location = { href: "x86_64/coequal-1.4.2-1.x86_64.rpm", sha256: "a".repeat(64), modifiedAt: new Date(1_780_000_500_000) };

test("the fragments say what createrepo_c would say", () => {
  const { primary, filelists, other } = yumFragments(rpm, location);
  assert.equal(
    primary,
    `<package type="rpm">
  <name>coequal</name>
  <arch>x86_64</arch>
  <version epoch="0" ver="1.4.2" rel="1"/>
  <checksum type="sha256" pkgid="YES">${"a".repeat(64)}</checksum>
  <summary>Jobs &amp; more</summary>
  <description>Says "a &lt; b".</description>
  <packager></packager>
  <url>https://coequal.example/?a=1&amp;b=2</url>
  <time file="1780000500" build="1780000000"/>
  <size package="1000" installed="3000" archive="3500"/>
  <location href="x86_64/coequal-1.4.2-1.x86_64.rpm"/>
  <format>
    <rpm:license>Apache-2.0</rpm:license>
    <rpm:vendor>Coequal</rpm:vendor>
    <rpm:group>Unspecified</rpm:group>
    <rpm:buildhost>reproducible</rpm:buildhost>
    <rpm:sourcerpm>coequal-1.4.2-1.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="280" end="900"/>
    <rpm:provides>
      <rpm:entry name="coequal" flags="EQ" epoch="0" ver="1.4.2" rel="1"/>
    </rpm:provides>
    <rpm:requires>
      <rpm:entry name="/bin/sh" pre="1"/>
    </rpm:requires>
    <file type="dir">/etc/coequal</file>
    <file>/usr/bin/coequal</file>
  </format>
</package>
`,
  );
  const opening = `<package pkgid="${"a".repeat(64)}" name="coequal" arch="x86_64">\n  <version epoch="0" ver="1.4.2" rel="1"/>\n`;
  assert.equal(
    filelists,
    `${opening}  <file type="dir">/etc/coequal</file>
  <file>/usr/bin/coequal</file>
  <file>/usr/share/coequal/a&amp;b</file>
  <file type="ghost">/var/lib/coequal/state</file>
</package>
`,
  );
  assert.equal(
    other,
    `${opening}  <changelog author="A &lt;a@coequal.example&gt;" date="100">- older</changelog>
  <changelog author="B &lt;b@coequal.example&gt;" date="200">- newer</changelog>
</package>
`,
  );
});

test("the fragments of a real rpm are createrepo_c's, byte for byte", async (t) => {
  if (!needClient(t, "createrepo_c")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-createrepo-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const scripts = { postinstall: "#!/bin/sh\ntrue\n", preremove: "#!/bin/sh\ntrue\n" };
  const href = "x86_64/coequal-1.4.0-1.x86_64.rpm";
  const bytes = await writeTestRpm({ ...printingPackage("coequal", parseVersion("1.4.0")), scripts });
  await mkdir(join(folder, "x86_64"));
  await writeFile(join(folder, href), bytes);
  await utimes(join(folder, href), testModifiedAt, testModifiedAt);
  await requireCommand(["createrepo_c", "--quiet", "--no-database", folder], { timeoutMs: 30_000 });
  const ours = await yumFragmentsOf(bytes, href);
  for (const name of ["primary", "filelists", "other"] as const) {
    const file = (await readdir(join(folder, "repodata"))).find((entry) => entry.endsWith(`-${name}.xml.gz`)) ?? "";
    const theirs = gunzipSync(await readFile(join(folder, "repodata", file))).toString();
    assert.equal(theirs.slice(theirs.indexOf("<package ")).replace(/<\/\w+>$/, ""), ours[name]);
  }
});

const oddSpec = `Name: odd-base+x
Epoch: 3
Version: 1.2.3~rc1^git2
Release: 4.el9_2
Summary: Ödd “quoted” & <tagged>
Summary(de): Auf Deutsch
License: (MIT OR Apache-2.0) AND GPL-2.0-or-later WITH Classpath-exception-2.0
URL: https://example.test/?a=1&b=<2>
Vendor: Größe & Söhne
ModularityLabel: odd:stream:20260101:deadbeef
Requires: (glibc >= 2.17 or musl)
Requires: (foo >= 1.0 if bar)
Requires: libfoo.so.1(FOO_1.0)(64bit)
Requires: a-thing < 2:3.0-1
Requires(pre): shadow-utils
Requires(post): systemd >= 200
Requires(preun): systemd
Requires(meta): meta-thing
Requires: /usr/bin/odd
Provides: bundled(thing) = 1.2.3
Provides: virt-2 = 2:5
Conflicts: (qux unless quux)
Obsoletes: older-odd <= 2:1.0-5
Recommends: nice >= 3
Suggests: maybe
Supplements: (odd and langpack-de)
Enhances: emacs >= 20
%description
First — with dashes.\r
\ttabbed & <end>
%package sub
Summary: Sub package
BuildArch: noarch
Requires: %{name} = %{epoch}:%{version}-%{release}
%description sub
%install
mkdir -p "%{buildroot}/etc/odd.d" "%{buildroot}/usr/bin" "%{buildroot}/usr/share/odd/with space"
echo x > %{buildroot}/usr/bin/odd
ln %{buildroot}/usr/bin/odd %{buildroot}/usr/bin/odd-hard
echo x > %{buildroot}/etc/odd.conf
echo x > '%{buildroot}/usr/share/odd/dev-by\\x2duuid.swap'
echo x > "%{buildroot}/usr/share/odd/ünï & <code>.txt"
%post -p <lua>
print("x")
%transfiletriggerin -P 1000 -- /usr/share/odd
true
%triggerun -- other < 2
true
%files
%config(noreplace) /etc/odd.conf
%dir /etc/odd.d
/usr/bin/odd*
/usr/share/odd
%ghost %dir /etc/odd.later
%files sub
%changelog
* Sun Jan 05 2025 B <b@example.test> - 2
- newest & <best>

- after a blank line
* Fri Jan 03 2025 A <a@example.test> - 1
- same day, second
* Fri Jan 03 2025 A <a@example.test> - 0
- same day, first
`;
/** Written before UTF-8 was the rule. */
const latinSpec = `Name: latin
Version: 1
Release: 1
Summary: café
License: MIT
BuildArch: noarch
%description
%install
mkdir -p %{buildroot}/usr/share/latin
echo x > %{buildroot}/usr/share/latin/café
%files
/usr/share/latin
%changelog
* Sun Jan 05 2025 B <b@example.test> - 2
- änderung
`;

test("the fragments of packages that rpmbuild made are createrepo_c's: rich dependencies, triggers, modules, old encodings", async (t) => {
  if (!needClient(t, "createrepo_c", "rpmbuild")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-createrepo-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const top = join(folder, "top");
  const options = [`_topdir ${top}`, "_rpmfilename %%{NAME}.rpm", "_invalid_encoding_terminates_build 0", "debug_package %{nil}", "__os_install_post %{nil}"];
  const defines = options.flatMap((one) => ["--define", one]);
  for (const [name, spec, encoding] of [["odd", oddSpec, "utf8"] as const, ["latin", latinSpec, "latin1"] as const]) {
    await writeFile(join(folder, `${name}.spec`), spec, encoding);
    const argv = ["rpmbuild", "-bb", ...defines, join(folder, `${name}.spec`)];
    await requireCommand(argv, { timeoutMs: 60_000, env: { PATH: process.env["PATH"] ?? "", HOME: folder, LANG: "C.UTF-8" } });
  }
  const packages = join(top, "RPMS");
  const names = (await readdir(packages)).toSorted();
  assert.deepEqual(names, ["latin.rpm", "odd-base+x-sub.rpm", "odd-base+x.rpm"]);
  for (const name of names) await utimes(join(packages, name), testModifiedAt, testModifiedAt);
  await requireCommand(["createrepo_c", "--quiet", "--no-database", packages], { timeoutMs: 30_000 });
  const ours = await Promise.all(names.map(async (name) => yumFragmentsOf(await readFile(join(packages, name)), name)));
  const packagesOf = (xml: string): readonly string[] => (xml.match(/<package .*?<\/package>\n/gs) ?? []).toSorted();
  for (const index of ["primary", "filelists", "other"] as const) {
    const file = (await readdir(join(packages, "repodata"))).find((entry) => entry.endsWith(`-${index}.xml.gz`)) ?? "";
    const theirs = gunzipSync(await readFile(join(packages, "repodata", file))).toString();
    // Its attributes have numbers for letters.
    const plain = theirs.replaceAll(/&#x([0-9A-F]{2,});/g, (_, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16)));
    assert.deepEqual(packagesOf(ours.map((one) => one[index]).join("")), packagesOf(plain), index);
  }
});

test("texts that XML cannot hold are refused", () => {
  for (const summary of ["bell \u0007", "nul \0", "escape \u001b[31m", "half \ud800", "nonchar \uffff"]) {
    assert.throws(
      () => yumFragments({ ...rpm, summary }, location),
      (error) => error instanceof SlipwayError && error.code === "format_invalid",
      JSON.stringify(summary),
    );
  }
  assert.match(yumFragments({ ...rpm, summary: "tab\tand 🚢 ü" }, location).primary, /<summary>tab\tand 🚢 ü<\/summary>/);
  assert.match(yumFragments({ ...rpm, summary: "of\r\nWindows" }, location).primary, /<summary>of&#13;\nWindows<\/summary>/);
});

test("a description that closes its own element stays text", () => {
  const { primary } = yumFragments({ ...rpm, description: "</description></package>\n<package type='rpm'>" }, location);
  assert.equal(primary.match(/<\/package>/g)?.length, 1);
  assert.match(primary, /&lt;\/description&gt;&lt;\/package&gt;\n/);
});

test("an href that leaves the repository is refused", () => {
  for (const href of ["/etc/passwd", "../other/x.rpm", "x86_64/../../x.rpm"]) {
    assert.throws(
      () => yumFragments(rpm, { ...location, href }),
      (error) => error instanceof SlipwayError && error.code === "path_unsafe",
    );
  }
});

test("repomd.xml names each index by its own digest, and its revision never goes down", async () => {
  const indexes = memoryIndexFiles();
  const state = await updateYum(undefined, { add: [yumFragments(rpm, location)] }, indexes);
  const signed: Uint8Array[] = [];
  const detach = (bytes: Uint8Array): Promise<string> => {
    signed.push(bytes);
    return Promise.resolve("signature\n");
  };
  const render = (now: number, previous?: number) =>
    renderYum({ state, now: new Date(now), ...(previous === undefined ? {} : { previousDate: new Date(previous) }), sign: { detach }, publicKey: "key\n" });
  const files = await render(1_780_000_600_000);
  const hexes = ["primary", "filelists", "other"].map((name) => {
    const file = files.find(({ path }) => path.endsWith(`-${name}.xml.gz`));
    assert.ok(file?.isImmutable === true);
    assert.equal(file.path, `repodata/${file.digest.slice(7)}-${name}.xml.gz`);
    return { name, hex: file.digest.slice(7), size: file.size, openSize: state[name as "primary"].file.plainSize };
  });
  const entries = hexes.map(
    ({ name, hex, size, openSize }) => `  <data type="${name}">
    <checksum type="sha256">${hex}</checksum>
    <location href="repodata/${hex}-${name}.xml.gz"/>
    <timestamp>1780000600</timestamp>
    <size>${size}</size>
    <open-size>${openSize}</open-size>
  </data>
`,
  );
  const namespaces = 'xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm"';
  const expected = `<?xml version="1.0" encoding="UTF-8"?>\n<repomd ${namespaces}>\n  <revision>1780000600</revision>\n${entries.join("")}</repomd>\n`;
  assert.equal(Buffer.from(signed[0] ?? "").toString(), expected);
  await render(1_780_000_000_000, 1_780_000_600_000);
  assert.equal(Buffer.from(signed[1] ?? "").toString(), expected);
});

test("the channel without one package is the channel of the others, in each of its indexes", async () => {
  const indexes = memoryIndexFiles();
  const fragments = Array.from({ length: 30 }, (_, n) => {
    const sha256 = createHash("sha256").update(String(n)).digest("hex");
    return { sha256, texts: yumFragments({ ...rpm, summary: ' pkgid="YES">', version: `1.${n}.0` }, { ...location, sha256 }) };
  });
  const all = await updateYum(undefined, { add: fragments.map(({ texts }) => texts) }, indexes);
  const others = await updateYum(undefined, { add: fragments.toSpliced(7, 1).map(({ texts }) => texts) }, indexes);
  assert.deepEqual(await updateYum(all, { add: [], without: new Set([fragments[7]?.sha256 ?? ""]) }, indexes), others);
});
