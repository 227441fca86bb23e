/** What a recipe can say of its build commands, archives and changelog: commands that run once, variables, folders, chosen binaries, sections of a file. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { checkSources } from "../../src/packaging/source-check.ts";
import { needClient } from "../support/clients.ts";
import { buildIn, planIn, readRecipe, sampleProduct, sampleRecipe, writeFiles } from "./fixture.ts";

const run = (...argv: readonly string[]): Promise<string> => requireCommand(argv, { timeoutMs: 60_000 });
const linux = [{ os: "linux", arch: "amd64" }] as const;

test("J7 build.before runs once, before every other command, and makes what the packages ship", async (t) => {
  const recipe = sampleRecipe
    .replace("  run: sh make.sh", '  before: ["sh before.sh {version}"]\n  outputs: [man]\n  run: sh make.sh')
    .replace("tree: tree", "tree: man");
  const folder = await sampleProduct(t, recipe);
  await writeFiles(folder, { "before.sh": 'mkdir -p man && echo "$1 $SLIPWAY_TAG ${SLIPWAY_TARGET-none}" >> man/acme.1\n' });
  const plan = await planIn(folder, "1.4.2");
  await checkSources({ recipe: await readRecipe(folder), plan, folder });
  const ran: string[] = [];
  await buildIn(folder, plan, { onCommand: ({ target, argv }) => ran.push(`${target?.os ?? "first"} ${argv[1] ?? ""}`) });
  assert.equal(await readFile(join(folder, "man/acme.1"), "utf8"), "1.4.2 v1.4.2 none\n");
  assert.deepEqual(ran.slice(0, 2), ["first before.sh", "linux make.sh"]);
});

test("build.before alone may make prebuilt binaries, and its failure is told with its line", async (t) => {
  const prebuilt = sampleRecipe.replace(/ {2}run: .*/, '  before: ["sh all.sh"]\n  prebuilt: "out/{target}/{bin}{exe}"');
  const folder = await sampleProduct(t, prebuilt);
  await writeFiles(folder, { "all.sh": 'mkdir -p out/linux/amd64; for one in acme acmed; do echo "#!/bin/sh" > out/linux/amd64/$one; done\n' });
  const { files } = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["archive"], targets: linux }));
  assert.ok(files.includes("acme-1.4.2-linux-amd64.tar.gz"), files.join(" "));
  await writeFiles(folder, { "all.sh": "echo broken >&2; exit 3\n" });
  const failed = planIn(folder, "1.4.2").then((plan) => buildIn(folder, plan));
  await assert.rejects(failed, { code: "build_failed", place: "slipway.yaml:7:11", message: "sh: exit 3\nbroken" });
});

