/**
 * Makes backups of an installation's state. A backup counts only when nothing changed from the first look to the last, and after it was read
 * back. Not compressed by default: it stays on the same disk for minutes, and going back must be fast (570 MB/s against 83 MB/s for gzip -1).
 */
import { createHash, randomBytes } from "node:crypto";
import { link, lstat, mkdir, readdir, readFile, readlink, rename, rm, statfs, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { hashHandle } from "../io/hash-file.ts";
import { SlipwayError } from "../model/errors.ts";
import type { StateSection } from "../model/upgrade-contract.ts";
import { type BackupFile, type BackupManifest, inconsistent, placeOf, verifyBackup, writeArchive } from "./backup-archive.ts";
import { lstatIfThere, openRegular } from "./file-tree.ts";
import type { Machine } from "./machine.ts";
import { withDump } from "./sections.ts";
import { runHook } from "./service.ts";

const attempts = 3;

export type BackupPlan = {
  readonly machine: Machine;
  readonly product: string;
  /** The version that runs, and the formats in which it writes its data. */
  readonly version: string | undefined;
  readonly epochs: Readonly<Record<string, number>>;
  /** Why: `pre-upgrade 1.4.2 -> 1.5.0`. */
  readonly reason: string;
  readonly sections: readonly StateSection[];
  /** Where it is written; must not be there. Its folder is where dumps lie meanwhile. */
  readonly path: string;
  readonly isGzipped?: boolean;
  readonly onWarning: (text: string) => void;
};

export const newBackupId = (): string => `b-${randomBytes(8).toString("hex")}`;
export const backupPath = (folder: string, id: string): string => join(folder, `${id}.rbk`);

export type MadeBackup = { readonly sha256: string; readonly bytes: number; readonly manifest: BackupManifest };

/** One look at the state: what is there, and a mark per entry that changes when the entry does. */
type Look = { readonly files: readonly BackupFile[]; readonly sections: BackupManifest["sections"]; readonly bytes: number; readonly marks: string };

/**
 * Writes, reads back and names the backup. Throws `backup_failed` (detail `backup_inconsistent` where the state would not hold still, `exists` where
 * the path is taken), `disk_full`, or what a dump command failed with; nothing is left behind then.
 */
export async function createBackup(plan: BackupPlan): Promise<MadeBackup> {
  const { path } = plan;
  const folder = dirname(path);
  if ((await lstatIfThere(path)) !== undefined)
    throw new SlipwayError("backup_failed", `${path} is there already`, {
      detail: "exists",
      place: path,
      hint: "name another file; a backup is never overwritten",
    });
  const temporary = `${path}.tmp`;
  const dumps = `${path}.dumps`;
  try {
    for (let attempt = 1; ; attempt += 1) {
      await rm(temporary, { force: true });
      await rm(dumps, { recursive: true, force: true });
      try {
        const look = await lookAtState(plan, plan.onWarning);
        const dumped = await dumpSections(plan, dumps);
        const bytes = look.bytes + dumped.files.reduce((sum, file) => sum + file.size, 0);
        await requireSpace(folder, bytes);
        const manifest = await manifestOf(plan, { files: [...look.files, ...dumped.files], sections: [...look.sections, ...dumped.sections], bytes });
        await writeArchive({ path: temporary, manifest, sourceOf: (file) => sourceOf(plan, dumps, file), isGzipped: plan.isGzipped === true });
        if ((await lookAtState(plan, () => undefined)).marks !== look.marks) throw inconsistent("something changed while the backup was made");
        break;
      } catch (error) {
        if (!(error instanceof SlipwayError && error.detail === "backup_inconsistent") || attempt === attempts) throw error;
      }
    }
    const { sha256, manifest } = await verifyBackup(temporary);
    const { size } = await lstat(temporary);
    await giveName(temporary, path);
    await syncDirectory(folder);
    return { sha256, bytes: size, manifest };
  } catch (error) {
    if (error instanceof SlipwayError && ["backup_failed", "hook_failed", "disk_full"].includes(error.code)) throw error;
    const systemCode = (error as NodeJS.ErrnoException).code;
    if (systemCode === "ENOSPC" || systemCode === "EDQUOT") throw error; // asSlipwayError calls it disk_full
    throw new SlipwayError("backup_failed", `the state could not be backed up: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    await rm(temporary, { force: true });
    await rm(dumps, { recursive: true, force: true });
  }
}

/** A rename would silently replace what came to be there meanwhile; a link never does. Some file systems know no links: there rename it is. */
async function giveName(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    const systemCode = (error as NodeJS.ErrnoException).code ?? "";
    if (systemCode === "EEXIST") throw new SlipwayError("backup_failed", `${path} is there already`, { detail: "exists", place: path });
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "EMLINK", "ENOSYS"].includes(systemCode)) throw error;
    await rename(temporary, path);
    return;
  }
  await unlink(temporary);
}

async function requireSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const needed = Math.ceil(bytes * 1.05) + 1024 * 1024;
  if (bavail * bsize < needed) throw new SlipwayError("disk_full", `${folder} has ${bavail * bsize} bytes free; the backup needs ${needed}`, { place: folder });
}

function sourceOf({ sections }: BackupPlan, dumps: string, file: BackupFile): string {
  const { section: name, below } = placeOf(file);
  const section = sections.find((one) => one.name === name);
  return section?.path === undefined ? join(dumps, name) : join(section.path, below);
}

async function manifestOf(plan: BackupPlan, content: Pick<Look, "files" | "sections" | "bytes">): Promise<BackupManifest> {
  const hostIdHash = await hashedHostId();
  return {
    schema: 1,
    product: plan.product,
    ...(plan.version === undefined ? {} : { version: plan.version }),
    epochs: { ...plan.epochs },
    createdAt: plan.machine.clock.now().toISOString(),
    ...(hostIdHash === undefined ? {} : { hostIdHash }),
    archiveOf: plan.reason,
    sections: content.sections,
    files: [...content.files],
    hooks: plan.sections.flatMap(({ dump }) => (dump === undefined ? [] : [dump])),
    excludes: plan.sections.flatMap(({ name, exclude = [] }) => exclude.map((one) => `${name}/${one}`)),
    totals: { files: content.files.filter(({ type }) => type === "file").length, bytes: content.bytes },
  };
}

/** Tells whether two backups are of one machine without telling which; undefined where the machine has no id. */
export async function hashedHostId(): Promise<string | undefined> {
  const id = await readFile("/etc/machine-id", "utf8").catch(() => "");
  return id.trim() === "" ? undefined : createHash("sha256").update(`slipway backup\0${id.trim()}`).digest("hex").slice(0, 32);
}

async function lookAtState(plan: BackupPlan, onWarning: (text: string) => void): Promise<Look> {
  const files: BackupFile[] = [];
  const sections: BackupManifest["sections"] = [];
  const marks = createHash("sha256");
  let bytes = 0;
  const visit = async (section: StateSection, below: string): Promise<void> => {
    if ((section.exclude ?? []).includes(below)) return;
    const path = join(section.path ?? "", below);
    const stat = await lstat(path, { bigint: true });
    const type = stat.isFile() ? "file" : stat.isDirectory() ? "dir" : stat.isSymbolicLink() ? "symlink" : undefined;
    if (type === undefined) {
      onWarning(`${path} is a socket, FIFO or device and is not backed up`);
      return;
    }
    const common = {
      path: below === "" ? section.name : `${section.name}/${below}`,
      type,
      mode: Number(stat.mode) & 0o7777,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtime: Number(stat.mtimeMs),
    } as const;
    marks.update(`${JSON.stringify([path, String(stat.ino), type === "dir" ? "" : String(stat.ctimeNs), String(stat.mtimeNs), type])}\n`);
    if (type === "symlink") files.push({ ...common, size: 0, target: await readlink(path) });
    else if (type === "dir") {
      files.push({ ...common, size: 0 });
      for (const name of (await readdir(path)).sort()) await visit(section, below === "" ? name : `${below}/${name}`);
    } else {
      const handle = await openRegular(path);
      if (handle === undefined) throw inconsistent(`${path} went away while it was read`);
      try {
        const seen = await hashHandle(handle);
        bytes += seen.size;
        files.push({ ...common, size: seen.size, sha256: seen.sha256 });
      } finally {
        await handle.close();
      }
    }
  };
  for (const section of plan.sections) {
    const { name, kind, path } = section;
    if (path === undefined) continue;
    const stat = await lstatIfThere(path);
    // A section that is itself a link would be replaced by what it leads to.
    if (stat?.isSymbolicLink() === true)
      throw new SlipwayError("backup_failed", `${path} is a link; name what it leads to`, {
        detail: "link",
        place: path,
        hint: "correct the path of the section",
      });
    if (stat !== undefined && kind === "file" && !stat.isFile())
      throw new SlipwayError("backup_failed", `${path} is no file; the section ${name} says that it is one`, {
        place: path,
        hint: "correct the kind of the section",
      });
    const isFolder = stat?.isDirectory() === true;
    sections.push({ name, kind: stat === undefined ? kind : isFolder ? "dir" : "file", path, isPresent: stat !== undefined });
    if (stat !== undefined) await visit(section, "");
  }
  return { files, sections, bytes, marks: marks.digest("hex") };
}

/** Runs the dump commands, each into a private file, and looks at what they wrote. */
async function dumpSections(plan: BackupPlan, folder: string): Promise<Pick<Look, "files" | "sections">> {
  const files: BackupFile[] = [];
  const sections: BackupManifest["sections"] = [];
  for (const section of plan.sections) {
    if (section.dump === undefined) continue;
    const { name, dump, inspect, timeout_seconds: timeoutSeconds } = section;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, name);
    const before = await countOf(plan.machine, section);
    await runHook(plan.machine, withDump(dump, path), { what: `dump of ${name}`, timeoutSeconds });
    if ((await countOf(plan.machine, section)) !== before) throw inconsistent(`the section ${name} changed while it was dumped`);
    const handle = await openRegular(path);
    if (handle === undefined) throw new SlipwayError("backup_failed", `the dump command of ${name} wrote nothing at {file}`, { detail: "no_dump" });
    try {
      const { size, sha256 } = await hashHandle(handle);
      if (size === 0) throw new SlipwayError("backup_failed", `the dump of ${name} is empty`, { detail: "no_dump" });
      await handle.chmod(0o600);
      files.push({ path: name, type: "file", size, sha256, mode: 0o600, uid: 0, gid: 0, mtime: (await handle.stat()).mtimeMs });
    } finally {
      await handle.close();
    }
    if (inspect !== undefined) await runHook(plan.machine, withDump(inspect, path), { what: `inspection of the dump of ${name}`, timeoutSeconds });
    sections.push({ name, kind: "cmd", isPresent: true, ...(before === undefined ? {} : { count: before }) });
  }
  return { files, sections };
}

/** What a section's count command prints; undefined where it has none. Throws `backup_failed` where that is no number. */
export async function countOf(machine: Machine, section: StateSection): Promise<number | undefined> {
  if (section.count === undefined) return undefined;
  const text = (await runHook(machine, section.count, { what: `count of ${section.name}`, timeoutSeconds: section.timeout_seconds })).trim();
  if (!/^-?\d{1,15}$/.test(text))
    throw new SlipwayError("backup_failed", `the count command of ${section.name} printed ${JSON.stringify(text.slice(0, 80))}, which is no number`, {
      detail: "count",
    });
  return Number(text);
}

/** Files and folders beside the sections that no backup holds: state that was forgotten, or is none. */
export async function uncoveredEntries(stateDir: string, sections: readonly StateSection[]): Promise<readonly string[]> {
  if ((await lstatIfThere(stateDir)) === undefined) return [];
  const paths = sections.flatMap(({ path }) => (path === undefined ? [] : [path]));
  return (await readdir(stateDir))
    .filter((name) => name !== "updates")
    .map((name) => join(stateDir, name))
    .filter((path) => !paths.some((covered) => covered === path || covered.startsWith(`${path}/`) || path.startsWith(`${covered}/`)))
    .sort();
}
