/** `slipway init | schema | plan | build` as a person and as a script run them: output, exit codes, and nothing written where nothing should be. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parse } from "yaml";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { epochSeconds, sampleProduct, sampleRecipe, temporaryFolder, writeFiles } from "../packaging/fixture.ts";
import { compiled } from "../support/compiled.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));

const slipway = (folder: string, ...args: readonly string[]): Promise<CommandResult> =>
  runCommand([program, ...args], {
    cwd: folder,
    timeoutMs: 120_000,
    env: { PATH: process.env["PATH"] ?? "", HOME: folder, ...compiled, SOURCE_DATE_EPOCH: String(epochSeconds) },
  });

const jsonLines = (text: string): readonly Record<string, unknown>[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const namesIn = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);

test("init writes a recipe that plan accepts, and does not touch one that is there", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFiles(folder, { "go.mod": "module example.com/acme\n", LICENSE: "MIT License\n" });
  const first = await slipway(folder, "init");
  assert.equal(first.exitCode, 0, first.stderr);
  assert.match(first.stdout, /^wrote slipway\.yaml for acme \(go\.mod\)$/m);
  assert.equal((await slipway(folder, "plan", "--version", "1.0.0")).exitCode, 0);
  const before = await readFile(join(folder, "slipway.yaml"), "utf8");
  const second = await slipway(folder, "init");
  assert.equal(second.exitCode, 24);
  assert.match(second.stderr, /there is already a slipway\.yaml here/);
  assert.equal(await readFile(join(folder, "slipway.yaml"), "utf8"), before);
});

test("the JSON Schema accepts the examples and the sample, refuses what the program refuses, and describes every key", async (t) => {
  const folder = await temporaryFolder(t);
  const result = await slipway(folder, "schema");
  assert.equal(result.exitCode, 0);
  const schema = JSON.parse(result.stdout) as { properties: Record<string, { description?: string; properties?: Record<string, { description?: string }> }> };
  const validate = new Ajv2020({ strict: true, validateFormats: false }).compile(schema);
  for (const name of ["jaco", "coequal", "carapace"]) {
    const text = await readFile(new URL(`../../examples/${name}/slipway.yaml`, import.meta.url), "utf8");
    assert.ok(validate(parse(text)), `${name}: ${JSON.stringify(validate.errors)}`);
  }
  assert.ok(validate(parse(sampleRecipe)), JSON.stringify(validate.errors));
  assert.ok(!validate(parse(sampleRecipe.replace("  depends:", "  depend:"))));
  for (const [key, value] of Object.entries(schema.properties)) {
    const inner = Object.values(value.properties ?? {});
    assert.ok(value.description !== undefined || (inner.length > 0 && inner.every((one) => one.description !== undefined)), `${key} has no description`);
  }
});

test("plan prints every name and writes nothing; with --json it is one document", async (t) => {
  const folder = await sampleProduct(t);
  const before = await readdir(folder);
  const text = await slipway(folder, "plan", "--version", "v1.4.2", "--only", "deb,rpm", "--target", "linux/arm64");
  assert.equal(text.exitCode, 0, text.stderr);
  assert.match(text.stdout, /^acme_1\.4\.2_arm64\.deb +deb +linux\/arm64 +acme, acmed, packaging\/acme\.service, packaging\/acme\.yaml and \d+ more$/m);
  assert.doesNotMatch(text.stdout, /amd64/);
  const [document] = jsonLines((await slipway(folder, "plan", "--version", "1.4.2", "--json")).stdout);
  assert.ok(Array.isArray(document?.["artifacts"]));
  assert.equal(document["artifacts"].length, 4 + 4 + 8);
  assert.deepEqual(await readdir(folder), before);
});

test("J8 build writes dist/<version>, with JSON lines where a script asks for them", async (t) => {
  const folder = await sampleProduct(t);
  const result = await slipway(folder, "build", "--version", "1.4.2", "--only", "deb,archive", "--target", "linux/amd64", "--json");
  assert.equal(result.exitCode, 0, result.stderr);
  const lines = jsonLines(result.stdout);
  assert.deepEqual(
    lines
      .filter((line) => line["event"] === "artifact")
      .map((line) => String(line["name"]))
      .sort(),
    ["acme-1.4.2-linux-amd64.tar.gz", "acme_1.4.2_amd64.deb"],
  );
  assert.equal(lines.filter((line) => line["event"] === "command").length, 2);
  assert.deepEqual((await readdir(join(folder, "dist/1.4.2"))).sort(), namesIn(lines.at(-1)?.["files"]).sort());
});

test("build --dry-run prints the plan and builds nothing; --out says where to build", async (t) => {
  const folder = await sampleProduct(t);
  const dry = await slipway(folder, "build", "--version", "1.4.2", "--dry-run");
  assert.equal(dry.exitCode, 0, dry.stderr);
  assert.equal(dry.stdout, (await slipway(folder, "plan", "--version", "1.4.2")).stdout);
  assert.ok(!existsSync(join(folder, "dist")));
  assert.equal((await slipway(folder, "build", "--version", "1.4.2", "--only", "binary", "--out", "elsewhere/deep")).exitCode, 0);
  assert.ok(existsSync(join(folder, "elsewhere/deep/1.4.2/release.json")) && !existsSync(join(folder, "dist")));
});

/** What is wrong, the words, and what must be said with which exit code; dist/ must not appear. */
const refusals: readonly {
  readonly name: string;
  readonly from?: string;
  readonly to?: string;
  readonly args: readonly string[];
  readonly exitCode: number;
  readonly says: RegExp;
}[] = [
  {
    name: "an unknown key",
    from: "  depends:",
    to: "  depend:",
    args: ["build"],
    exitCode: 2,
    says: /error: slipway\.yaml:24:3 unknown key "depend" under packages - did you mean "depends"\?/,
  },
  { name: "an impossible version", args: ["build", "--version", "1.2"], exitCode: 2, says: /"1\.2" is not a version/ },
  { name: "no version and no git", args: ["build"], exitCode: 2, says: /is in no git repository with a commit/ },
  { name: "an unknown kind", args: ["build", "--version", "1.0.0", "--only", "debs"], exitCode: 2, says: /did you mean "deb"\?/ },
  { name: "an unknown target", args: ["build", "--version", "1.0.0", "--target", "linux/vax"], exitCode: 2, says: /"vax" is not an architecture/ },
  {
    name: "a missing source",
    from: "tree: tree",
    to: "tree: trees",
    args: ["build", "--version", "1.0.0"],
    exitCode: 3,
    says: /error: slipway\.yaml:19:27 packages\.files: there is no trees/,
  },
  {
    name: "colliding destinations",
    from: "/usr/bin/acme-link:",
    to: "/usr/bin/acme:",
    args: ["build", "--version", "1.0.0"],
    exitCode: 2,
    says: /error: slipway\.yaml:20:20 packages\.files: .* both write \/usr\/bin\/acme/,
  },
  {
    name: "a signing key that is not there",
    from: "archives:",
    to: "sign: { minisign: env:NO_SUCH_KEY }\narchives:",
    args: ["build", "--version", "1.0.0"],
    exitCode: 4,
    says: /the variable NO_SUCH_KEY is not set/,
  },
  { name: "no recipe", args: ["build", "--recipe", "other.yaml"], exitCode: 2, says: /there is no other\.yaml/ },
];
for (const { name, from, to, args, exitCode, says } of refusals) {
  test(`${args.join(" ")} with ${name} exits ${exitCode}, says where, and writes nothing`, async (t) => {
    const folder = await sampleProduct(t);
    if (from !== undefined) {
      const changed = sampleRecipe.replace(from, () => to ?? "");
      assert.notEqual(changed, sampleRecipe);
      await writeFile(join(folder, "slipway.yaml"), changed);
    }
    const result = await slipway(folder, ...args);
    assert.match(result.stderr, says);
    assert.equal(result.exitCode, exitCode);
    assert.deepEqual(await readdir(join(folder, "dist")).catch(() => []), []);
  });
}

