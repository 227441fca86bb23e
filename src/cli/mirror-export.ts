/** `slipway mirror export`: one bundle of what the mirror has, or of what the source has, for the other side of an air gap. */
import { mkdtemp, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { systemClock } from "../io/clock.ts";
import { openBlobPool } from "../mirror/blob-pool.ts";
import { readBundleManifest } from "../mirror/bundle-read.ts";
import { bundleSize, writeBundle } from "../mirror/bundle-write.ts";
import { readCurrentSet } from "../mirror/file-set.ts";
import { syncMirror } from "../mirror/sync.ts";
import { SlipwayError } from "../model/errors.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { loadMirrorKeys, loadMirrorSettings, loadProducts, openSource } from "./mirror-settings.ts";
import { showProgress } from "./mirror-sync.ts";
import { formatBytes } from "./output.ts";

export const run: CommandRun = async (invocation) => {
  const { args, options, output, cwd, signal } = invocation;
  const path = resolve(cwd, args[0] ?? "");
  const splitBytes = readSplit(textOption(options, "split"));
  const sinceOption = textOption(options, "since");
  const since = sinceOption === undefined ? undefined : (await readBundleManifest(resolve(cwd, sinceOption))).set;
  const { directory, dispose } = await readyDirectory(invocation, path);
  try {
    const set = await readCurrentSet(directory);
    if (set === undefined)
      throw new SlipwayError("source_missing", `${directory} holds nothing yet`, {
        hint: "run `slipway mirror sync` first, or add --from-source",
        place: directory,
      });
    const bar = output.progress("writing", bundleSize(set, since));
    const written = await writeBundle({
      pool: await openBlobPool(directory),
      set,
      since,
      path,
      splitBytes,
      signal,
      onProgress: (bytes) => bar.update(bytes, formatBytes(bytes)),
    });
    bar.end();
    output.result({ ...written, set: set.id, ...(since === undefined ? {} : { since: since.id }) });
    output.table(
      ["PART", "SIZE", "SHA-256"],
      written.parts.map((part) => [part.path, formatBytes(part.size), part.sha256]),
    );
    output.line(`${written.files} files of ${Object.keys(set.products).join(", ")}; sums in ${written.sumsPath}`);
    output.note(`the next addition: slipway mirror export FILE --since ${written.manifestPath}`);
    return 0;
  } finally {
    await dispose();
  }
};

/** The mirror's own folder, or one for this bundle alone beside it. */
async function readyDirectory(invocation: Invocation, path: string): Promise<{ readonly directory: string; readonly dispose: () => Promise<void> }> {
  const { options, output, signal, cwd } = invocation;
  const named = textOption(options, "directory");
  if (!flagOption(options, "fromSource")) {
    return { directory: named === undefined ? (await loadMirrorSettings(invocation)).directory : resolve(cwd, named), dispose: async () => undefined };
  }
  const loaded = await loadMirrorSettings(invocation);
  const directory = await mkdtemp(join(dirname(path), ".slipway-export-"));
  const dispose = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const source = await openSource(loaded, invocation);
    const observer = showProgress(output);
    await syncMirror({
      directory,
      source,
      products: await loadProducts(loaded, source, signal),
      keys: await loadMirrorKeys(loaded, invocation),
      others: "drop",
      isOlderAllowed: false,
      isDryRun: false,
      keepMs: 0,
      parallel: loaded.settings.parallel,
      clock: systemClock,
      signal,
      observe: observer.observe,
    });
    observer.end();
    return { directory, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Decimal units, as disks have them: a file of `4G` fits FAT32. */
function readSplit(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, count, unit] = /^(\d{1,6})([KMG])$/.exec(text) ?? [];
  const bytes = Number(count) * ({ K: 1_000, M: 1_000_000, G: 1_000_000_000 }[unit ?? ""] ?? Number.NaN);
  if (!(bytes >= 10_000)) throw new SlipwayError("usage", `"${text.slice(0, 40)}" is no size; write 700M or 4G`, { place: "--split" });
  return bytes;
}
