/** Strategy manual: fetched and verified, and nothing else is touched until an operator has done it. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { archiveName, failure, makeSite, noSignal, startVendor } from "./support.ts";

test("manual: the release is verified and lies ready, the commands are named, nothing runs; done by hand, resume records it", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("strategy: versions", "strategy: manual"));
  await writeFile(join(site.folder, "run/version"), "1.4.2\n"); // what runs, put there by hand long ago
  await vendor.release("1.5.0");
  const staged = await (await site.updater()).install({ adopt: parseVersion("1.4.2"), signal: noSignal });
  assert.equal(staged.kind, "staged");
  assert.ok(staged.kind === "staged" && staged.path.endsWith(archiveName("1.5.0")));
  assert.deepEqual(await readFile(staged.path), vendor.releases.get("1.5.0")?.get(archiveName("1.5.0")));
  assert.equal(staged.commands[0], `tar -xf ${staged.path} -C ${site.root}`);
  assert.equal(await site.running(), "1.4.2");
  const status = await (await site.updater()).status();
  assert.ok(status.journal.kind === "known" && status.journal.transaction.phase === "verified");
  // Waiting uses up nothing.
  await failure((await site.updater()).rollback({ signal: noSignal }), "conflict"); // which gives up nothing that is staged
  for (let turn = 0; turn < 5; turn += 1) assert.equal((await (await site.updater()).resume({ signal: noSignal })).kind, "staged");
  await writeFile(join(site.folder, "run/version"), "1.5.0\n");
  const done = await (await site.updater()).resume({ signal: noSignal });
  assert.ok(done.kind === "installed" && done.version === "1.5.0" && done.from === "1.4.2");
  const after = await (await site.updater()).status();
  assert.equal(after.installed, "1.5.0");
  assert.deepEqual(after.previous, ["1.4.2"]);
  await failure((await site.updater()).rollback({ signal: noSignal }), "conflict");
});

test("manual: an artifact that is not the signed one is refused before any command is named", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  await writeFile(site.file, (await readFile(site.file, "utf8")).replace("strategy: versions", "strategy: manual"));
  const release = await vendor.release("1.5.0");
  const bytes = release.get(archiveName("1.5.0")) ?? Buffer.alloc(0);
  release.set(archiveName("1.5.0"), Buffer.alloc(bytes.length, 1));
  await failure((await site.updater()).install({ signal: noSignal }), "upgrade_verification_failed", "hash_mismatch");
});