test("Ctrl-C during the build command exits 130, ends the command and leaves nothing", async (t) => {
  const folder = await sampleProduct(t);
  await writeFile(join(folder, "make.sh"), "echo $$ > pid; exec sleep 60\n");
  const child = spawn(program, ["build", "--version", "1.4.2"], {
    cwd: folder,
    env: { PATH: process.env["PATH"] ?? "", HOME: folder, ...compiled, SOURCE_DATE_EPOCH: String(epochSeconds) },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  let said = "";
  child.stderr.on("data", (piece: Buffer) => (said += piece.toString()));
  while (!existsSync(join(folder, "pid")) && child.exitCode === null) await setTimeout(20);
  child.kill("SIGINT");
  assert.equal(await ended, 130, said);
  assert.match(said, /error: stopped as asked/);
  assert.ok(!existsSync(join(folder, "dist")));
  const pid = Number(await readFile(join(folder, "pid"), "utf8"));
  assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
});

test("with --json every problem of a recipe is in the error", async (t) => {
  const folder = await sampleProduct(t);
  await writeFile(join(folder, "slipway.yaml"), sampleRecipe.replace("  depends:", "  depend:").replace("name: acme", "name: 1"));
  const result = await slipway(folder, "plan", "--json");
  assert.equal(result.exitCode, 2);
  const error = jsonLines(result.stdout).at(-1)?.["error"] as { code: string; problems: readonly { place: string }[] };
  assert.deepEqual([error.code, ...error.problems.map((problem) => problem.place)], ["recipe_invalid", "slipway.yaml:1:7", "slipway.yaml:24:3"]);
});
