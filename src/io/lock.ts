/**
 * An exclusive lock between processes that share a folder, free again as soon as its owner is dead.
 *
 * Node has no flock(2). Each contender writes its own record `lock.<nonce>` (whole before it is visible: temporary name, fsync, rename),
 * then lists all records: if another one has a living owner it takes its own back and tries again later. Of two contenders the one that
 * wrote last sees both, so two can never hold it. Nobody removes the record of a living owner; the record of a dead one never comes back,
 * so anybody may remove it. Alive means: this boot, a process of that id, and the same start time (ids are used again).
 * Limit: the contenders must see each other's processes (one pid namespace).
 */
import { randomBytes } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { writeFileAtomic } from "./atomic-file.ts";
import { readFileBounded } from "./bounded-read.ts";

const ownerSchema = z.object({
  pid: z.int().positive(),
  bootId: z.string().max(64),
  /** Clock ticks since boot (proc(5), stat field 22); empty where the system does not say. */
  processStart: z.string().max(32),
  startedAt: z.iso.datetime(),
  operation: z.string().max(64),
});

export type LockOwner = z.infer<typeof ownerSchema>;

export type Lock = { readonly release: () => Promise<void> };

const recordLimitBytes = 4096;
const retryMs = 100;

/** The boot's id on Linux; empty elsewhere, where only the process id and its life count. */
export async function bootId(): Promise<string> {
  try {
    return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  } catch {
    return ""; // not Linux: a reboot is then seen by the process being gone
  }
}

async function processStart(pid: number): Promise<string> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? ""; // the name in parentheses may hold spaces
  } catch {
    return ""; // gone, or not Linux
  }
}

async function isAlive(owner: LockOwner): Promise<boolean> {
  if (owner.bootId !== (await bootId())) return false;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false; // EPERM: it lives and belongs to somebody else
  }
  return owner.processStart === (await processStart(owner.pid));
}

/** A record's owner; undefined where the record went away meanwhile. A link, FIFO or foreign content throws `state_dir_insecure`. */
async function readOwner(path: string): Promise<LockOwner | undefined> {
  try {
    const owner = ownerSchema.safeParse(JSON.parse((await readFileBounded(path, recordLimitBytes, { isLinkAllowed: false })).toString("utf8")));
    if (owner.success) return owner.data;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new SlipwayError("state_dir_insecure", `${path} is not a lock record that slipway wrote`, { cause: error, place: path });
  }
  throw new SlipwayError("state_dir_insecure", `${path} is not a lock record that slipway wrote`, { place: path });
}

/** The living owner of the lock in `directory`, apart from `ownName`; records of dead owners are removed on the way. */
async function livingOwner(directory: string, ownName?: string): Promise<LockOwner | undefined> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith("lock.") || name === ownName) continue;
    const path = join(directory, name);
    const owner = await readOwner(path);
    if (owner === undefined) continue;
    if (await isAlive(owner)) return owner;
    await rm(path, { force: true });
  }
  return undefined;
}

/** Who holds the lock now, for a status display. */
export function lockOwner(directory: string): Promise<LockOwner | undefined> {
  return livingOwner(directory);
}

/**
 * Takes the lock of `directory` (which exists), waiting at most `waitMs`; then throws `lock_held` naming the owner.
 * The lock ends with `release` or with the process.
 */
export async function acquireLock(directory: string, operation: string, options: { readonly waitMs: number }): Promise<Lock> {
  const name = `lock.${randomBytes(8).toString("hex")}`;
  const path = join(directory, name);
  const owner: LockOwner = {
    pid: process.pid,
    bootId: await bootId(),
    processStart: await processStart(process.pid),
    startedAt: new Date().toISOString(),
    operation,
  };
  const deadline = performance.now() + options.waitMs;
  for (;;) {
    const before = await livingOwner(directory);
    if (before === undefined) {
      await writeFileAtomic(path, `${JSON.stringify(owner)}\n`);
      const rival = await livingOwner(directory, name).catch(async (error: unknown) => {
        await rm(path, { force: true });
        throw error;
      });
      if (rival === undefined) return { release: () => rm(path, { force: true }) };
      await rm(path, { force: true });
    }
    if (performance.now() >= deadline) {
      const holder = before ?? (await livingOwner(directory));
      const who = holder === undefined ? "another process" : `process ${holder.pid} (${holder.operation}, since ${holder.startedAt})`;
      throw new SlipwayError("lock_held", `${who} works in ${directory}`, { place: directory });
    }
    await sleep(retryMs + Math.random() * retryMs); // two that met step back for different times
  }
}
