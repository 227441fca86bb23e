/** The shell guard by itself, under each shell that a small host has: what it counts, when it leads the link back, and what it leaves alone. */
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { acquireLock } from "../../src/io/lock.ts";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";

const script = resolve(import.meta.dirname, "../../src/updater/guard.sh");
const id = "0123456789abcdef01234567";

type Field = { readonly updates: string; readonly root: string; readonly before: () => Promise<CommandResult>; readonly env: () => Promise<string> };

async function field(t: TestContext, shell: readonly string[], lines: Readonly<Record<string, string>> = {}, phase = "applying"): Promise<Field> {
  const folder = await mkdtemp(join(tmpdir(), "slipway shell guard-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const [updates, root] = [join(folder, "updates"), join(folder, "opt")];
  for (const path of [join(updates, "guard"), join(root, "versions/1.4.2"), join(root, "versions/1.5.0")]) await mkdir(path, { recursive: true });
  await chmod(updates, 0o700);
  await symlink("versions/1.5.0", join(root, "current"));
  const values = { TRANSACTION: id, STRATEGY: "versions", STEP: "trial", TRIES_LEFT: "2", ROOT: root, OLD: "versions/1.4.2", NEW: "versions/1.5.0", ...lines };
  const text = Object.entries(values).map(([key, value]) => `${key}=${value}\n`);
  await writeFile(join(updates, "guard/trial.env"), text.join(""));
  await writeFile(join(updates, "transaction.json"), `${JSON.stringify({ schema: 1, id, phase, step: "trial" }, undefined, 1)}\n`);
  return {
    updates,
    root,
    before: () => runCommand([...shell, script, updates], { timeoutMs: 10_000 }),
    env: () => readFile(join(updates, "guard/trial.env"), "utf8"),
  };
}

const link = (root: string): Promise<string> => readlink(join(root, "current"));

test("the shell guard has at most 100 lines", async () => {
  assert.ok((await readFile(script, "utf8")).split("\n").length <= 100);
});

for (const shell of [["dash"], ["busybox", "sh"], ["bash", "--posix"]]) {
  const name = shell.join(" ");
  test(`55 shell guard, ${name}: two starts are counted, the third start is the old version's`, async (t) => {
    if (!needClient(t, shell[0] ?? "")) return;
    const { before, env, root, updates } = await field(t, shell);
    for (const left of [1, 0]) {
      const result = await before();
      assert.deepEqual([result.exitCode, result.stderr], [0, ""]);
      assert.match(await env(), new RegExp(`^TRIES_LEFT=${left}$`, "m"));
      assert.equal(await link(root), "versions/1.5.0");
    }
    for (let again = 0; again < 2; again += 1) {
      assert.equal((await before()).exitCode, 0);
      assert.equal(await link(root), "versions/1.4.2");
    }
    assert.equal((await readFile(join(updates, "guard/rolled-back"), "utf8")).trim(), id);
    assert.deepEqual((await readdir(root)).toSorted(), ["current", "versions"], "nothing is left lying about");
  });

  test(`47 shell guard, ${name}: a finished journal, another transaction's file, a living updater and damaged values are left alone`, async (t) => {
    if (!needClient(t, shell[0] ?? "")) return;
    const cases: readonly (readonly [Readonly<Record<string, string>>, string, number])[] = [
      [{ TRIES_LEFT: "0" }, "applied", 0],
      [{ TRIES_LEFT: "0", TRANSACTION: "f".repeat(24) }, "applying", 0],
      [{ TRIES_LEFT: "-1" }, "applying", 75],
      [{ TRIES_LEFT: "0", OLD: "../../etc" }, "applying", 75],
      [{ TRIES_LEFT: "0", OLD: "versions/gone" }, "applying", 75],
      [{ TRIES_LEFT: "0", STRATEGY: "package" }, "applying", 75],
    ];
    for (const [lines, phase, exitCode] of cases) {
      const { before, env, root } = await field(t, shell, lines, phase);
      const text = await env();
      assert.equal((await before()).exitCode, exitCode, JSON.stringify(lines));
      assert.deepEqual([await link(root), await env()], ["versions/1.5.0", text], JSON.stringify(lines));
    }
    const { before, env, root, updates } = await field(t, shell, { TRIES_LEFT: "0" });
    const lock = await acquireLock(updates, "install", { waitMs: 0 });
    const text = await env();
    assert.equal((await before()).exitCode, 0);
    assert.deepEqual([await link(root), await env()], ["versions/1.5.0", text]);
    await lock.release();
    await before();
    assert.equal(await link(root), "versions/1.4.2", "and once it is gone the guard acts");
  });

  test(`47 shell guard, ${name}: nothing that it reads is executed`, async (t) => {
    if (!needClient(t, shell[0] ?? "")) return;
    const { before, updates } = await field(t, shell, { NEW: "$(touch x)`touch x`", SCHEMA: '";touch x;"' });
    await writeFile(join(updates, "lock.0"), '{"pid":1;touch x,"bootId":"$(touch x)","processStart":"`touch x`"}');
    const result = await runCommand([...shell, script, updates], { timeoutMs: 10_000, cwd: updates });
    assert.equal(result.exitCode, 0, result.stderr);
    await before();
    assert.ok(!(await readdir(updates)).includes("x"));
  });
}