test("build commands get where tools lie and what build.pass names, and nothing else of the environment", async (t) => {
  const folder = await sampleProduct(t, sampleRecipe.replace("  binaries: [acme, acmed]", "  pass: [ACME_LICENSE, ACMEX_*]\n  binaries: [acme, acmed]"));
  await writeFiles(folder, { "make.sh": 'env > env.txt; echo "#!/bin/sh" > "$4"\n' });
  const names = ["CARGO_HOME", "ACME_LICENSE", "ACMEX_ONE", "ACME_SECRET", "GOFLAGS"];
  const before = new Map(names.map((name) => [name, process.env[name]]));
  t.after(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
  for (const name of names) process.env[name] = "set";
  await buildIn(folder, await planIn(folder, "1.4.2", { only: ["archive"], targets: linux }));
  const seen = (await readFile(join(folder, "env.txt"), "utf8")).split("\n");
  assert.deepEqual(
    names.filter((name) => seen.includes(`${name}=set`)),
    ["CARGO_HOME", "ACME_LICENSE", "ACMEX_ONE"],
  );
});

test("J6 an archive has a folder, chosen binaries, and files at places of their own", async (t) => {
  const archive = `archives:
  - name: "{name}-{tag}-{os}-{arch}"
    folder: "{name}-{version}"
    binaries: [acme]
    files: { doc/: docs/*.md, LICENSE.txt: LICENSE, share: tree }
`;
  const folder = await sampleProduct(t, sampleRecipe.replace("archives:\n  - files: [LICENSE, docs/GUIDE.md]\n", archive));
  const { folder: out, manifest } = await buildIn(
    folder,
    await planIn(folder, "1.4.2", { only: ["archive"], targets: [linux[0], { os: "windows", arch: "amd64" }] }),
  );
  const inside = ["LICENSE.txt", "acme", "doc/GUIDE.md", "doc/OTHER.md", "share/one/file.txt", "share/run.sh"].map((name) => `acme-1.4.2/${name}`);
  const listed = (await run("tar", "-tzf", join(out, "acme-v1.4.2-linux-amd64.tar.gz"))).split("\n").filter((name) => name !== "" && !name.endsWith("/"));
  assert.deepEqual(listed.sort(), inside);
  const files = manifest.artifacts.map((artifact) => artifact.files?.map(({ path }) => path).sort());
  assert.deepEqual(files, [inside, inside.map((name) => (name.endsWith("/acme") ? `${name}.exe` : name)).sort()]);
});

test("an archive's unknown binary, climbing path and crowded pattern are refused with their lines", async (t) => {
  const refused = async (lines: string): Promise<string> => {
    const folder = await sampleProduct(t, sampleRecipe.replace("  - files: [LICENSE, docs/GUIDE.md]\n", lines));
    return planIn(folder, "1.4.2").then(
      () => "nothing was refused",
      (error: Error & { place?: string }) => `${error.place ?? ""} ${error.message}`,
    );
  };
  assert.match(await refused("  - binaries: [acme, acmee]\n"), /^slipway\.yaml:11:22 archives\[0\]\.binaries\[1\]: is none of build\.binaries: acme, acmed/);
  assert.match(await refused("  - files: { ../x: LICENSE }\n"), /^slipway\.yaml:11:\d+ archives\[0\]\.files.*must be a path inside the archive/);
  assert.match(
    await refused("  - files: { doc: docs/*.md }\n"),
    /^slipway\.yaml:11:19 archives\[0\]\.files: the pattern docs\/\*\.md needs a folder: write doc\//,
  );
});

const changelog = `# Changelog

## [Unreleased]
- not yet

## [1.4.2] - 2026-03-01
### Fixed
- answers in time
- **wrong** questions

## v1.4.1 (2026-01-31)
* the first answer

## [1.4.0]
- older

## About this file
- not a change
`;

test("the changelog of packages is taken from a file's sections, this version's first, and read by rpm", async (t) => {
  if (!needClient(t, "rpm", "dpkg-deb")) return;
  const recipe = sampleRecipe.replace("  scripts:", "  changelog: { file: CHANGELOG.md }\n  scripts:");
  const folder = await sampleProduct(t, recipe);
  await writeFile(join(folder, "CHANGELOG.md"), changelog);
  const { folder: out } = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["deb", "rpm"], targets: linux, epochSeconds: 1_772_500_000 }));
  const query = "[%{CHANGELOGTIME:day}|%{CHANGELOGNAME}|%{CHANGELOGTEXT}\n]";
  assert.equal(
    await run("rpm", "-qp", "--nosignature", "--qf", query, join(out, "acme-1.4.2-1.x86_64.rpm")),
    [
      "Tue Mar 03 2026|Acme <release@acme.example> - 1.4.2-1|- answers in time\n- **wrong** questions",
      "Sat Jan 31 2026|Acme <release@acme.example> - 1.4.1-1|- the first answer",
      "Sat Jan 31 2026|Acme <release@acme.example> - 1.4.0-1|- older\n",
    ].join("\n"),
  );
  const text = await run("sh", "-c", `dpkg-deb --fsys-tarfile "${out}/acme_1.4.2_amd64.deb" | tar -xO ./usr/share/doc/acme/changelog.gz | gzip -d`);
  assert.match(text, /^acme \(1\.4\.2\) stable; urgency=medium\n\n {2}\* answers in time\n/);
  const missing = planIn(folder, "1.5.0").then(async (plan) => checkSources({ recipe: await readRecipe(folder), plan, folder }));
  await assert.rejects(missing, { code: "source_unusable", place: "slipway.yaml:22:22", message: /CHANGELOG\.md has no section of 1\.5\.0/ });
});
