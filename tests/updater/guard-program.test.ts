/** The guard's own copy of slipway: when it is needed, and that it is whole, runnable, and another file than the one that an upgrade replaces. */
import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { guardProgramPath, keepGuardProgram, replacesProgram } from "../../src/updater/guard-program.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { makeSite, startVendor } from "./support.ts";

const machine = thisMachine(() => undefined);

test("an upgrade replaces a program below its root, also one that a link outside leads to, and no other", async (t) => {
  const vendor = await startVendor(t);
  for (const strategy of ["versions", "inplace"] as const) {
    const site = await makeSite(vendor, { strategy }, t);
    const installation = await site.installation();
    const [inside, outside, link] = [join(site.root, "versions/1.4.2/slipway"), join(site.folder, "slipway"), join(site.folder, "link")];
    await mkdir(join(site.root, "versions/1.4.2"), { recursive: true });
    for (const path of [inside, outside]) await writeFile(path, "");
    await symlink(inside, link);
    const answers = await Promise.all([inside, link, outside].map((path) => replacesProgram(installation, machine, path)));
    assert.deepEqual(answers, [true, true, false], strategy);
  }
});

test("the copy can be run, follows the program when that changed, leaves nothing beside it, and is refused where no program may run", async (t) => {
  const guard = await mkdtemp(join(tmpdir(), "slipway-guard-"));
  t.after(() => rm(guard, { recursive: true, force: true }));
  const program = join(guard, "program");
  const copy = guardProgramPath({ guard });
  await copyFile("/bin/true", program);
  await keepGuardProgram({ guard }, program);
  const first = await stat(copy);
  await keepGuardProgram({ guard }, program);
  assert.equal((await stat(copy)).ino, first.ino, "the same bytes are not written again");
  await requireCommand([copy], { timeoutMs: 5_000 });
  await copyFile("/bin/echo", program);
  await keepGuardProgram({ guard }, program);
  assert.equal(await requireCommand([copy, "new"], { timeoutMs: 5_000 }), "new\n");
  assert.deepEqual((await readdir(guard)).sort(), ["program", "slipway"]);

  if (!needClient(t, "unshare", "mount") || !needRoot(t, "a mount")) return;
  const call = `import { keepGuardProgram } from "${join(import.meta.dirname, "../../src/updater/guard-program.ts")}"; await keepGuardProgram({ guard: process.argv[1] }, "/bin/true").catch((error) => { console.log(error.code, error.detail); });`;
  const mounted = `mount --bind "$0" "$0"; mount -o remount,bind,noexec "$0"; exec "$@"`;
  const argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", mounted, guard, process.execPath, "--input-type=module", "-e", call, guard];
  const refused = await runCommand(argv, { timeoutMs: 60_000 });
  assert.equal(refused.stdout, "permission_denied noexec\n", refused.stderr);
  assert.deepEqual(await readFile(copy), await readFile("/bin/echo"), "the copy before stays");
  assert.deepEqual((await readdir(guard)).sort(), ["program", "slipway"]);
});
