import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Component } from "../../src/formats/bill-of-materials.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { readLockFiles } from "../../src/packaging/lock-file-kinds.ts";
import { lockFileEcosystems } from "../../src/packaging/lock-file-names.ts";

const golden = new URL("golden/lock-files/", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "slipway-locks-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const purls = (components: readonly Component[]): readonly string[] => components.map((component) => component.purl ?? `(none) ${component.name}`).toSorted();
const npmProduction = [
  "pkg:npm/%40types/ms@0.7.34",
  "pkg:npm/debug@4.3.4",
  "pkg:npm/fsevents@2.3.3",
  "pkg:npm/ms@2.1.2",
  "pkg:npm/once@1.4.0",
  "pkg:npm/wrappy@1.0.2",
];
const npmDevelopment = ["pkg:npm/is-number@6.0.0", "pkg:npm/is-odd@3.0.1"];
const commit = "0123456789abcdef0123456789abcdef01234567";

/** Files that the tools themselves wrote for one small project each (poetry, bundler, composer: by hand after their documentation). */
const cases: readonly (readonly [folder: string, file: string, expected: readonly string[], warnings: number])[] = [
  ["npm", "package-lock.json", npmProduction, 0],
  ["pnpm-8", "pnpm-lock.yaml", npmProduction, 0],
  ["pnpm-9", "pnpm-lock.yaml", npmProduction, 0],
  ["yarn-1", "yarn.lock", [...npmProduction, ...npmDevelopment].toSorted(), 1],
  ["yarn-4", "yarn.lock", [...npmProduction, ...npmDevelopment].filter((purl) => !purl.includes("fsevents")).toSorted(), 1],
  ["cargo", "Cargo.lock", ["pkg:cargo/hex@0.4.3", "pkg:cargo/itoa@1.0.18", "pkg:cargo/version_check@0.9.5"], 1],
  ["go", "go.mod", ["pkg:golang/golang.org/x/text@v0.14.0", "pkg:golang/rsc.io/quote@v1.5.2", "pkg:golang/rsc.io/sampler@v1.3.0"], 0],
  ["uv", "uv.lock", ["pkg:pypi/click@8.1.7", "pkg:pypi/colorama@0.4.6", "pkg:pypi/iniconfig@2.0.0"], 0],
  ["poetry", "poetry.lock", ["pkg:pypi/click@8.1.7", `pkg:pypi/from-git@1.2.0?vcs_url=git%2Bhttps%3A%2F%2Fgit.example%2Ffrom-git.git%40${commit}`], 0],
  ["pipenv", "Pipfile.lock", ["pkg:pypi/iniconfig@2.0.0"], 0],
  ["pip", "requirements.txt", ["pkg:pypi/click@8.1.7", "pkg:pypi/iniconfig@2.0.0"], 0],
  [
    "bundler",
    "Gemfile.lock",
    [
      "pkg:gem/nokogiri@1.16.5?platform=x86_64-linux",
      "pkg:gem/racc@1.8.0",
      "pkg:gem/rack@3.0.11",
      `pkg:gem/tool@0.3.0?vcs_url=git%2Bhttps%3A%2F%2Fgit.example%2Ftool.git%40${commit}`,
    ],
    1,
  ],
  ["composer", "composer.lock", ["pkg:composer/monolog/monolog@3.6.0", "pkg:composer/nette/utils@v4.0.4"], 0],
];

for (const [tool, file, expected, warnings] of cases) {
  test(`${file} of ${tool} lists what goes in, and no more`, async () => {
    const [read, ...others] = await readLockFiles(join(golden, tool));
    assert.deepEqual([read?.name, others.length], [file, 0]);
    assert.deepEqual(purls(read?.components ?? []), expected);
    assert.equal(read?.warnings.length, warnings);
    assert.match(read?.sha256 ?? "", /^[0-9a-f]{64}$/);
  });
}

test("every kind of the table has a golden file", () => {
  const covered = new Set(cases.map(([, file]) => file));
  assert.deepEqual(
    Object.keys(lockFileEcosystems).filter((name) => !covered.has(name)),
    ["npm-shrinkwrap.json"], // the same format as package-lock.json
  );
});

test("licences and checksums come along where the lock file has them", async () => {
  const [npm] = await readLockFiles(join(golden, "npm"));
  const once = npm?.components.find((component) => component.name === "once");
  assert.equal(once?.license, "ISC");
  assert.deepEqual(once?.checksums, [
    {
      algorithm: "SHA-512",
      hex: Buffer.from("lNaJgI+2Q5URQBkccEKHTQOPaXdUxnZZElQTZY0MFUAuaEqe1E+Nyvgdz/aIyNi6Z9MzO5dv1H8n58/GELp3+w==", "base64").toString("hex"),
    },
  ]);
  const [cargo] = await readLockFiles(join(golden, "cargo"));
  assert.deepEqual(cargo?.components[0]?.checksums, [{ algorithm: "SHA-256", hex: "7f24254aa9a54b5c858eaee2f5bccdb46aaf0e486a595ed5fd8f86ba55232a70" }]);
  const [composer] = await readLockFiles(join(golden, "composer"));
  assert.deepEqual(
    composer?.components.map((component) => component.license),
    ["MIT", "(BSD-3-Clause OR GPL-2.0-only OR GPL-3.0-only)"],
  );
});

let count = 0;
async function readText(name: string, text: string) {
  count += 1;
  const into = mkdtempSync(join(folder, `${count}-`));
  writeFileSync(join(into, name), text);
  const [read] = await readLockFiles(into);
  assert.ok(read !== undefined);
  return read;
}

const npmLock = (packages: unknown): string => JSON.stringify({ lockfileVersion: 3, packages });

/** Pieces that the golden files do not have. */
const pieces: readonly (readonly [what: string, file: string, text: string, expected: readonly string[], warnings?: readonly string[]])[] = [
  [
    "a package from git keeps the commit and loses the password",
    "package-lock.json",
    npmLock({ "node_modules/x": { version: "1.0.0", resolved: `git+https://me:secret@git.example/x.git#${commit}` } }),
    [`pkg:npm/x@1.0.0?vcs_url=git%2Bhttps%3A%2F%2Fgit.example%2Fx.git%40${commit}`],
  ],
  [
    "a package from a local file is not the registry's package of that name",
    "package-lock.json",
    npmLock({ "node_modules/x": { version: "1.0.0", resolved: "file:x.tgz" } }),
    ["(none) x"],
  ],
  [
    "a nested package, a link and a workspace",
    "package-lock.json",
    npmLock({
      "": { name: "root", version: "1.0.0" },
      "apps/one": { version: "1.0.0" },
      "node_modules/one": { link: true, resolved: "apps/one" },
      "node_modules/a/node_modules/@s/b": { version: "2.0.0" },
    }),
    ["pkg:npm/%40s/b@2.0.0"],
  ],
  [
    "go.mod with single lines, comments and replacements by another module",
    "go.mod",
    'module x // mine\ngo 1.22\nrequire a.example/a v1.0.0 // indirect\nrequire (\n\tb.example/b v1.1.0\n\t"c.example/c" v0.1.0\n)\nreplace b.example/b v1.1.0 => d.example/d v2.0.0\nexclude (\n\ta.example/a v0.9.0\n)\n',
    ["pkg:golang/a.example/a@v1.0.0", "pkg:golang/c.example/c@v0.1.0", "pkg:golang/d.example/d@v2.0.0"],
  ],
  [
    "requirements with markers, extras, git, includes and without a version",
    "requirements.txt",
    `# comment\n-r base.txt\n--index-url https://registry.example/\nUvicorn[standard]==0.30.0 ; python_version >= "3.8"\nflask>=2,<3\ntool @ git+https://git.example/tool.git@${commit}\n`,
    ["pkg:pypi/flask", `pkg:pypi/tool?vcs_url=git%2Bhttps%3A%2F%2Fgit.example%2Ftool.git%40${commit}`, "pkg:pypi/uvicorn@0.30.0"],
    ["requirements.txt:2: -r is not followed; name that file too", "requirements.txt:5: flask has no exact version"],
  ],
  [
    "poetry below 1.5 says the category",
    "poetry.lock",
    '[[package]]\nname = "a"\nversion = "1"\ncategory = "main"\n[[package]]\nname = "b"\nversion = "1"\ncategory = "dev"\n',
    ["pkg:pypi/a@1"],
  ],
  [
    "pnpm with peers in its keys",
    "pnpm-lock.yaml",
    "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      a:\n        specifier: ^1\n        version: 1.0.0(b@2.0.0)\npackages:\n  a@1.0.0:\n    resolution: {integrity: sha512-x}\n  b@2.0.0:\n    resolution: {integrity: sha512-x}\n  c@3.0.0:\n    resolution: {integrity: sha512-x}\nsnapshots:\n  a@1.0.0(b@2.0.0):\n    dependencies:\n      b: 2.0.0\n  b@2.0.0: {}\n  c@3.0.0: {}\n",
    ["pkg:npm/a@1.0.0", "pkg:npm/b@2.0.0"],
  ],
];

for (const [what, file, text, expected, warnings] of pieces) {
  test(`${file}: ${what}`, async () => {
    const read = await readText(file, text);
    assert.deepEqual(purls(read.components), expected);
    if (warnings !== undefined) assert.deepEqual(read.warnings, warnings);
  });
}

/** Each names the file and the place. */
const badFiles: readonly (readonly [what: string, file: string, text: string, place: string, message: RegExp])[] = [
  ["cut JSON", "package-lock.json", '{\n "lockfileVersion": 3,\n', "package-lock.json:3:1", /is not JSON/],
  ["npm 6's format", "package-lock.json", '{"lockfileVersion":1,"dependencies":{}}', "package-lock.json", /lockfileVersion 1; 2 and 3 are read/],
  [
    "a version that is a number",
    "package-lock.json",
    '{"lockfileVersion":3,\n"packages":{"node_modules/x":\n{"version":1}}}',
    "package-lock.json:3:12",
    /packages\.node_modules\/x\.version/,
  ],
  ["a package without a version", "package-lock.json", npmLock({ "node_modules/x": {} }), "package-lock.json", /packages\.node_modules\/x has no version/],
  ["an unknown pnpm", "pnpm-lock.yaml", "lockfileVersion: 5.4\n", "pnpm-lock.yaml", /lockfileVersion 5.4; 6 and 9 are read/],
  ["YAML with a bomb of aliases", "pnpm-lock.yaml", "a: &a [x]\nlockfileVersion: *a\n", "pnpm-lock.yaml", /./],
  ["broken YAML", "pnpm-lock.yaml", "lockfileVersion: '9.0'\npackages: [\n", "pnpm-lock.yaml:3:1", /is not YAML/],
  ["broken TOML", "Cargo.lock", 'version = 4\n[[package]\nname = "x"\n', "Cargo.lock:2:11", /is not TOML/],
  ["a crate without a version", "Cargo.lock", '[[package]]\nname = "a"\nversion = "1"\n\n[[package]]\nname = "b"\n', "Cargo.lock:5:1", /package\.1\.version/],
  ["a word that go.mod does not have", "go.mod", "module x\nrequired a v1.0.0\n", "go.mod:2:1", /"required" is no word of a go.mod/],
  ["a requirement without a version", "go.mod", "module x\nrequire a\n", "go.mod:2:1", /cannot read "require a"/],
  ["an open block", "go.mod", "module x\nrequire (\n\ta v1.0.0\n", "go.mod", /the block of require is not closed/],
  ["a line that is no requirement", "requirements.txt", "click==8\n???\n", "requirements.txt:2:1", /is not a requirement/],
  ["a merge conflict", "Gemfile.lock", "GEM\n  specs:\n<<<<<<< HEAD\n    a (1.0)\n", "Gemfile.lock:3:1", /merge conflict/],
  ["a gem without a version", "Gemfile.lock", "GEM\n  specs:\n    a\n", "Gemfile.lock:3:1", /is not a gem with its version/],
  ["an entry without a colon", "yarn.lock", "# yarn lockfile v1\n\na@^1\n", "yarn.lock:3:1", /is no entry of a yarn.lock/],
  ["an entry without a version", "yarn.lock", "# yarn lockfile v1\n\na@^1:\n  resolved x\n", "yarn.lock:3:1", /a has no version/],
  ["composer without packages", "composer.lock", "{}", "composer.lock:1:1", /packages/],
];

for (const [what, file, text, place, message] of badFiles) {
  test(`${file} with ${what} is refused with its place`, async () => {
    await assert.rejects(readText(file, text), (error: unknown) => {
      assert.ok(error instanceof SlipwayError);
      assert.deepEqual([error.code, error.place], ["source_unusable", place]);
      assert.match(error.message, message);
      return true;
    });
  });
}

test("lock files are found in the recipe's folder alone, or where they are named", async () => {
  assert.deepEqual(await readLockFiles(golden), []);
  const named = await readLockFiles(golden, ["npm/package-lock.json", "pip/requirements.txt"]);
  assert.deepEqual(
    named.map((file) => file.name),
    ["npm/package-lock.json", "pip/requirements.txt"],
  );
  assert.deepEqual(named[0]?.components[0]?.origins, ["npm/package-lock.json"]);
  await assert.rejects(readLockFiles(golden, ["npm/yarn.lock"]), { code: "source_missing" });
  await assert.rejects(readLockFiles(golden, ["npm/package.json"]), { code: "usage" });
  await assert.rejects(readLockFiles(golden, ["../package-lock.json"]), { code: "path_unsafe" });
});

test("a requirements.txt beside uv.lock is its export and is passed over", async () => {
  const into = mkdtempSync(join(folder, "both-"));
  writeFileSync(join(into, "uv.lock"), "version = 1\n");
  writeFileSync(join(into, "requirements.txt"), "click==8.1.7\n");
  assert.deepEqual(
    (await readLockFiles(into)).map((file) => file.name),
    ["uv.lock"],
  );
});
