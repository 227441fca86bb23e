/** Power loss: the file system is shut down without a flush at every durable change and in between, mounted again, and the machine must work. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { cleanEnvironment, runCommand } from "../../src/io/command.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { diskKinds } from "../support/loop-disk.ts";
import { nameOf, scenarios } from "./crash.ts";

const driver = join(import.meta.dirname, "power-driver.ts");

for (const kind of diskKinds) {
  for (const [index, scenario] of scenarios.entries()) {
    for (const instants of [0, 12]) {
      test(`48 ${kind}, ${nameOf(scenario)}: the power fails ${instants === 0 ? "after every durable change" : `at ${instants} instants of the run`}`, async (t) => {
        if (!needClient(t, `mkfs.${kind}`, "perl", "setpriv", "unshare", "mount") || !needRoot(t, "a disk of its own")) return;
        const folder = await mkdtemp(join(tmpdir(), "slipway-power-"));
        t.after(() => rm(folder, { recursive: true, force: true }));
        const argv = [
          "setpriv",
          "--pdeathsig",
          "KILL",
          "unshare",
          "--mount",
          "--propagation",
          "private",
          process.execPath,
          driver,
          kind,
          String(index),
          folder,
          String(instants),
        ];
        const { exitCode, stdout, stderr } = await runCommand(argv, { timeoutMs: 1_200_000, env: cleanEnvironment() });
        assert.equal(exitCode, 0, stderr);
        const { cuts } = JSON.parse(stdout) as { readonly cuts: number };
        t.diagnostic(`${cuts} cuts`);
        assert.ok(cuts >= 12, `${cuts} cuts`);
      });
    }
  }
}
