/** Recipes and sources that are malformed or hostile: each is refused with its place before anything is built, and nothing hangs. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { readRecipeFile } from "../../src/packaging/recipe-file.ts";
import { checkSources } from "../../src/packaging/source-check.ts";
import { sourceFailure } from "../../src/packaging/source-failure.ts";
import { buildIn, planIn, sampleProduct, sampleRecipe } from "./fixture.ts";

/** Where it is, and what it says. */
async function refusalOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof SlipwayError, String(error));
    assert.notEqual(error.code, "internal", error.message);
    return `${error.place ?? "nowhere"} ${error.message} | ${error.hint}`;
  }
  return assert.fail("nothing was refused");
}

async function fifo(path: string): Promise<void> {
  await requireCommand(["mkfifo", path], { timeoutMs: 60_000 });
}

const recipes: readonly (readonly [what: string, bytes: string | Buffer, says: RegExp])[] = [
  [
    "bytes that are no UTF-8",
    Buffer.concat([Buffer.from("name: acme\nsummary: A"), Buffer.from([0xff])]),
    /^slipway\.yaml:2:11 here is a byte that is not UTF-8/,
  ],
  ["UTF-16", Buffer.from(sampleRecipe, "utf16le"), /^slipway\.yaml:1:1 /],
  ["a key that JavaScript takes for an object's parent", `${sampleRecipe}__proto__: { a: 1 }\n`, /unknown key "__proto__"/],
  ["one among files", sampleRecipe.replace("    /var/lib/acme:", "    __proto__: tree\n    /var/lib/acme:"), /^slipway\.yaml:21:5 unknown key "__proto__"/],
  ["lists five thousand deep", sampleRecipe.replace("tree: tree", `tree: ${"[".repeat(5_000)}${"]".repeat(5_000)}`), /nested too deeply/],
  ["more than a megabyte", `${sampleRecipe}#${"x".repeat(1024 * 1024)}\n`, /slipway\.yaml is larger than 1048576 bytes/],
  ["a homepage with a line of its own", `${sampleRecipe}homepage: "https://acme.example/\\nDepends: evil"\n`, /homepage: must be an address without spaces/],
  ["a description without an end", `${sampleRecipe}description: ${"x".repeat(11_000)}\n`, /description: must be at most 10000 characters/],
  ["a product name that says what is wrong with it", sampleRecipe.replace("name: acme", "name: Acme"), /"Acme" is not a product name: use lower-case/],
];

for (const [what, bytes, says] of recipes) {
  test(`a recipe with ${what} is refused`, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "slipway-hostile-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    await writeFile(join(folder, "slipway.yaml"), bytes);
    assert.match(await refusalOf(readRecipeFile(folder)), says);
  });
}

test("a byte order mark and Windows line ends change nothing in a recipe", async (t) => {
  const folder = await sampleProduct(t);
  const plain = await readRecipeFile(folder);
  await writeFile(join(folder, "slipway.yaml"), `\ufeff${sampleRecipe.replaceAll("\n", "\r\n")}`);
  const other = await readRecipeFile(folder);
  for (const key of ["name", "summary", "targets", "packages"] as const) assert.deepEqual(other.recipe[key], plain.recipe[key], key);
});

type Row = {
  readonly what: string;
  readonly change?: readonly [from: string, to: string];
  readonly prepare: (folder: string) => Promise<unknown>;
  readonly says: RegExp;
};

const inTree = (name: string) => (folder: string) => writeFile(join(folder, "tree", name), "x\n");
const asApk = ["[deb, rpm]", "[deb, apk]"] as const;

