// A product on Node that upgrades itself: check, install, progress, outcome, all in this process.
import { createUpdater, SlipwayError } from "slipway/updater";

const [, , installation] = process.argv;
if (installation === undefined) {
  process.stderr.write("usage: node upgrade.mjs INSTALLATION-FILE\n");
  process.exit(2);
}

const updater = await createUpdater({ installation });

async function show() {
  for await (const event of updater.events()) {
    if (event.event === "download") console.log(`download: ${event.done} of ${event.total} bytes`);
    else if (event.event === "phase") console.log(`now ${event.phase} ${event.step ?? ""}`);
  }
}

const shown = show();
try {
  await updater.resume(); // what a crash left, first
  const { offer } = await updater.check();
  if (offer.kind === "none") console.log("nothing newer");
  else {
    console.log(`${offer.version} is available`);
    const result = await updater.install({ version: offer.version });
    if (result.kind === "installed") console.log(`runs ${result.version}`);
  }
} catch (error) {
  if (!(error instanceof SlipwayError)) throw error;
  const outcomes = {
    health_failed: "back on the old version",
    rollback_failed: "a human must look",
    upgrade_verification_failed: "refused, nothing was touched",
  };
  console.log(`${outcomes[error.code] ?? (error.isRetryable ? "later" : "failed")}: ${error.code}: ${error.message} (${error.hint})`);
  process.exitCode = error.exitCode;
} finally {
  updater.close();
  await shown;
}
