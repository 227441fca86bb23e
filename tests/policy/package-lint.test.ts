/** The lint rules, each with facts that it must find and facts that it must let pass. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { FileFacts, MaintainerScript, PackageFacts, PackageFormatWord } from "../../src/model/package-facts.ts";
import { parseVersion } from "../../src/model/version.ts";
import { lintPackages, lintRules } from "../../src/policy/package-lint.ts";

const place = "slipway.yaml:9:9";
const file = (path: string, more: Partial<FileFacts> = {}): FileFacts => ({
  kind: "file",
  path,
  source: path.slice(1),
  place,
  owner: "root",
  group: "root",
  mode: 0o644,
  sizeBytes: 10,
  nature: { kind: "other" },
  ...more,
});
const program = { kind: "program", systems: ["linux"], arch: "amd64", isStripped: true, isStatic: false } as const;
const script = (text: string, more: Partial<MaintainerScript> = {}): MaintainerScript => ({ name: "postinstall", source: "p.sh", place, text, ...more });
const unit = (text: string, path = "/usr/lib/systemd/system/toy.service"): FileFacts => file(path, { text });
const soundUnit =
  "[Unit]\nDescription=Toy\n[Service]\nExecStart=/usr/bin/toy \\\n  --serve\nExecReload=/bin/kill -HUP $MAINPID\n[Install]\nWantedBy=multi-user.target\n";

/** A package that no rule finds anything in. */
const sound: PackageFacts = {
  name: "toy",
  target: { os: "linux", arch: "amd64" },
  formats: ["deb", "rpm", "apk"],
  artifacts: ["toy_1.2.0_amd64.deb"],
  version: parseVersion("1.2.0-preview.10"),
  summary: { text: "Plays by itself", place: "slipway.yaml:2:1" },
  description: { text: "It plays all day,\nand at night as well.", place: "slipway.yaml:3:1" },
  hasHomepage: true,
  hasLicenseFile: true,
  license: { text: "Apache-2.0", place },
  formatsPlace: place,
  entries: [
    file("/usr/bin/toy", { mode: 0o755, nature: program }),
    file("/usr/bin/toy-later", { mode: 0o755, nature: { kind: "unknown" } }),
    file("/usr/share/man/man1/toy.1.gz"),
    file("/usr/share/man/man8/toy-later.8.gz"),
    file("/etc/toy/toy.conf", { config: "noreplace" }),
    { kind: "directory", path: "/etc/toy", source: "directory", place, owner: "root", group: "root", mode: 0o755, isShared: false },
    { kind: "symlink", path: "/usr/lib/toy/current", source: "link", place, owner: "root", group: "root", target: "../../bin/toy" },
    { kind: "directory", path: "/usr/lib/toy", source: "directory", place, owner: "toy", group: "toy", mode: 0o1777, isShared: false },
    unit(soundUnit),
  ],
  scripts: [
    script("#!/bin/sh\nset -e\n# systemctl stop toy\nif [ -d /run/systemd/system ]; then\n  systemctl daemon-reload\nfi\n"),
    script('#!/bin/sh\nset -e\nif [ "$1" = purge ]; then\n  rm -rf /var/lib/toy\nfi\n', { name: "postremove" }),
  ],
  keys: [
    { kind: "openpgp", reference: "env:KEY", place },
    { kind: "apk", reference: "env:APK", place },
  ],
  dependsOn: ["python3-minimal"],
  users: ["toy"],
};

const withFile = (one: FileFacts): PackageFacts => ({ ...sound, entries: [...sound.entries, one] });
const withScript = (one: MaintainerScript, formats: readonly PackageFormatWord[] = ["deb", "rpm"]): PackageFacts => ({ ...sound, formats, scripts: [one] });
const withUnit = (text: string, path?: string): PackageFacts => ({
  ...sound,
  entries: [...sound.entries.filter(({ path: known }) => !known.endsWith(".service")), unit(text, path)],
});
const remove = (body: string): PackageFacts => withScript(script(`#!/bin/sh\nset -e\n${body}\n`, { name: "preremove" }));
const install = (body: string, formats?: readonly PackageFormatWord[]): PackageFacts => withScript(script(`#!/bin/sh\nset -e\n${body}\n`), formats);
const summary = (text: string): PackageFacts => ({ ...sound, summary: { text, place } });

