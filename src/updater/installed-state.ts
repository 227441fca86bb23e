/** `state.json`: what is installed, what can be gone back to, what failed here before, and the newest release that this machine has ever seen. */
import { z } from "zod";
import { lazyLooseObject } from "../model/lazy-object.ts";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import { readOnce } from "../model/read-once.ts";
import { trustMemorySchema } from "../trust/trust-memory.ts";
import { readPrivateFile } from "./journal.ts";
import { contractSchema } from "../model/upgrade-contract.ts";
import { backupReferenceSchema, fileTableSchema } from "./transaction.ts";

const sizeLimitBytes = 32 * 1024 * 1024;

const installedSchema = lazyLooseObject(() => ({
  version: z.string().min(5).max(128),
  seq: z.int().nonnegative(),
  files: fileTableSchema,
  ref: z.string().max(1024).optional(),
  /** Milliseconds since 1970. */
  at: z.int().nonnegative(),
  /** What this release promised about upgrades when it was installed. */
  contract: contractSchema.optional(),
}));

const stateSchema = lazyLooseObject(() => ({
  schema: z.literal(1),
  product: z.string(),
  installed: installedSchema.optional(),
  /** Newest first; `backup` is the state as it was when this version was left. */
  previous: z.array(installedSchema.extend({ backup: backupReferenceSchema.optional() })).max(32),
  blocked: z.array(lazyLooseObject(() => ({ version: z.string(), reason: z.string(), at: z.int().nonnegative(), transaction: z.string() }))).max(1000),
  /** Backups made before an operator's rollback; nobody removes them but the operator. */
  safetyBackups: z.array(z.string().max(64)).max(1000).default([]),
  /** Random, of this installation: its place in staged rollouts. */
  machineId: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional(),
  /** Only these versions: a version, or a range. */
  pin: lazyLooseObject(() => ({ range: z.string().max(200), at: z.int().nonnegative() })).optional(),
  /** No upgrades at all, for ever or until then. */
  hold: lazyLooseObject(() => ({ reason: z.string().max(500), at: z.int().nonnegative(), until: z.int().nonnegative().optional() })).optional(),
  /** The newest key set that a verified release has carried, and what any of them required. */
  trust: trustMemorySchema.optional(),
  highWater: lazyLooseObject(() => ({ seq: z.int().nonnegative(), version: z.string() })).optional(),
}));

export type InstalledState = z.infer<typeof stateSchema>;
export type InstalledVersion = z.infer<typeof installedSchema>;
export type PreviousVersion = InstalledState["previous"][number];

export function emptyState(product: string): InstalledState {
  return { schema: 1, product, previous: [], blocked: [], safetyBackups: [] };
}

/** Throws `journal_corrupt` where the file is not ours: without it, rollback and downgrade protection would be forgotten silently. */
export async function readState(path: string, product: string): Promise<InstalledState> {
  const bytes = await readPrivateFile(path, sizeLimitBytes);
  if (bytes === undefined) return emptyState(product);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new SlipwayError("journal_corrupt", "state.json is not JSON", { place: path, cause: error });
  }
  const parsed = readOnce(stateSchema, value);
  if (!parsed.success) throw new SlipwayError("journal_corrupt", `state.json: ${z.prettifyError(parsed.error).split("\n")[0] ?? ""}`, { place: path });
  if (parsed.data.product !== product)
    throw new SlipwayError("journal_corrupt", `state.json belongs to the product ${JSON.stringify(parsed.data.product)}`, { place: path });
  return parsed.data;
}

export async function writeState(path: string, state: InstalledState): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(stateSchema.parse(state), undefined, 1)}\n`);
}
