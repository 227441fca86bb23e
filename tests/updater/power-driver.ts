/**
 * Cuts the power at every durable change, or at instants spread over the whole run, of one scenario on one file system, and looks after each boot.
 * `unshare --mount … node power-driver.ts <ext4|xfs> <scenario> <folder> <instants>`; prints the number of cuts as JSON.
 */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { requireCommand } from "../../src/io/command.ts";
import { cutScript, type DiskKind, diskKinds, mountLoopDisk } from "../support/loop-disk.ts";
import { crashAndRecover, cutAtChange, type Killer, listChanges, type Outage, plainRun, prepareScenario, runKilled, scenarios } from "./crash.ts";
import { startVendor } from "./support.ts";

const [, , kindText = "", index = "", folder = "", instantsText = "0"] = process.argv;
const kind = diskKinds.find((name): name is DiskKind => name === kindText);
const scenario = scenarios[Number(index)];
assert.ok(kind !== undefined && scenario !== undefined);
const disk = await mountLoopDisk(folder, kind);
process.env["TMPDIR"] = disk.mountPoint; // the machine of the scenario, with everything it has, lies on this disk

const outage: Outage = {
  ready: disk.sync,
  afterKill: async (site) => {
    await disk.boot();
    await rm(join(site.folder, "run/version"), { force: true }); // after a power loss nothing runs
  },
  // As the service manager does it at boot, after the guard's boot check has settled what was under way.
  afterRecovery: async (site) => {
    if ((await site.running()) === undefined) await requireCommand([join(site.folder, "start.sh")], { timeoutMs: 10_000 });
  },
};

/** Cuts the power `seconds` after the start of the run, whatever it is doing then. */
const cutAfter =
  (seconds: number): Killer =>
  (site, command) => ["sh", "-c", cutLater, seconds.toFixed(3), cutScript, disk.mountPoint, ...plainRun(site, command)];
const cutLater = `cut=$1; disk=$2; shift 2; "$@" & child=$!; sleep "$0"; perl -e "$cut" "$disk" || exit 99; kill -9 $child; wait $child; exit 137`;

const vendor = await startVendor();
const instants = Number(instantsText);
let cuts = 0;
if (instants === 0) {
  const changes = (await listChanges(vendor, scenario)).length;
  for (let change = 1; change <= changes; change++) {
    if (await crashAndRecover(vendor, scenario, [cutAtChange(change, disk.mountPoint)], outage)) cuts += 1;
  }
  assert.equal(cuts, changes);
} else {
  const site = await prepareScenario(vendor, scenario);
  const startedAt = performance.now();
  await runKilled(plainRun(site, scenario.command));
  const wholeSeconds = (performance.now() - startedAt) / 1000;
  await rm(site.folder, { recursive: true });
  for (let instant = 1; instant <= instants; instant++) {
    // The first third is the start of the program.
    const seconds = wholeSeconds * (1 / 3 + (2 / 3) * (instant / (instants + 1)));
    const isCut = await crashAndRecover(vendor, scenario, [cutAfter(seconds)], outage).catch((error: unknown) => {
      throw new Error(`cut ${seconds.toFixed(3)} s after the start`, { cause: error });
    });
    if (isCut) cuts += 1;
  }
}
await vendor.close();
process.stdout.write(`${JSON.stringify({ cuts })}\n`);
