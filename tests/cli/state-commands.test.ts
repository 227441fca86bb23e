/** `slipway backup|restore|verify|drill` and what an operator says between upgrades, as typed: exit codes, JSON, text. */
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { makeSite, startVendor } from "../updater/support.ts";

const slipway = resolve(import.meta.dirname, "../../bin/slipway");

test("K6 K7 K14 backup, restore, verify, drill and the controls say in exit code and JSON what happened", async (t) => {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, {}, t);
  const run = async (...words: string[]): Promise<{ code: number | null; last: Record<string, unknown>; text: string }> => {
    const result = await runCommand([slipway, ...words, "--installation", site.file], { timeoutMs: 60_000, cwd: site.folder });
    const line = result.stdout.trim().split("\n").at(-1) ?? "";
    return {
      code: result.exitCode,
      last: words.includes("--json") ? (JSON.parse(line) as Record<string, unknown>) : {},
      text: `${result.stdout}${result.stderr}`,
    };
  };
  await (await site.updater()).install({ signal: new AbortController().signal });
  const made = await run("backup", "create", "--output", "toy.rbk", "--json");
  assert.deepEqual([made.code, made.last["version"], made.last["id"]], [0, "1.4.2", null], made.text);
  assert.equal((await run("backup", "create", "--output", "toy.rbk")).code, 25, "never overwritten");
  assert.match((await run("backup", "verify", "toy.rbk")).text, /^PASS: every file has the hash/m);
  await writeFile(join(site.folder, "data/later"), "later");
  const dry = await run("restore", "--path", "toy.rbk", "--dry-run");
  assert.match(dry.text, /nothing was changed/);
  assert.equal(await readFile(join(site.folder, "data/later"), "utf8"), "later");
  const restored = await run("restore", "--path", "toy.rbk", "--json");
  assert.equal(restored.code, 0, restored.text);
  await assert.rejects(readFile(join(site.folder, "data/later")), { code: "ENOENT" });
  assert.match((await run("backup", "list")).text, /^id +made/m);

  const none = await run("verify", "--outcome", "auto");
  assert.equal(none.code, 44, none.text);
  assert.match(none.text, /nothing is proven/);
  await writeFile(
    site.file,
    `${await readFile(site.file, "utf8")}outcomes: [{ name: works, checks: [{ name: answers, command: { argv: [cat, ${site.folder}/run/version], version: "(.*)" } }] }]\n`,
  );
  const works = await run("verify", "--outcome", "works", "--json");
  assert.deepEqual([works.code, works.last["outcome"], works.last["result"], works.last["version"]], [0, "works", "PASS", "1.4.2"]);
  assert.equal((await run("verify", "installed")).code, 0);
  await writeFile(join(site.root, "versions/1.4.2/bin/toyctl"), "#!/bin/sh\necho 1.4.2 # and more\n");
  assert.equal((await run("verify", "installed", "--offline")).code, 20);
  await rm(join(site.folder, "run/version"));
  assert.equal((await run("verify", "outcome", "works")).code, 45);

  assert.equal((await run("upgrade", "pin", "~1.4.0")).code, 0);
  assert.equal((await run("upgrade", "hold", "--until", "2999-01-01", "--reason", "freeze")).code, 0);
  const status = await run("upgrade", "status");
  assert.match(status.text, /pinned to +~1\.4\.0/);
  assert.match(status.text, /held +freeze until 2999-01-01/);
  assert.ok(!status.text.startsWith("\n"), "no blank first line");
  const held = await run("upgrade", "install");
  assert.equal(held.code, 43);
  assert.match(held.text, /unhold/, "an error names the next step");
  assert.equal((await run("upgrade", "unhold")).code, 0);
  assert.equal((await run("upgrade", "cancel")).code, 3);
  const idle = await run("upgrade", "resume");
  assert.equal(idle.code, 3);
  assert.match(idle.text, /was left unfinished/);
  assert.match(idle.text, /`slipway upgrade status`/, "an error names the next step");
});
