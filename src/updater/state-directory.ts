/** `{state_dir}/updates`: the updater's own folder, private, and never reached through a link. */
import { type Stats } from "node:fs";
import { lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isPosix } from "../io/posix.ts";
import { SlipwayError } from "../model/errors.ts";

export type StateDirectory = {
  /** `{state_dir}/updates` */
  readonly path: string;
  readonly transaction: string;
  readonly state: string;
  readonly history: string;
  readonly staging: (transactionId: string) => string;
  readonly codeBackups: (version: string) => string;
  readonly backups: string;
  /** Package files of the versions that are kept: `packages/<version>/<file>`. */
  readonly packages: string;
  /** The guard's files; it exists where a guard is installed. */
  readonly guard: string;
  /** There while an engine pulls an image (registry-login.ts). */
  readonly registryLogin: string;
  /** Socket of `slipway guard exec`. */
  readonly supervisor: string;
};

export function stateDirectoryOf(stateDir: string): StateDirectory {
  const path = join(stateDir, "updates");
  return {
    path,
    transaction: join(path, "transaction.json"),
    state: join(path, "state.json"),
    history: join(path, "history.jsonl"),
    staging: (transactionId) => join(path, "staging", transactionId),
    codeBackups: (version) => join(path, "bin-backups", version),
    backups: join(path, "backups"),
    packages: join(path, "packages"),
    guard: join(path, "guard"),
    registryLogin: join(path, "registry-login"),
    supervisor: join(path, "supervisor.sock"),
  };
}

async function lstatOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Throws `state_dir_insecure` unless `path` is a real folder of ours that nobody else may enter. */
async function requirePrivate(path: string): Promise<void> {
  const stat = await lstat(path);
  const owner = process.geteuid?.();
  const refuse = (why: string): never => {
    throw new SlipwayError("state_dir_insecure", `${path} ${why}`, { place: path });
  };
  if (!stat.isDirectory()) refuse("is not a folder (links are not followed)");
  if (owner !== undefined && stat.uid !== owner) refuse(`belongs to user ${stat.uid}, not to ${owner}`);
  if (isPosix && (stat.mode & 0o077) !== 0) refuse(`has mode ${(stat.mode & 0o777).toString(8)}; others may enter it`);
}

/** Makes a folder 0700 inside one that was checked, or checks the one that is there. */
export async function ensurePrivate(path: string): Promise<void> {
  if ((await lstatOrUndefined(path)) === undefined) await mkdir(path, { mode: 0o700, recursive: true });
  await requirePrivate(path);
}

/** The folder as it is, checked, for reading; undefined where there is none yet. */
export async function findStateDirectory(stateDir: string): Promise<StateDirectory | undefined> {
  const directory = stateDirectoryOf(stateDir);
  if ((await lstatOrUndefined(directory.path)) === undefined) return undefined;
  await requirePrivate(directory.path);
  return directory;
}

/** The folder with its parts, made where absent. Throws `state_dir_insecure`. */
export async function prepareStateDirectory(stateDir: string): Promise<StateDirectory> {
  const directory = stateDirectoryOf(stateDir);
  if ((await lstatOrUndefined(stateDir)) === undefined) await mkdir(stateDir, { recursive: true, mode: 0o755 });
  for (const path of [directory.path, join(directory.path, "staging"), join(directory.path, "bin-backups"), directory.backups]) await ensurePrivate(path);
  return directory;
}
