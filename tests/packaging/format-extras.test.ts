/** What one format alone can say, files and scripts of one format, and packages for all processors: read back by dpkg, rpm and our apk reader. */
import assert from "node:assert/strict";
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { loadRecipe } from "../../src/packaging/recipe.ts";
import { checkSources } from "../../src/packaging/source-check.ts";
import { verifyApk } from "../formats/apk-verifier.ts";
import { needClient } from "../support/clients.ts";
import { buildIn, planIn, readRecipe, temporaryFolder, writeFiles } from "./fixture.ts";

const run = (...argv: readonly string[]): Promise<string> =>
  requireCommand(argv, { timeoutMs: 60_000, env: { PATH: process.env["PATH"] ?? "", TZ: "UTC", LC_ALL: "C.UTF-8" } });

const head = `name: acme
summary: Answers questions
maintainer: Acme <release@acme.example>
license: Apache-2.0
targets: [linux/amd64, linux/arm64]
build: { prebuilt: "bin/{bin}", binaries: [acme] }
`;

/** A product of one script, with these lines below `packages:`. */
async function product(t: TestContext, packages: string): Promise<string> {
  const folder = await temporaryFolder(t);
  await writeFiles(folder, {
    "slipway.yaml": `${head}packages:\n${packages}`,
    "bin/acme": "#!/bin/sh\necho acme\n",
    "deb/acme.conf": "deb\n",
    "rpm/acme.conf": "rpm\n",
    "apk/acme.conf": "apk\n",
    "deb/post.sh": "#!/bin/sh\necho deb\n",
    "rpm/post.sh": "#!/bin/sh\necho rpm\n",
    "apk/post.sh": "#!/bin/sh\necho apk\n",
    "own.sh": '#!/bin/sh\necho own "$@"\n',
    "acme.mo": "mo",
    templates: "Template: acme/question\nType: boolean\nDefault: true\nDescription: Ask?\n",
  });
  return folder;
}

const amd64 = [{ os: "linux", arch: "amd64" }] as const;

const extras = `  formats: [deb, rpm, apk]
  files:
    /usr/bin/: [acme]
    /etc/acme/acme.conf: { from: "{format}/acme.conf", config: missingok }
    /etc/sysconfig/acme: { from: rpm/acme.conf, formats: [rpm], config: noreplace }
    /etc/default/acme: { from: deb/acme.conf, formats: [deb, apk], config: noreplace }
    /usr/share/locale/de/LC_MESSAGES/acme.mo: acme.mo
  scripts: { postinstall: "{format}/post.sh" }
  deb:
    predepends: [init-system-helpers (>= 1.54~)]
    breaks: [acme-old (<< 2)]
    enhances: [apt]
    priority: extra
    fields: { Bugs: "https://acme.example/bugs" }
    config: own.sh
    templates: templates
  rpm:
    supplements: [bash]
    enhances: [zsh]
    requires: { post: [systemd], preun: [systemd >= 200] }
    group: System/Tools
    prefixes: [/usr/bin]
    scripts: { pretrans: own.sh, posttrans: own.sh, verify: own.sh }
  apk:
    installIf: [bash, acme-data=1.0.0-r0]
    providerPriority: 10
    replacesPriority: 5
    triggers: [/usr/share/acme/plugins, /usr/lib/acme]
    scripts: { preupgrade: own.sh, trigger: own.sh }
`;

