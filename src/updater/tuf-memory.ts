/**
 * What a machine has seen of TUF metadata, apart from the metadata itself: `updates/tuf.json`. Who loses the folder `trust/` fetches it again, and
 * still accepts nothing older.
 */
import { z } from "zod";
import { lazyStrictObject } from "../model/lazy-object.ts";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import type { TufFloor } from "../trust/tuf-client.ts";
import { readPrivateFile } from "./journal.ts";

const floorSchema = lazyStrictObject(() => ({
  rootVersion: z.int().nonnegative(),
  onlineKeys: z.string(),
  timestampVersion: z.int().nonnegative(),
  snapshotVersion: z.int().nonnegative(),
  roles: z.record(z.string(), z.int().nonnegative()),
}));
const memorySchema = lazyStrictObject(() => ({
  schema: z.literal(1).default(1),
  online: floorSchema.optional(),
  offline: floorSchema.optional(),
  /** Milliseconds since 1970 by this machine's clock, when metadata that was not expired was last seen. */
  refreshedAt: z.int().nonnegative().optional(),
}));

export type TufMemory = { readonly online?: TufFloor | undefined; readonly offline?: TufFloor | undefined; readonly refreshedAt?: number | undefined };

const sizeLimitBytes = 1024 * 1024;
/** Clocks are corrected by minutes, and time zones mistaken by hours; more back than a day is a replay of time (trust facts 4.3). */
const clockToleranceMs = 24 * 3_600_000;

/** Throws `journal_corrupt` for a file that is not ours: without it old metadata would be accepted again. */
export async function readTufMemory(path: string): Promise<TufMemory> {
  const bytes = await readPrivateFile(path, sizeLimitBytes);
  if (bytes === undefined) return {};
  try {
    return memorySchema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (error) {
    throw new SlipwayError("journal_corrupt", "tuf.json cannot be read", { place: path, cause: error });
  }
}

export async function writeTufMemory(path: string, memory: TufMemory): Promise<void> {
  const text = `${JSON.stringify(memorySchema.parse({ ...memory, schema: 1 }))}\n`;
  if ((await readPrivateFile(path, sizeLimitBytes))?.toString("utf8") === text) return;
  await writeFileAtomic(path, text);
}

/** A clock that stands before what was seen would make expired metadata good again. */
export function requireTrustedClock(memory: TufMemory | undefined, now: Date): void {
  const seen = memory?.refreshedAt ?? 0;
  if (now.getTime() >= seen - clockToleranceMs) return;
  throw new SlipwayError("clock_untrusted", `the clock says ${now.toISOString()}; this machine saw ${new Date(seen).toISOString()} already`);
}