const rows: readonly Row[] = [
  {
    what: "a link that leads back to itself",
    change: ["tree: tree", "tree: loop"],
    prepare: (folder) => symlink("loop", join(folder, "loop")),
    says: /^slipway\.yaml:19:27 packages\.files: loop is a link that leads back to itself/,
  },
  { what: "a name with a line feed", prepare: inTree("a\nb"), says: /^slipway\.yaml:19:27 packages\.files: "tree\/a\\nb" has a name with control characters/ },
  {
    what: "a name that is no UTF-8",
    prepare: (folder) => writeFile(Buffer.concat([Buffer.from(`${folder}/tree/`), Buffer.from([0xff])]), "x\n"),
    says: /^slipway\.yaml:19:27 packages\.files: .* has a name that is not UTF-8/,
  },
  {
    what: "a link to a name that is no UTF-8",
    prepare: (folder) => symlink(Buffer.from([0xff]), join(folder, "tree/link")),
    says: /^slipway\.yaml:19:27 packages\.files: "tree\/link" leads to a name that is not UTF-8/,
  },
  {
    what: "a destination that no file system takes",
    change: ["/usr/share/acme/tree:", `/usr/share/${"n".repeat(256)}:`],
    prepare: async () => undefined,
    says: /^slipway\.yaml:19:274 packages\.files: "tree" would be installed under a name of more than 255 bytes/,
  },
  {
    what: "what apk would leave out",
    change: asApk,
    prepare: inTree(".keep_me"),
    says: /^slipway\.yaml:19:27 packages\.files: apk leaves out files named \.keep_\*: \/usr\/share\/acme\/tree\/\.keep_me/,
  },
  {
    what: "the folder that the release is written to",
    change: ["tree: tree", "tree: ."],
    prepare: (folder) => mkdir(join(folder, "dist")),
    says: /^slipway\.yaml:19:27 packages\.files: \. holds dist\/, where the release is written \| .*--out/,
  },
  {
    what: "a FIFO for a unit",
    change: ["packages:\n", "service: { unit: packaging/acmed.service }\npackages:\n"],
    prepare: (folder) => fifo(join(folder, "packaging/acmed.service")),
    says: /^slipway\.yaml:12:18 service: packaging\/acmed\.service is not a regular file/,
  },
  {
    what: "a FIFO for a script",
    change: ["packaging/postinstall.sh", "packaging/fifo.sh"],
    prepare: (folder) => fifo(join(folder, "packaging/fifo.sh")),
    says: /^slipway\.yaml:23:18 packaging\/fifo\.sh is not a regular file/,
  },
  {
    what: "a script with Windows line ends",
    prepare: (folder) => writeFile(join(folder, "packaging/postinstall.sh"), "#!/bin/sh\r\nexit 0\r\n"),
    says: /^slipway\.yaml:23:18 packaging\/postinstall\.sh has Windows line ends.*\| save it with LF/,
  },
  {
    what: "a script with a NUL",
    prepare: (folder) => writeFile(join(folder, "packaging/postinstall.sh"), "#!/bin/sh\n\0\n"),
    says: /^slipway\.yaml:23:18 packaging\/postinstall\.sh holds bytes that are no text/,
  },
  {
    what: "a script larger than any",
    prepare: (folder) => writeFile(join(folder, "packaging/postinstall.sh"), `#!/bin/sh\n${"#".repeat(1024 * 1024)}\n`),
    says: /^slipway\.yaml:23:18 packaging\/postinstall\.sh is larger than 1048576 bytes/,
  },
];

async function check(t: TestContext, { change, prepare }: Row): Promise<string> {
  const recipe = change === undefined ? sampleRecipe : sampleRecipe.replace(...change);
  assert.ok(change === undefined || recipe !== sampleRecipe, "the sample has changed");
  const folder = await sampleProduct(t, recipe);
  await prepare(folder);
  const file = await readRecipeFile(folder);
  return refusalOf(checkSources({ ...file, plan: await planIn(folder, "1.4.2"), outFolder: join(folder, "dist") }));
}

for (const row of rows)
  test(`${row.what} is refused with the recipe's line, before anything is built`, async (t) => assert.match(await check(t, row), row.says));

test("what the system refuses to read is told with the recipe's line, and a bug stays one", () => {
  // Root reads everything, so that the tests of a machine's root could not see it happen.
  const denied = Object.assign(new Error("EACCES"), { code: "EACCES", path: "/product/tree/run.sh" });
  const told = sourceFailure(denied, { what: "packages.files: tree", place: "slipway.yaml:19:27", folder: "/product" });
  assert.ok(told instanceof SlipwayError);
  assert.deepEqual(
    [told.code, told.place, told.message],
    ["source_unusable", "slipway.yaml:19:27", "packages.files: tree (tree/run.sh) may not be read by this user"],
  );
  const bug = new TypeError("x is not a function");
  assert.equal(sourceFailure(bug, { what: "", place: "", folder: "/" }), bug);
});

test("a command that cannot be started, and one that makes an empty program, are told with the line of build.run", async (t) => {
  const missing = await sampleProduct(t, sampleRecipe.replace("run: sh make.sh", "run: no-such-compiler"));
  assert.match(
    await refusalOf(planIn(missing, "1.4.2").then((plan) => buildIn(missing, plan))),
    /^slipway\.yaml:7:8 cannot run no-such-compiler: .*ENOENT \| install it, put its folder into PATH/,
  );
  const empty = await sampleProduct(t, sampleRecipe.replace(/run: .*/, "run: cp /dev/null {out}"));
  assert.match(await refusalOf(planIn(empty, "1.4.2").then((plan) => buildIn(empty, plan))), /^slipway\.yaml:7:8 acme for linux\/amd64 is empty/);
});

test("a file where dist has to be is refused by name, and stays", async (t) => {
  const folder = await sampleProduct(t);
  await writeFile(join(folder, "dist"), "mine\n");
  assert.match(await refusalOf(planIn(folder, "1.4.2").then((plan) => buildIn(folder, plan))), /product\/dist is no folder, and cannot become one/);
});