test("C1 what one format alone can say is in its package, and its own tools read it", async (t) => {
  if (!needClient(t, "rpm", "dpkg-deb")) return;
  const folder = await product(t, extras);
  const { folder: out } = await buildIn(folder, await planIn(folder, "1.4.2", { targets: amd64 }));

  const deb = join(out, "acme_1.4.2_amd64.deb");
  const control = await run("dpkg-deb", "-f", deb);
  for (const field of [
    "Pre-Depends: init-system-helpers (>= 1.54~)",
    "Breaks: acme-old (<< 2)",
    "Enhances: apt",
    "Priority: extra",
    "Bugs: https://acme.example/bugs",
  ]) {
    assert.ok(control.split("\n").includes(field), `${field} in ${control}`);
  }
  assert.equal(await run("dpkg-deb", "-I", deb, "config"), await readFile(join(folder, "own.sh"), "utf8"));
  assert.equal(await run("dpkg-deb", "-I", deb, "templates"), await readFile(join(folder, "templates"), "utf8"));
  assert.equal(await run("dpkg-deb", "-I", deb, "postinst"), await readFile(join(folder, "deb/post.sh"), "utf8"));

  const rpm = join(out, "acme-1.4.2-1.x86_64.rpm");
  const query = (format: string): Promise<string> => run("rpm", "-qp", "--nosignature", "--qf", format, rpm);
  assert.equal(
    await query("%{GROUP} %{PREFIXES} [%{SUPPLEMENTNAME}] [%{ENHANCENAME}] %{PRETRANS}%{POSTTRANS}%{VERIFYSCRIPT}"),
    `System/Tools /usr/bin bash zsh ${'#!/bin/sh\necho own "$@"\n'.repeat(3)}`,
  );
  const requires = (await query("[%{REQUIRENAME} %{REQUIREVERSION} %{REQUIREFLAGS:deptype}\n]")).split("\n");
  for (const line of ["systemd  post", "systemd 200 preun", "/bin/sh  interp,pretrans", "/bin/sh  interp,posttrans"]) {
    assert.ok(requires.includes(line), `${line} in ${requires.join(", ")}`);
  }
  const files = (await query("[%{FILENAMES} %{FILEFLAGS:fflags} %{FILELANGS}\n]")).split("\n").map((line) => line.trimEnd());
  for (const line of ["/etc/acme/acme.conf cm", "/etc/sysconfig/acme cn", "/usr/share/locale/de/LC_MESSAGES/acme.mo  de"])
    assert.ok(files.includes(line), line);

  const apk = verifyApk(await readFile(join(out, "acme_1.4.2_x86_64.apk")), undefined);
  assert.deepEqual(
    apk.info.filter(([key]) => ["install_if", "triggers", "provider_priority", "replaces_priority"].includes(key)),
    [
      ["install_if", "bash acme-data=1.0.0-r0"],
      ["triggers", "/usr/share/acme/plugins /usr/lib/acme"],
      ["provider_priority", "10"],
      ["replaces_priority", "5"],
    ],
  );
  const own = await readFile(join(folder, "own.sh"), "utf8");
  const post = await readFile(join(folder, "apk/post.sh"), "utf8");
  assert.deepEqual(
    [".pre-upgrade", ".trigger", ".post-install", ".post-upgrade"].map((name) => apk.scripts[name]),
    [own, own, post, post],
  );
});

test("J3 a file may be for some formats, and {format} finds each format's own source", async (t) => {
  if (!needClient(t, "rpm", "dpkg-deb")) return;
  const folder = await product(t, extras);
  const { folder: out } = await buildIn(folder, await planIn(folder, "1.4.2", { targets: amd64 }));
  const rpmPayload = await run(
    "sh",
    "-c",
    `cd "${folder}" && mkdir rpm-out && cd rpm-out && rpm2cpio "${out}"/*.rpm | cpio -idm --quiet && find etc -type f | sort && cat etc/acme/acme.conf`,
  );
  assert.equal(rpmPayload, "etc/acme/acme.conf\netc/sysconfig/acme\nrpm\n");
  const debPayload = await run(
    "sh",
    "-c",
    `cd "${folder}" && dpkg-deb -x "${out}"/*.deb deb-out && cd deb-out && find etc -type f | sort && cat etc/acme/acme.conf`,
  );
  assert.equal(debPayload, "etc/acme/acme.conf\netc/default/acme\ndeb\n");
});

