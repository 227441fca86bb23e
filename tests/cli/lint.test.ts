/** `slipway lint` as a person and as a script run it. */
import assert from "node:assert/strict";
import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { generateKey } from "openpgp";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { badProduct, badVersion } from "../packaging/bad-product.ts";
import { exampleProduct, sampleProduct, writeFiles } from "../packaging/fixture.ts";
import { compiled } from "../support/compiled.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));

const lint = (folder: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Promise<CommandResult> =>
  runCommand([program, "lint", ...args], {
    cwd: folder,
    timeoutMs: 60_000,
    env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: dirname(folder), ...env },
  });

const dayMs = 86_400_000;

type Report = {
  readonly findings: readonly { readonly rule: string; readonly severity: string; readonly place: string; readonly message: string }[];
  readonly counts: Record<string, number>;
};
const report = (result: CommandResult): Report => JSON.parse(result.stdout) as Report;
const messagesOf = (result: CommandResult, rule: string): readonly string[] =>
  report(result).findings.flatMap((one) => (one.rule === rule ? [`${one.place} ${one.message}`] : []));

test("J4 lint names the recipe's line, the rule and what to do, writes nothing, and ends with 3 for errors only", async (t) => {
  const folder = await badProduct(t);
  const before = await readdir(folder);
  const result = await lint(folder, ["--version", badVersion]);
  assert.equal(result.exitCode, 3, result.stderr);
  assert.match(result.stdout, /^slipway\.yaml:14:23 warning usr-local: \/usr\/local\/bin\/badpack is below \/usr\/local\n {2}ship programs in \/usr\/bin/m);
  assert.match(result.stdout, /^slipway\.yaml:59:16 error script-syntax: packaging\/preremove\.sh \(preremove\) sh -n: packaging\/preremove\.sh: \d+: /m);
  assert.match(result.stdout, /^\d+ errors, \d+ warnings, \d+ notes in 2 packages$/m);
  assert.deepEqual(await readdir(folder), before);
});

test("J4 warnings end with 0, and with 3 under --strict; no tag is needed", async (t) => {
  const folder = await exampleProduct(t, "jaco");
  assert.equal((await lint(folder, ["--strict"])).exitCode, 0, "the example has no warnings");
  const documented = ["--recipe", "as-documented.yaml"];
  const result = await lint(folder, [...documented, "--json"]);
  assert.equal(result.exitCode, 0, result.stderr);
  assert.equal(report(result).counts["error"], 0);
  assert.equal((await lint(folder, [...documented, "--strict"])).exitCode, 3);
});

test("a recipe with mistakes, and sources that are not there, are findings with their lines, all at once", async (t) => {
  const folder = await sampleProduct(t);
  const text = await readFile(join(folder, "slipway.yaml"), "utf8");
  await writeFile(
    join(folder, "slipway.yaml"),
    text.replace("tree: tree", "tree: trees").replace("packaging/acme.yaml", "packaging/none.yaml").replace("packaging/postinstall.sh", "packaging/none.sh"),
  );
  const missing = await lint(folder, ["--json"]);
  assert.equal(missing.exitCode, 3);
  assert.deepEqual(
    messagesOf(missing, "source").map((message) => message.replace(/^slipway\.yaml:(\d+):\d+ /, "$1 ")),
    ["17 packages.files: there is no packaging/none.yaml", "19 packages.files: there is no trees", "23 packages.scripts: there is no packaging/none.sh"],
  );
  await writeFile(join(folder, "slipway.yaml"), text.replace("  depends:", "  depend:").replace("license:", "licence:"));
  const broken = await lint(folder, ["--json"]);
  assert.equal(broken.exitCode, 3);
  assert.ok(messagesOf(broken, "recipe").length >= 2, broken.stdout);
});

test("an unasked setuid bit, a program for another machine, 5 GB and an expired key are found without a build", async (t) => {
  const folder = await sampleProduct(t);
  const text = await readFile(join(folder, "slipway.yaml"), "utf8");
  await writeFiles(folder, { "big/suid": "x", "big/large": "" });
  await runCommand(["chmod", "4755", join(folder, "big/suid")], { timeoutMs: 5_000 });
  await truncate(join(folder, "big/large"), 5e9); // a hole: no disk is used
  const elf = Buffer.alloc(64);
  elf.write("7f454c46020101", 0, "hex");
  elf.writeUInt16LE(183, 18); // e_machine of arm64
  await writeFile(join(folder, "big/arm"), elf);
  const files = "    /usr/lib/acme/suid: big/suid\n    /usr/lib/acme/large: big/large\n    /usr/lib/acme/arm: big/arm\n";
  await writeFile(join(folder, "slipway.yaml"), `${text.replace("  scripts:\n", `${files}  scripts:\n`)}sign: { gpg: env:KEY }\n`);
  const { privateKey } = await generateKey({
    curve: "ed25519Legacy",
    userIDs: [{ name: "Acme", email: "release@acme.example" }],
    date: new Date(Date.now() - 10 * dayMs),
    keyExpirationTime: (9 * dayMs) / 1000,
    format: "armored",
  });
  const result = await lint(folder, ["--version", "1.0.0", "--target", "linux/amd64", "--json"], { KEY: privateKey });
  assert.equal(result.exitCode, 3, result.stderr);
  assert.match(messagesOf(result, "source").join("\n"), /big\/suid has the mode 4755/);
  assert.match(messagesOf(result, "wrong-machine").join("\n"), /big\/arm is a program for linux\/arm64, not for linux\/amd64/);
  assert.match(messagesOf(result, "size-limit").join("\n"), /big\/large has 5000000000 bytes/);
  assert.match(messagesOf(result, "key-unfit").join("\n"), /env:KEY: .*expired/);
});
