/**
 * Runs one updater command and kills its own process (SIGKILL) right after the N-th durable change, which the updater reports as an event.
 * `node kill-driver.ts <installation> install|resume|rollback|restore <N>; restore takes toy.rbk beside the file`; N = 0 lives on and prints the changes as JSON.
 * With a mount point after N the power of that disk fails as well (support/loop-disk.ts).
 */
import { dirname, join } from "node:path";
import { asSlipwayError } from "../../src/model/errors.ts";
import { loadInstallation } from "../../src/updater/installation.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { createUpdater } from "../../src/updater/updater.ts";
import { cutPower } from "../support/loop-disk.ts";
import { shortSleep } from "./short-sleep.ts";

const [, , file = "", command = "", at = "0", disk] = process.argv;
const signal = new AbortController().signal;
const changes: string[] = [];
const machine = thisMachine((event) => {
  if (event.event !== "phase" && event.event !== "step") return;
  changes.push(event.event === "step" ? event.step : (event.step ?? event.phase));
  if (changes.length !== Number(at)) return;
  if (disk !== undefined) cutPower(disk);
  process.kill(process.pid, "SIGKILL");
});
const updater = createUpdater(await loadInstallation(file), { ...machine, sleep: shortSleep });
try {
  if (command === "install") await updater.install({ signal });
  else if (command === "resume") await updater.resume({ signal });
  else if (command === "restore") await updater.restore({ path: join(dirname(file), "toy.rbk") });
  else await updater.rollback({ restoreState: "always", signal });
} catch (error) {
  const failure = asSlipwayError(error);
  if (failure.code === "internal") throw error;
  process.exitCode = failure.exitCode;
}
process.stdout.write(`${JSON.stringify(changes)}\n`);