test("C1 arch: all makes one package of each format, which dpkg and rpm take for every processor", async (t) => {
  if (!needClient(t, "rpm", "dpkg-deb")) return;
  const folder = await product(t, '  formats: [deb, rpm, apk]\n  arch: all\n  files: { /usr/bin/: [acme], /etc/acme: "{format}" }\n');
  const plan = await planIn(folder, "1.4.2");
  assert.deepEqual(
    plan.artifacts.map(({ name }) => name),
    ["acme_1.4.2_all.deb", "acme-1.4.2-1.noarch.rpm", "acme_1.4.2_noarch.apk"],
  );
  const { folder: out, manifest } = await buildIn(folder, plan);
  assert.ok(manifest.artifacts.every(({ os, arch }) => os === "linux" && arch === undefined));
  assert.equal(await run("dpkg-deb", "-f", join(out, "acme_1.4.2_all.deb"), "Architecture"), "all\n");
  assert.equal(await run("rpm", "-qp", "--nosignature", "--qf", "%{ARCH} [%{PROVIDES} ]", join(out, "acme-1.4.2-1.noarch.rpm")), "noarch acme ");
  assert.ok(verifyApk(await readFile(join(out, "acme_1.4.2_noarch.apk")), undefined).info.some(([key, value]) => key === "arch" && value === "noarch"));
});

test("a package for all processors with machine code in it is refused with the line of the file", async (t) => {
  const folder = await product(t, "  formats: [deb]\n  arch: all\n  files: { /usr/bin/acme: tools/node }\n");
  await writeFiles(folder, { "tools/node": "" });
  await copyFile("/bin/true", join(folder, "tools/node"));
  await assert.rejects(checkSources({ recipe: await readRecipe(folder), plan: await planIn(folder, "1.4.2"), folder }), {
    code: "source_unusable",
    place: "slipway.yaml:10:27",
    message: /tools\/node is machine code \(ELF\) in a package for all processors/,
  });
});

const refusals: readonly (readonly [what: string, packages: string, problem: RegExp])[] = [
  [
    "a field that is written anyway",
    "  formats: [deb]\n  deb: { fields: { depends: bash } }\n",
    /slipway\.yaml:9:20 packages\.deb\.fields\.depends: Depends is written from the rest/,
  ],
  ["a field with a colon in its name", '  formats: [deb]\n  deb: { fields: { "a:b": c } }\n', /must be the name of a field/],
  ["alternatives under breaks", '  formats: [deb]\n  deb: { breaks: ["aa | bb"] }\n', /deb packages cannot have alternatives under "breaks"/],
  ["a script of debconf without questions", "  formats: [deb]\n  deb: { config: own.sh }\n", /packages\.deb\.config: asks nothing without templates/],
  ["what is rpm's without an rpm", "  formats: [deb]\n  rpm: { group: A/B }\n", /slipway\.yaml:9:3 packages\.rpm: is for rpm, which is not among the formats/],
  ["a moment that rpm does not have", "  formats: [rpm]\n  rpm: { requires: { install: [a] } }\n", /packages\.rpm\.requires/],
  ["a trigger without folders", "  formats: [apk]\n  apk: { scripts: { trigger: own.sh } }\n", /is never run without triggers/],
  ["triggers without a script", "  formats: [apk]\n  apk: { triggers: [/usr/lib/x] }\n", /run nothing without scripts\.trigger/],
  [
    "a format that does not exist",
    "  formats: [deb]\n  files: { /a: { from: own.sh, formats: [debs] } }\n",
    /"debs" is not one of deb, rpm, apk - did you mean "deb"/,
  ],
];

for (const [what, packages, problem] of refusals) {
  test(`a recipe with ${what} is refused with its line`, () => {
    assert.throws(
      () => loadRecipe(`${head}packages:\n${packages}`, "slipway.yaml"),
      (error: Error & { place?: string }) => problem.test(`${error.place ?? ""} ${error.message}`) || assert.fail(`${error.place ?? ""} ${error.message}`),
    );
  });
}

test("an image has no formats: files of one format alone belong to packages", async (t) => {
  const folder = await product(
    t,
    "  formats: [deb]\n  files: { /usr/bin/: [acme] }\nimages:\n  - files: { /etc/a: { from: own.sh, formats: [deb] }, /usr/bin/: [acme] }\n",
  );
  await assert.rejects(planIn(folder, "1.4.2"), { code: "recipe_invalid", message: /images\[0\]\.files: formats are those of packages/ });
});
