/** A small product in a temporary folder, planned and built as the tests ask. */
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { type BuildOptions, type BuildResult, buildRelease } from "../../src/packaging/build.ts";
import { type Plan, type PlanRequest, planRelease } from "../../src/packaging/plan.ts";
import { loadRecipe, type Recipe } from "../../src/packaging/recipe.ts";

export const epochSeconds = 1_700_000_000;
const tool = { name: "slipway", version: "0.0.0" };

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-packaging-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A recipe whose parts a test replaces: `change` is applied to the text. */
export const sampleRecipe = `name: acme
summary: Answers questions
maintainer: Acme <release@acme.example>
license: Apache-2.0
targets: [linux/amd64, linux/arm64, darwin/arm64, windows/amd64]
build:
  run: sh make.sh {bin} {version} {target} {out}
  binaries: [acme, acmed]
binaries: "{bin}-{version}-{os}-{arch}{exe}"
archives:
  - files: [LICENSE, docs/GUIDE.md]
packages:
  formats: [deb, rpm]
  files:
    /usr/bin/: [acme, acmed]
    /usr/lib/systemd/system/acme.service: packaging/acme.service
    /etc/acme/acme.yaml: { from: packaging/acme.yaml, config: noreplace, mode: "0640" }
    /usr/share/acme/: docs/*.md
    /usr/share/acme/tree: tree
    /usr/bin/acme-link: { link: acme }
    /var/lib/acme: { directory: true, mode: "0750" }
  scripts:
    postinstall: packaging/postinstall.sh
  depends:
    deb: [docker.io | docker-ce]
    rpm: [/usr/bin/docker]
`;

/** Writes the product's files; returns its folder. */
export async function sampleProduct(t: TestContext, recipe: string = sampleRecipe): Promise<string> {
  const folder = join(await temporaryFolder(t), "product");
  await writeFiles(folder, {
    "slipway.yaml": recipe,
    "make.sh": 'printf "#!/bin/sh\\necho %s %s %s\\n" "$1" "$2" "$3" > "$4"\n',
    LICENSE: "Apache License\nVersion 2.0\n",
    "docs/GUIDE.md": "# Guide\n",
    "docs/OTHER.md": "# Other\n",
    "tree/one/file.txt": "one\n",
    "tree/run.sh": "#!/bin/sh\nexit 0\n",
    "packaging/acme.service": "[Service]\nExecStart=/usr/bin/acmed\n",
    "packaging/acme.yaml": "listen: 127.0.0.1:1\n",
    "packaging/postinstall.sh": "#!/bin/sh\nset -e\n",
  });
  return folder;
}

export async function writeFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
    await chmod(path, 0o664); // a checkout with umask 002: the packages must not show it
  }
}

/** One of examples/, copied so that its build command writes nothing into the checkout. */
export async function exampleProduct(t: TestContext, name: string): Promise<string> {
  const folder = join(await temporaryFolder(t), name);
  await cp(new URL(`../../examples/${name}`, import.meta.url), folder, { recursive: true, filter: (path) => !/\/(dist|prebuilt|artifacts)(\/|$)/.test(path) });
  return folder;
}

export async function readRecipe(folder: string): Promise<Recipe> {
  return loadRecipe(await readFile(join(folder, "slipway.yaml"), "utf8"), "slipway.yaml");
}

export async function planIn(folder: string, version: string, request: Partial<PlanRequest> = {}): Promise<Plan> {
  return planRelease({ recipe: await readRecipe(folder), version: parseVersion(version), epochSeconds, isUnsigned: true, ...request });
}

export async function buildIn(folder: string, plan: Plan, options: Partial<BuildOptions> = {}): Promise<BuildResult> {
  return buildRelease({ recipe: await readRecipe(folder), plan, folder, outFolder: join(folder, "dist"), run: runCommand, jobs: 2, tool, ...options });
}

/** Every file below a folder with its content, by relative path. */
export async function contentsOf(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const contents = new Map<string, Buffer>();
  for (const entry of names) {
    const path = join(entry.parentPath, entry.name);
    contents.set(path.slice(folder.length + 1), await readFile(path));
  }
  return contents;
}
