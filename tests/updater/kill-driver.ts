/**
 * Runs one updater command and kills its own process (SIGKILL) right after the N-th durable change, which the updater reports as an event.
 * `node kill-driver.ts <installation> install|resume|rollback|restore <N>; restore takes toy.rbk beside the file`; N = 0 lives on and prints the changes as JSON.
 */
import { dirname, join } from "node:path";
import { SlipwayError } from "../../src/model/errors.ts";
import { loadInstallation } from "../../src/updater/installation.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { createUpdater } from "../../src/updater/updater.ts";

const [, , file = "", command = "", at = "0"] = process.argv;
const signal = new AbortController().signal;
const changes: string[] = [];
const updater = createUpdater(
  await loadInstallation(file),
  thisMachine((event) => {
    if (event.event !== "phase" && event.event !== "step") return;
    changes.push(event.event === "step" ? event.step : (event.step ?? event.phase));
    if (changes.length === Number(at)) process.kill(process.pid, "SIGKILL");
  }),
);
try {
  if (command === "install") await updater.install({ signal });
  else if (command === "resume") await updater.resume({ signal });
  else if (command === "restore") await updater.restore({ path: join(dirname(file), "toy.rbk") });
  else await updater.rollback({ restoreState: "always", signal });
} catch (error) {
  if (!(error instanceof SlipwayError)) throw error;
  process.exitCode = error.exitCode;
}
process.stdout.write(`${JSON.stringify(changes)}\n`);
