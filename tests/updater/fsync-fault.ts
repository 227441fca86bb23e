/** Rows 52 and 53 of the attack table: an upgrade in which fsync fails from some call on, as on a full or a broken disk. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "../../src/io/command.ts";
import { straceEnvironment, withFault } from "../support/strace.ts";
import { plainRun } from "./crash.ts";
import { noSignal, type Site } from "./support.ts";

export const fsyncFaults = ["ENOSPC", "EIO"] as const;

/**
 * Installs what is on offer with every fsync from the `nth` on failing: the command must fail, nothing but what lies there may run, and the
 * journal must be readable.
 * False where the upgrade made fewer calls and went through.
 */
export async function upgradeWithFault(site: Site, code: (typeof fsyncFaults)[number], nth: number): Promise<boolean> {
  const argv = withFault("fsync", `error=${code}:when=${nth}+`, plainRun(site, "install"));
  const result = await runCommand(argv, { timeoutMs: 120_000, env: straceEnvironment() });
  assert.ok(!result.isTimedOut, `${code} from fsync ${nth} on: no end after two minutes`);
  if (result.exitCode === 0) return false;
  JSON.parse(await readFile(join(site.updates, "transaction.json"), "utf8"));
  const [live, running] = [await site.live(), await site.running()];
  assert.equal(running, live, `${code} from fsync ${nth} on: ${running} runs, ${live} lies there`);
  return true;
}

/** With fsync working again, the machine is not stuck. */
export async function requireUpgradable(site: Site, version: string): Promise<void> {
  await (await site.updater()).install({ signal: noSignal });
  assert.equal(await site.running(), version);
}
