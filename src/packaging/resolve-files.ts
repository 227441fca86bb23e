/**
 * Looks at the disk for what the rules name: files, folders and patterns become the list of what goes into an artifact. Folders are walked with
 * calls that block: there are several for each of thousands of files, and a trip to the thread pool costs more than what it would wait for.
 */
import { accessSync, closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { glob, lstat, realpath } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { comparePaths } from "../formats/entry-path.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Target } from "../model/target.ts";
import { type FileNature, natureOf, natureSizeBytes } from "./executable.ts";
import { assertDistinct, baseName, type CopyRule, defaultDirectoryMode, type FileRule, isPattern, sourceName } from "./file-rules.ts";
import { requireInstallableName } from "./installable-name.ts";
import { isSharedDirectory } from "./shared-directories.ts";
import { sourceFailure } from "./source-failure.ts";

type ResolvedCommon = {
  /** Absolute, in an archive from its top: `/usr/bin/jaco`. */
  readonly destination: string;
  readonly owner: string;
  readonly group: string;
  /** The source as messages name it. */
  readonly source: string;
  readonly place: string;
};
export type ResolvedFile = ResolvedCommon & {
  readonly kind: "file";
  readonly path: string;
  readonly size: number;
  readonly mode: number;
  readonly config?: "noreplace" | "replace" | "missingok";
  readonly isDoc?: boolean;
  readonly isLicense?: boolean;
};
export type ResolvedLink = ResolvedCommon & { readonly kind: "symlink"; readonly target: string };
export type ResolvedDirectory = ResolvedCommon & { readonly kind: "directory"; readonly mode: number };
/** Only in packages. */
export type ResolvedGhost = ResolvedCommon & { readonly kind: "ghost"; readonly mode: number };
export type ResolvedEntry = ResolvedFile | ResolvedLink | ResolvedDirectory | ResolvedGhost;

/** A built binary on disk. */
export type BinaryFile = { readonly path: string; readonly size: number };
/** The binary of that name for a target; throws `source_missing` where there is none. */
export type FindBinary = (target: Target, name: string, place: string) => BinaryFile;

export type ResolveContext = {
  /** The recipe's folder, absolute. */
  readonly folder: string;
  readonly target: Target;
  readonly findBinary: FindBinary;
  /** For messages: `packages.files`. */
  readonly subject: string;
  /** Largest file that every format holds; none by default. */
  readonly fileLimitBytes?: number;
  /** Where releases are written, absolute: no source may hold it, or every build would ship the ones before, and itself half-written. */
  readonly outFolder?: string | undefined;
};

const specialBits = 0o7000;
const programMode = 0o755;
const plainMode = 0o644;

/**
 * The entries for these rules, sorted by destination in byte order, each once. Links inside folders and matched by patterns are kept as links
 * and never followed. Throws `source_missing`, `source_unusable` (a device, an unasked setuid bit), `path_unsafe` (a link out of the folder),
 * `format_limit` and RecipeError for two sources with one destination; each names the line of the recipe.
 */
export async function resolveFiles(rules: readonly FileRule[], context: ResolveContext): Promise<readonly ResolvedEntry[]> {
  const entries: ResolvedEntry[] = [];
  for (const rule of rules) entries.push(...(await resolveRule(rule, context)));
  const sorted = entries.toSorted((left, right) => comparePaths(left.destination, right.destination));
  assertDistinct(
    sorted.map((entry) => ({ ...entry, isDirectory: entry.kind === "directory" })),
    context.subject,
  );
  for (const entry of sorted) refuseTooLarge(entry, context);
  return sorted;
}

function refuseTooLarge(entry: ResolvedEntry, { subject, fileLimitBytes }: ResolveContext): void {
  if (fileLimitBytes === undefined || entry.kind !== "file" || entry.size <= fileLimitBytes) return;
  const { source, size, place } = entry;
  throw new SlipwayError("format_limit", `${subject}: ${source} has ${size} bytes; a file of a package ends at ${fileLimitBytes}`, {
    place,
    hint: "split it, or ship it as an archive beside the packages",
  });
}

/** What the disk refuses says which line asked for it. */
async function resolveRule(rule: FileRule, context: ResolveContext): Promise<readonly ResolvedEntry[]> {
  try {
    const entries = await lookFor(rule, context);
    for (const entry of entries) requireInstallableName(entry, context.subject);
    return entries;
  } catch (error) {
    throw sourceFailure(error, { what: `${context.subject}: ${sourceName(rule)}`, folder: context.folder, place: rule.place });
  }
}

async function lookFor(rule: FileRule, context: ResolveContext): Promise<readonly ResolvedEntry[]> {
  const { destination, owner, group, place } = rule;
  const common = { destination, owner, group, place, source: sourceName(rule) };
  if (rule.kind === "link") return [{ kind: "symlink", target: rule.target, ...common }];
  if (rule.kind !== "copy") return [{ kind: rule.kind, mode: rule.mode, ...common }];
  if (rule.source.kind === "binary") {
    const binary = context.findBinary(context.target, rule.source.name, place);
    const into = destination.endsWith("/") ? `${destination}${rule.source.name}` : destination;
    return [{ ...common, kind: "file", destination: into, path: binary.path, size: binary.size, mode: rule.mode ?? programMode, ...marksOf(rule) }];
  }
  if (!isPattern(rule.source.name)) return resolvePath(rule, rule.source.name, context);
  const matches: string[] = [];
  for await (const match of glob(rule.source.name, { cwd: context.folder })) matches.push(match.split(sep).join("/"));
  if (matches.length === 0) throw new SlipwayError("source_missing", `${context.subject}: nothing matches ${rule.source.name}`, { place });
  const entries: ResolvedEntry[] = [];
  for (const match of matches.toSorted(comparePaths)) entries.push(...(await resolvePath(rule, match, context)));
  return entries;
}

async function resolvePath(rule: CopyRule, name: string, context: ResolveContext): Promise<readonly ResolvedEntry[]> {
  const path = join(context.folder, name);
  const destination = rule.destination.endsWith("/") ? rule.destination + baseName(name) : rule.destination;
  const from = { rule, context, source: name };
  const real = await realPathInside(path, from);
  if (real === undefined) return [];
  const isLinkKept = isPattern(rule.source.name) && (await lstat(path)).isSymbolicLink();
  const entries: ResolvedEntry[] = [];
  const out = context.outFolder === undefined ? {} : { outFolder: join(await realpath(context.folder), relative(context.folder, context.outFolder)) };
  addTree(entries, isLinkKept ? path : real, { destination, from: { ...from, ...out } });
  return entries;
}

type From = { readonly rule: CopyRule; readonly context: ResolveContext; readonly source: string /** With its links followed. */; readonly outFolder?: string };

/** The path with its links followed, undefined where an optional one is not there; a link that leads out of the recipe's folder could ship any file of the build machine. */
async function realPathInside(path: string, from: From): Promise<string | undefined> {
  const { place } = from.rule;
  let real: string;
  try {
    real = await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    if (from.rule.isOptional === true) return undefined;
    throw new SlipwayError("source_missing", `${from.context.subject}: there is no ${from.source}`, { place, cause: error });
  }
  const folder = await realpath(from.context.folder);
  const way = relative(folder, real);
  if (way === ".." || way.startsWith(`..${sep}`)) {
    throw new SlipwayError("path_unsafe", `${from.context.subject}: ${from.source} is a link out of the recipe's folder`, { place });
  }
  return real;
}

/** Adds what is at `path`, and everything below it. */
function addTree(entries: ResolvedEntry[], path: string, { destination, from }: { readonly destination: string; readonly from: From }): void {
  const { rule, source } = from;
  const { owner, group, place } = rule;
  const common = { destination, owner, group, place, source };
  requireInstallableName({ destination, source, place }, from.context.subject); // before a name that was read wrongly is looked for
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) {
    entries.push({ kind: "symlink", target: readlinkSync(path), ...common });
    return;
  }
  if (stat.isDirectory()) {
    if (from.outFolder === path) {
      throw new SlipwayError("source_unusable", `${from.context.subject}: ${rule.source.name} holds ${baseName(path)}/, where the release is written`, {
        place,
        hint: "name what of it belongs in the package, or build with --out into another folder",
      });
    }
    if (!isSharedDirectory(destination)) entries.push({ kind: "directory", mode: defaultDirectoryMode, ...common });
    for (const name of readdirSync(path)) {
      addTree(entries, join(path, name), { destination: `${destination}/${name}`, from: { ...from, source: `${source.replace(/\/+$/, "")}/${name}` } });
    }
    return;
  }
  if (!stat.isFile()) throw new SlipwayError("source_unusable", `${from.context.subject}: ${source} is neither a file nor a folder`, { place });
  if ((stat.mode & specialBits) !== 0 && rule.mode === undefined) {
    const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
    throw new SlipwayError("source_unusable", `${from.context.subject}: ${source} has the mode ${mode} with setuid, setgid or sticky, which nobody asked for`, {
      place,
      hint: `write mode: "${mode}" beside from if it is meant, or chmod the file`,
    });
  }
  accessSync(path, constants.R_OK); // said now, with the line, and not when half of the artifacts are written
  const mode = rule.mode ?? ((stat.mode & 0o100) !== 0 || readNature(path).kind !== "other" ? programMode : plainMode);
  entries.push({ ...common, kind: "file", path, size: stat.size, mode, ...marksOf(rule) });
}

function marksOf({ config, isDoc, isLicense }: CopyRule): Pick<ResolvedFile, "config" | "isDoc" | "isLicense"> {
  return {
    ...(config === undefined ? {} : { config }),
    ...(isDoc === undefined ? {} : { isDoc }),
    ...(isLicense === undefined ? {} : { isLicense }),
  };
}

/** Used again for each file: nothing that is made of it outlives the call. */
const head = Buffer.alloc(natureSizeBytes);

/** What the file's first bytes say it is. */
export function readNature(path: string): FileNature {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // a FIFO put there meanwhile must not hang us
  try {
    return natureOf(head.subarray(0, readSync(file, head)));
  } finally {
    closeSync(file);
  }
}