/** Rule -> facts that it finds, with words of the message. */
const cases: readonly (readonly [rule: string, facts: PackageFacts, says: RegExp])[] = [
  ["summary-name", summary("Toy that plays"), /begins with the name toy/],
  ["summary-form", summary("Plays. By itself."), /full stop/],
  ["summary-form", summary(`P${"l".repeat(90)}`), /has 91 characters/],
  ["summary-form", summary("plays by itself"), /lower case/],
  ["description", { ...sound, description: { text: "", place } }, /no description/],
  ["description", { ...sound, description: { text: "Plays by itself", place } }, /says less/],
  ["description-line", { ...sound, description: { text: "x".repeat(100), place } }, /has 100 characters/],
  ["license-file", { ...sound, hasLicenseFile: false }, /no file LICENSE/],
  ["homepage", { ...sound, hasHomepage: false }, /no homepage/],
  ["artifact-name", { ...sound, artifacts: [`${"toy".repeat(40)}.deb`] }, /has 124 characters/],
  ["apk-version", { ...sound, version: parseVersion("1.2.0-wild.1") }, /no apk form/],
  ["tag-without-dot", { ...sound, version: parseVersion("1.2.0-preview10") }, /"preview10" of 1\.2\.0-preview10 before "preview9"/],
  ["key-unfit", { ...sound, keys: [{ kind: "openpgp", reference: "env:KEY", place, unfitness: "key abc expired on 2020-01-01" }] }, /env:KEY: .*expired/],
  ["rpm-unsigned", { ...sound, keys: [{ kind: "minisign", reference: "env:KEY", place }] }, /no sign\.gpg/],
  ["apk-unsigned", { ...sound, keys: [] }, /no sign\.apk/],
  ["usr-local", withFile(file("/usr/local/bin/toy", { mode: 0o755, nature: program })), /below \/usr\/local/],
  ["aliased-path", withFile(file("/lib/toy/data")), /\/usr\/lib\/toy\/data/],
  ["foreign-folder", withFile(file("/var/run/toy")), /below \/var\/run/],
  ["opt-folder", withFile(file("/opt/other/x")), /below \/opt/],
  ["top-folder", withFile(file("/data/x")), /folder \/data/],
  ["apk-dotfile", withFile(file("/.toyrc")), /would not be in the apk/],
  ["config-outside-etc", withFile(file("/usr/share/toy/x.conf", { config: "noreplace" })), /outside \/etc/],
  ["apk-config-outside-etc", withFile(file("/var/toy/x.conf", { config: "noreplace" })), /overwrites/],
  ["etc-without-config", withFile(file("/etc/toy/other.conf")), /not marked/],
  ["config-executable", withFile(file("/etc/toy/run", { mode: 0o755, config: "noreplace", nature: { kind: "script", interpreter: "/bin/sh" } })), /executable/],
  ["config-executable", withFile(file("/etc/toy/bin", { mode: 0o755, nature: program, config: "noreplace" })), /is a program/],
  ["setuid", withFile(file("/usr/bin/toy-later", { mode: 0o4755, nature: program })), /4755 \(setuid\)/],
  ["world-writable", withFile(file("/usr/share/toy/x", { mode: 0o666 })), /0666/],
  ["not-readable", withFile(file("/etc/toy/secret", { mode: 0o600, config: "noreplace" })), /0600/],
  ["owner-unknown", withFile(file("/usr/share/toy/x", { owner: "jo" })), /nothing in the package makes jo/],
  [
    "shared-folder-owned",
    {
      ...sound,
      entries: [
        ...sound.entries,
        { kind: "directory", path: "/usr/sbin", source: "directory", place, owner: "root", group: "root", mode: 0o755, isShared: true },
      ],
    },
    /belongs to the system/,
  ],
  ["folder-unowned", withFile(file("/var/lib/toy/state")), /leave the folder \/var\/lib\/toy behind/],
  ["path-length", withFile(file(`/usr/share/toy/${"x".repeat(256)}`)), /has 256 bytes/],
  ["name-encoding", withFile(file("/usr/bin/töy", { mode: 0o755, nature: program })), /keyboard/],
  ["size-limit", withFile(file("/usr/share/toy/x", { sizeBytes: 5e9 })), /5000000000 bytes/],
  [
    "size-limit",
    { ...sound, entries: [file("/usr/share/toy/x", { sizeBytes: 3e9 }), file("/usr/share/toy/y", { sizeBytes: 3e9 })] },
    /together have 6000000000 bytes/,
  ],
  ["wrong-machine", withFile(file("/usr/bin/toy-later", { mode: 0o755, nature: { ...program, arch: "arm64" } })), /linux\/arm64, not for linux\/amd64/],
  ["no-program", { ...sound, entries: [file("/usr/share/toy/x")] }, /machine code/],
  ["manual-page", withFile(file("/usr/sbin/toyd", { mode: 0o755, nature: program })), /no manual page/],
  ["manual-page-plain", withFile(file("/usr/share/man/man5/toy.conf.5")), /toy\.conf\.5 is not compressed/],
  ["unstripped-program", withFile(file("/usr/lib/toy/x", { mode: 0o755, nature: { ...program, isStripped: false } })), /not stripped/],
  ["static-program", withFile(file("/usr/lib/toy/x", { mode: 0o755, nature: { ...program, isStatic: true } })), /statically/],
  ["program-folder", withFile(file("/usr/bin/deep/toy", { mode: 0o755, nature: program })), /inside \/usr\/bin/],
  ["not-executable", withFile(file("/usr/bin/toy-later", { nature: program })), /nobody can run it/],
  ["not-executable", withFile(file("/usr/share/toy/x", { mode: 0o755 })), /neither a program nor a script/],
  ["not-executable", withFile(file("/usr/share/doc/toy/x", { mode: 0o755, nature: { kind: "script", interpreter: "/bin/sh" } })), /document/],
  [
    "script-interpreter-path",
    withFile(file("/usr/lib/toy/x", { mode: 0o755, nature: { kind: "script", interpreter: "/usr/bin/env python3" } })),
    /env python3/,
  ],
  ["interpreter-dependency", withFile(file("/usr/lib/toy/x", { mode: 0o755, nature: { kind: "script", interpreter: "/usr/bin/ruby" } })), /needs ruby/],
  ["script-file-syntax", withFile(file("/usr/lib/toy/x", { mode: 0o755, nature: { kind: "script", interpreter: "/bin/sh\r" } })), /Windows line ends/],
  [
    "script-file-syntax",
    withFile(file("/usr/lib/toy/x", { mode: 0o755, nature: { kind: "script", interpreter: "/bin/sh", syntaxError: "sh -n: x: 3: no" } })),
    /x: 3: no/,
  ],
  [
    "link-target",
    {
      ...sound,
      entries: [...sound.entries, { kind: "symlink", path: "/usr/bin/x", source: "link", place, owner: "root", group: "root", target: "/usr/lib/x" }],
    },
    /absolute/,
  ],
  [
    "link-target",
    {
      ...sound,
      entries: [...sound.entries, { kind: "symlink", path: "/usr/bin/x", source: "link", place, owner: "root", group: "root", target: "../../../x" }],
    },
    /above the root/,
  ],
  ["stray-file", withFile(file("/usr/share/toy/.git/config")), /\.git is a leftover/],
  ["empty-file", withFile(file("/usr/share/toy/x", { sizeBytes: 0 })), /is empty/],
  ["doc-folder", withFile(file("/usr/share/doc/toy.txt")), /folder of its own/],
  ["script-shebang", withScript(script("set -e\n")), /p\.sh:1 \(postinstall\) does not begin/],
  ["script-shebang", withScript(script("#!/bin/sh\r\nset -e\r\n")), /Windows/],
  ["script-interpreter", withScript(script("#!/usr/bin/python3\nprint()\n")), /run by \/usr\/bin\/python3/],
  ["script-syntax", withScript(script("#!/bin/sh\nset -e\nif\n", { syntaxError: "sh -n: p.sh: 3: oops" })), /3: oops/],
  ["script-set-e", withScript(script("#!/bin/sh\necho x\n")), /no `set -e`/],
  ["script-systemctl", install("systemctl daemon-reload"), /p\.sh:3 .*systemctl daemon-reload/],
  ["script-systemctl-gate", install("if command -v systemctl >/dev/null; then\n  systemctl daemon-reload\nfi"), /p\.sh:4 /],
  ["script-stops-on-upgrade", remove("[ -d /run/systemd/system ] && systemctl stop toy"), /not told from an upgrade/],
  ["script-deletes-state", remove("rm -rf /var/lib/toy"), /rm -rf/],
  ["script-argument", remove('if [ "$1" = remove ]; then echo bye; fi'), /dpkg's words only/],
  ["script-argument", install('case "$1" in\n  1) echo first ;;\nesac'), /rpm's counts only/],
  ["script-argument", install('if [ "$1" -gt 1 ]; then echo more; fi'), /as a number/],
  ["script-argument", install('case "$1" in\n  configure | [2-9]|[1-9][0-9]*) echo upgraded ;;\nesac', ["deb", "rpm", "apk"]), /12\.0\.0/],
  ["script-accounts", install("useradd --system toy", ["apk"]), /useradd/],
  ["script-temporary", install("echo x > /tmp/toy.stamp"), /\/tmp\/toy\.stamp/],
  ["script-home", install("rm -f $HOME/.toy"), /\$HOME/],
  ["unit-folder", withUnit(soundUnit, "/etc/systemd/system/toy.service"), /operator's folder/],
  ["unit-syntax", withUnit(`${soundUnit}nonsense\n`), /:9 is neither/],
  ["unit-syntax", withUnit(`${soundUnit}[Servise]\nX=1\n`), /\[Servise\]/],
  ["unit-exec", withUnit("[Service]\nExecStart=toy\n[Install]\nWantedBy=x\n"), /:2 ExecStart=toy is not an absolute path/],
  ["unit-exec", withUnit("[Service]\nExecStart=/usr/bin/toys\n[Install]\nWantedBy=x\n"), /not in the package/],
  ["unit-exec", withUnit("[Service]\nRestart=always\n[Install]\nWantedBy=x\n"), /no ExecStart/],
  ["unit-install", withUnit("[Service]\nExecStart=/usr/bin/toy\n"), /no \[Install\]/],
  [
    "unit-mode",
    { ...sound, entries: sound.entries.map((entry) => (entry.path.endsWith(".service") ? { ...(entry as FileFacts), mode: 0o755 } : entry)) },
    /0755/,
  ],
  ["unit-variable-folder", withUnit(soundUnit.replace("[Install]", "PIDFile=/var/run/toy.pid\n[Install]")), /PIDFile/],
];

test("J4 a sound package has no findings", () => {
  assert.deepEqual(lintPackages([sound]), []);
});

for (const [rule, facts, says] of cases) {
  test(`lint finds ${rule}: ${says.source}`, () => {
    const found = lintPackages([facts]).filter((finding) => finding.rule === rule);
    assert.ok(
      found.some(({ message }) => says.test(message)),
      JSON.stringify(found.length === 0 ? lintPackages([facts]) : found),
    );
    for (const finding of found) assert.match(finding.place, /^slipway\.yaml:\d+:\d+$/);
  });
}

test("every rule has a case here, an advice, and a name of its own", () => {
  const tried = new Set(cases.map(([rule]) => rule));
  assert.deepEqual(
    lintRules.map(({ id }) => id).filter((id) => !tried.has(id)),
    [],
  );
  assert.equal(new Set(lintRules.map(({ id }) => id)).size, lintRules.length);
  for (const { about, advice } of lintRules) assert.ok(about.length > 20 && advice.length > 5);
});

test("a finding that is the same for all targets is told once, and rules of a format that is not built are silent", () => {
  const facts = withFile(file("/.toyrc"));
  const arm: PackageFacts = { ...facts, target: { os: "linux", arch: "arm64" }, entries: facts.entries.filter(({ path }) => path !== "/usr/bin/toy") };
  assert.equal(lintPackages([facts, arm]).filter(({ rule }) => rule === "apk-dotfile").length, 1);
  assert.equal(lintPackages([{ ...facts, formats: ["deb", "rpm"] }]).filter(({ rule }) => rule === "apk-dotfile").length, 0);
});

/** Scripts as good vendors write them: nothing may be said about their arguments or systemctl. */
for (const body of [
  'case "${1:-}" in\n  remove | 0)\n    if [ -d /run/systemd/system ]; then systemctl disable --now toy; fi ;;\nesac',
  'if [ "$1" = remove ] || [ "$1" = 0 ]; then\n  [ -d /run/systemd/system ] && systemctl stop toy || true\nfi',
]) {
  test(`lint lets a preremove pass that tells removal from upgrade: ${body.split("\n")[0]}`, () => {
    assert.deepEqual(
      lintPackages([remove(body)]).filter(({ rule }) => rule.startsWith("script-")),
      [],
    );
  });
}
