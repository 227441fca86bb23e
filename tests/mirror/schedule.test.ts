/** Intervals, their spread, and the units as systemd itself reads them. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { readDuration, timerUnits, withJitter } from "../../src/mirror/schedule.ts";
import { needClient } from "../support/clients.ts";

test("C7 an interval is a number of minutes, hours or days, spread by a tenth", () => {
  assert.deepEqual(["30m", "6h", "1d"].map(readDuration), [1_800_000, 21_600_000, 86_400_000]);
  for (const text of ["0m", "6", "six hours", "40d", "-1h", "1.5h"]) assert.throws(() => readDuration(text), { code: "usage" }, text);
  assert.deepEqual([withJitter(1000, 0), withJitter(1000, 1)], [900, 1100]);
});

test("C7 systemd takes the units of a mirror as they are printed", async (t) => {
  if (!needClient(t, "systemd-analyze")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-units-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const units = timerUnits({ program: "/bin/true", config: "/etc/slipway/mirror.yaml", directory: "/srv", everyMs: 21_600_000 });
  for (const [name, text] of Object.entries(units)) await writeFile(join(folder, name), text);
  const end = await runCommand(["systemd-analyze", "verify", ...Object.keys(units).map((name) => join(folder, name))], { timeoutMs: 30_000 });
  assert.deepEqual([end.exitCode, end.stderr], [0, ""]);
  assert.throws(() => timerUnits({ program: "/bin/true", config: "/etc/a b.yaml", directory: "/srv", everyMs: 21_600_000 }), { code: "usage" });
});
