/** One look for upgrades in a process of its own, to be killed in the middle of it: `node tuf-kill-driver.ts <installation>`. */
import { loadInstallation } from "../../src/updater/installation.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { createUpdater } from "../../src/updater/updater.ts";

const installation = await loadInstallation(process.argv[2] ?? "");
await createUpdater(
  installation,
  thisMachine(() => undefined),
).check({ signal: new AbortController().signal });
