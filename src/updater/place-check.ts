/** What the file system would forbid at the moment of the switch, asked before it (row 54 of the attack table). */
import { access, chmod, constants, lstat, readFile, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { lstatIfThere } from "./file-tree.ts";

const mountTable = "/proc/self/mountinfo";

/**
 * Can another file be renamed over each of these, those that are there? Throws `permission_denied` with detail `immutable`, `read_only` or `mount_point`.
 * Leaves every file as it is: its own mode is given to it again, which the kernel refuses for an immutable one (chattr(1)), as it will the rename.
 */
export async function requireReplaceable(paths: readonly string[]): Promise<void> {
  const mountPoints = await readMountPoints();
  const own = process.getuid?.() ?? 0;
  for (const path of paths) {
    const live = await lstatIfThere(path);
    if (live === undefined || !live.isFile()) continue;
    if (mountPoints.has(join(await realpath(dirname(path)), basename(path)))) throw refused(path, "mount_point");
    if (own !== 0 && own !== live.uid) continue; // only its owner may ask in this way
    try {
      await chmod(path, live.mode & 0o7777);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPERM") throw refused(path, "immutable", error);
      if (code === "EROFS") throw refused(path, "read_only", error);
      throw error;
    }
  }
}

/** Throws `permission_denied` with detail `noexec` for a program, with its mode set, that lies where none may be started: even root may not. */
export async function requireRunnable(path: string): Promise<void> {
  const { mode, uid } = await lstat(path);
  const own = process.getuid?.() ?? 0;
  if ((mode & (own === 0 ? 0o111 : 0o100)) === 0 || (own !== 0 && own !== uid)) return; // no program, or none of ours to start
  try {
    await access(path, constants.X_OK);
  } catch (error) {
    throw refused(dirname(path), "noexec", error);
  }
}

const reasons = {
  mount_point: { what: "is a mount point, and no file can take its place", hint: "unmount the file; mount its folder instead, or use strategy versions" },
  immutable: { what: "is immutable", hint: "`chattr -i -a` lets it be replaced" },
  read_only: { what: "lies on a read-only file system", hint: "mount it writable for the upgrade" },
  noexec: { what: "lies on a file system from which no program may be started (noexec)", hint: "mount it with exec, then run the upgrade again" },
} as const;

function refused(path: string, detail: keyof typeof reasons, cause?: unknown): SlipwayError {
  const { what, hint } = reasons[detail];
  return new SlipwayError("permission_denied", `${path} ${what}`, { detail, place: path, hint, cause });
}

/** proc_pid_mountinfo(5), field 5, with its octal escapes; empty where there is no such table. */
async function readMountPoints(): Promise<ReadonlySet<string>> {
  const text = await readFile(mountTable, "utf8").catch(() => "");
  const points = text.split("\n").map((line) => line.split(" ")[4] ?? "");
  return new Set(points.map((point) => point.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))));
}
