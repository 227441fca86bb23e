/** `slipway server check`: is everything in a data folder there and as it was stored. */
import { stat } from "node:fs/promises";
import { loadSettings } from "../config/load.ts";
import { systemClock } from "../io/clock.ts";
import { SlipwayError } from "../model/errors.ts";
import { requireProduct } from "../releases/products.ts";
import { rebuildIndexes } from "../releases/rebuild-indexes.ts";
import { readRepositoryKey } from "../releases/repository-key.ts";
import { checkData } from "../server/check-data.ts";
import { readKeyEncryptionKey } from "../store/key-encryption-key.ts";
import { openStore, openStoreToCheck, type Store } from "../store/store.ts";
import { type CommandRun, flagOption, textOption } from "./command.ts";
import type { Progress } from "./output.ts";

export const run: CommandRun = async ({ options, env, output, signal }) => {
  const settings = await loadSettings({ flags: options, env, configFile: textOption(options, "config") });
  const { dataDir, databaseUrl, keyEncryptionKey } = settings;
  const database = databaseUrl === "" ? {} : { databaseUrl };
  const store = await openStoreToCheck({ dataDir, clock: systemClock, ...database });
  let writable: Store | undefined;
  let progress: Progress | undefined;
  try {
    if (flagOption(options, "repair")) await requireOwner(dataDir);
    const kek = await readKeyEncryptionKey({ dataDir, ...(keyEncryptionKey === "" ? {} : { setting: keyEncryptionKey }) });
    const check = await checkData(store, {
      isQuick: flagOption(options, "quick"),
      isRepair: flagOption(options, "repair"),
      signal,
      kek,
      rebuild: async (product, lost) => {
        if (kek === undefined) throw new SlipwayError("key_missing", "indexes are signed, and there is no key-encryption key to open the repository key with");
        writable ??= await openStore({ dataDir, clock: systemClock, ...database });
        await rebuildIndexes(writable, { product: await requireProduct(writable, product), repositoryKey: await readRepositoryKey(writable, kek), lost });
      },
      onPart: (part) => {
        progress?.end();
        progress = undefined;
        if (part !== "blobs") output.note(`checking the ${part}`);
      },
      onProgress: (done, total) => {
        progress ??= output.progress("checking the blobs", total);
        progress.update(done);
      },
    });
    progress?.end();
    output.result({ ...check, isSound: check.faults.every(({ isMended }) => isMended) });
    const { faults } = check;
    const open = faults.filter(({ isMended }) => !isMended);
    const bytes = check.isQuick ? "by their sizes alone" : `${(check.bytes / 1024 ** 2).toFixed(1)} MiB read`;
    output.line(
      `${check.blobs} blobs (${bytes}; ${check.unneeded} that nothing needs), ${check.secrets} secrets, ${check.auditLinks} links of the audit trail`,
    );
    for (const { part, what, text, remedy, isMended } of faults) {
      output.line(`${isMended ? output.colors.yellow(part) : output.colors.red(part)}${what === "" ? "" : ` ${what}`}: ${text}`);
      output.line(`  ${remedy}`);
    }
    if (open.length > 0) throw new SlipwayError("data_damaged", `${open.length} ${open.length === 1 ? "fault" : "faults"} in ${dataDir}`);
    output.line(faults.length > 0 ? `${faults.length} mended; nothing else is wrong` : "all of it is there and as it was stored");
    return 0;
  } finally {
    await writable?.close();
    await store.close();
  }
};

/** What another user makes in the folder the server could not read. */
async function requireOwner(dataDir: string): Promise<void> {
  const { uid } = await stat(dataDir);
  if (process.getuid === undefined || process.getuid() === uid) return;
  throw new SlipwayError("permission_denied", `${dataDir} belongs to user ${uid}, and this is user ${process.getuid()}`, {
    hint: "run a repair as the user that the server runs as: setpriv, runuser or sudo -u",
  });
}
