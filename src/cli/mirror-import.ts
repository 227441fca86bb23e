/** `slipway mirror import`: verifies a bundle and merges it into the mirror. */
import { resolve } from "node:path";
import { systemClock } from "../io/clock.ts";
import { bundleFileSize, openBundle } from "../mirror/bundle-read.ts";
import { importBundle } from "../mirror/import-bundle.ts";
import { loadTrust } from "../mirror/keys.ts";
import { folderSource } from "../mirror/source.ts";
import { type CommandRun, flagOption } from "./command.ts";
import { loadMirrorSettings } from "./mirror-settings.ts";
import { showProgress, showSummary } from "./mirror-sync.ts";
import { formatBytes } from "./output.ts";

const hourMs = 3_600_000;

export const run: CommandRun = async (invocation) => {
  const { args, options, output, cwd, signal } = invocation;
  const path = resolve(cwd, args[0] ?? "");
  const { settings, folder, directory } = await loadMirrorSettings(invocation);
  const bar = output.progress("verifying", await bundleFileSize(path));
  const bundle = await openBundle(path, { signal, onProgress: (bytes) => bar.update(bytes, formatBytes(bytes)) });
  bar.end();
  const observer = showProgress(output);
  const summary = await importBundle({
    bundle,
    // Keys come from the operator, never from the bundle: by file, or out of the mirror itself.
    trustOf: async (product, selection) => {
      const keys = settings.products[product]?.keys;
      return keys === undefined ? undefined : loadTrust({ product, keys, selection, folder, source: folderSource(resolve(directory, "current")), signal });
    },
    directory,
    isOlderAllowed: flagOption(options, "allowOlder"),
    isExpiredAllowed: flagOption(options, "allowExpiredMetadata"),
    isDryRun: flagOption(options, "dryRun"),
    keepMs: settings.keep_hours * hourMs,
    parallel: settings.parallel,
    clock: systemClock,
    signal,
    observe: observer.observe,
  });
  observer.end();
  showSummary(output, summary, directory);
  return 0;
};
