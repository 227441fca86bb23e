/** `slipway upgrade …` as an operator types it: exit codes, JSON, text. */
import assert from "node:assert/strict";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { makeSite, startVendor, toyFiles } from "../updater/support.ts";

const slipway = resolve(import.meta.dirname, "../../bin/slipway");

test("K7 C15 the upgrade commands say in exit code and JSON what happened", async (t) => {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, {}, t);
  const run = async (
    ...words: string[]
  ): Promise<{ code: number | null; last: Record<string, unknown>; events: Record<string, unknown>[]; stderr: string }> => {
    const result = await runCommand([slipway, "upgrade", ...words, "--json", "--installation", site.file], { timeoutMs: 60_000 });
    const events = result.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    return { code: result.exitCode, last: events.at(-1) ?? {}, events, stderr: result.stderr };
  };
  assert.equal((await run("check", "--detailed-exitcode")).code, 10);
  const installed = await run("install");
  assert.deepEqual([installed.code, installed.last["kind"], installed.last["version"]], [0, "installed", "1.4.2"]);
  assert.ok(installed.events.some((event) => event["event"] === "phase" && event["phase"] === "verified"));
  assert.equal((await run("check", "--detailed-exitcode")).code, 3);
  assert.equal((await run("install", "--detailed-exitcode")).code, 3);
  const notes = { name: "RELEASE-NOTES.md", kind: "notes", size: 5, sha256: "0".repeat(64) } as const;
  await vendor.release("1.5.0", {
    changeManifest: (manifest) => ({ ...manifest, summary: "Faster.", artifacts: [...manifest.artifacts, notes] }),
    changeSums: (sums) => `${notes.sha256}  ${notes.name}\n${sums}`,
  });
  const dry = await run("install", "--dry-run");
  assert.equal(dry.code, 0, JSON.stringify(dry.last));
  const plan = dry.last["plan"] as { to: string; summary: string; notes: string };
  assert.deepEqual([dry.code, plan.to, plan.summary, plan.notes], [0, "1.5.0", "Faster.", notes.name]);
  assert.equal(await site.running(), "1.4.2");
  assert.equal((await run("install")).code, 0);
  vendor.faults.index = () => ({
    schema: 1,
    product: "toy",
    releases: [{ version: "1.4.2", channel: "stable", sequence: 1001, publishedAt: "2026-01-01T00:00:00Z", state: "published" }],
    retired: [{ version: "1.5.0", state: "withdrawn", reason: "loses data", replacement: "1.4.2" }],
  });
  const withdrawn = await runCommand([slipway, "upgrade", "check", "--installation", site.file], { timeoutMs: 60_000 });
  assert.match(
    `${withdrawn.stdout}${withdrawn.stderr}`,
    /1\.5\.0 was withdrawn by the vendor \(loses data\); `slipway upgrade rollback --to 1\.4\.2` goes back/,
  );
  delete vendor.faults.index;
  const back = await run("rollback");
  assert.deepEqual([back.code, back.last["from"], back.last["to"]], [0, "1.5.0", "1.4.2"]);
  await vendor.release("1.6.0", { files: toyFiles("1.6.0", "lies") });
  const bad = await run("install");
  assert.deepEqual([bad.code, (bad.last["error"] as { code: string }).code], [40, "health_failed"]);
  assert.equal(await site.running(), "1.4.2");
  assert.equal((await run("resume")).code, 3);
  assert.equal((await run("resume", "--if-needed")).code, 0);
  assert.equal((await run("resume", "--before-start")).code, 0);
  const status = await run("status");
  assert.deepEqual([status.code, status.last["installed"], status.last["live"]], [0, "1.4.2", "1.4.2"]);
  assert.equal(((await run("history")).last["lines"] as unknown[]).length, 4);
  const release = vendor.releases.get("1.6.0");
  await vendor.release("1.7.0");
  vendor.releases.get("1.7.0")?.set("SHA256SUMS", release?.get("SHA256SUMS") ?? Buffer.alloc(0));
  const refused = await run("install");
  assert.deepEqual([refused.code, (refused.last["error"] as { code: string }).code], [20, "upgrade_verification_failed"]);
  const text = await runCommand([slipway, "upgrade", "status", "--installation", join(site.folder, "none.yaml")], { timeoutMs: 20_000 });
  assert.equal(text.exitCode, 2);
  assert.match(text.stderr, /cannot read the installation file/);
});
