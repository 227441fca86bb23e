/**
 * One set of the mirror: a folder of hard links that readers see as a whole, and the switch from a set to the next.
 *
 *   blobs/…                 every byte once (blob-pool.ts)
 *   sets/<id>/              the tree: apt/ yum/ apk/ releases/ images/ keys/, never changed once it has its name
 *   sets/<id>.json          its manifest, and `<id>.gone.json`: what is gone from it, and why (gone.ts)
 *   current -> sets/<id>    what nginx, `file:` and `slipway mirror serve` read
 *
 * Order: blobs, then `sets/.<id>.new` full of links and durable, then the manifest, then its name, then `current` by rename. A crash before the
 * last step leaves the old set in place. Files that left stay for some hours in the new set too, where their path names their content: a client that
 * read the old index a moment ago finds what it lists.
 */
import { chmod, lstat, mkdir, readdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { safeJoin } from "../io/safe-path.ts";
import { SlipwayError } from "../model/errors.ts";
import { type BlobPool, linkBlob } from "./blob-pool.ts";
import { productSelectionSchema } from "./settings.ts";

const hexSchema = z.string().regex(/^[0-9a-f]{64}$/);

const setFileSchema = z.strictObject({
  /** Relative to the tree. */
  path: z.string().min(1).max(1024),
  /** Bytes. */
  size: z.int().nonnegative(),
  sha256: hexSchema,
  /** The path names the content: the next set has the same bytes under it, or nothing. */
  immutable: z.boolean(),
  /** Of a file that left: how long it stays. */
  until: z.iso.datetime().optional(),
});
export type SetFile = Readonly<z.output<typeof setFileSchema>>;

const setProductSchema = z.strictObject({
  selection: productSelectionSchema,
  /** Whose indexes these are: the vendor's as they came, or ours over a part. */
  indexes: z.enum(["upstream", "own"]),
  /** Newest first. */
  versions: z.array(z.string().max(128)).max(10_000),
  /** Repositories below `images/` that are this product's. */
  images: z.array(z.string().max(255)).max(1_000),
  /**
   * How new each part is, by its place (`apt/acme/stable`): the date of the release file or the revision of repomd.xml in seconds, the highest
   * sequence of the releases. A lower one than before is a rollback.
   */
  marks: z.record(z.string().max(300), z.int().nonnegative()),
});
export type SetProduct = Readonly<z.output<typeof setProductSchema>>;

export const setManifestSchema = z.strictObject({
  schema: z.literal(1),
  id: z.string().regex(/^[0-9]{8}T[0-9]{9}Z-[0-9a-f]{8}$/),
  createdAt: z.iso.datetime(),
  source: z.string().max(2_048),
  products: z.record(z.string().max(63), setProductSchema),
  /** Sorted by path, each once. */
  files: z.array(setFileSchema).max(2_000_000),
});
export type SetManifest = Readonly<Omit<z.output<typeof setManifestSchema>, "files" | "products">> & {
  readonly files: readonly SetFile[];
  readonly products: Readonly<Record<string, SetProduct>>;
};

/** A manifest of 2 million files has 400 MB; beyond that a mirror is to be split by product. */
export const setManifestLimit = 512 * 1024 * 1024;

const currentName = "current";

/** Of the set that readers see; undefined for a mirror that has none yet. Throws `format_invalid` for a damaged manifest. */
export async function readCurrentSet(directory: string): Promise<SetManifest | undefined> {
  const id = await currentId(directory);
  if (id === undefined) return undefined;
  return readSetManifest(join(directory, "sets", `${id}.json`));
}

/** Throws `format_invalid` for what is no manifest of a mirror's set, `source_missing` where there is none. */
export async function readSetManifest(path: string): Promise<SetManifest> {
  let bytes: Buffer;
  try {
    bytes = await readFileBounded(path, setManifestLimit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `${path} is not there`, { place: path, cause: error });
  }
  return parseSetManifest(bytes, path);
}

/** Paths are checked too: relative, without `..`, each once. */
export function parseSetManifest(bytes: Uint8Array, place: string): SetManifest {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (error) {
    throw new SlipwayError("format_invalid", `${place} is not JSON`, { place, cause: error });
  }
  const parsed = setManifestSchema.safeParse(value);
  if (!parsed.success) {
    throw new SlipwayError("format_invalid", `${place} is no manifest of a mirror's set: ${z.prettifyError(parsed.error).split("\n")[0] ?? ""}`, { place });
  }
  const seen = new Set<string>();
  for (const { path } of parsed.data.files) {
    safeJoin("/tree", path);
    if (seen.has(path)) throw new SlipwayError("format_invalid", `${place} lists ${path} twice`, { place });
    seen.add(path);
  }
  return parsed.data;
}

/** The folder that readers see; undefined where nothing was synced yet. */
export async function currentTree(directory: string): Promise<string | undefined> {
  const id = await currentId(directory);
  return id === undefined ? undefined : join(directory, "sets", id);
}

async function currentId(directory: string): Promise<string | undefined> {
  let target: string;
  try {
    target = await readlink(join(directory, currentName));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code === "EINVAL") throw new SlipwayError("conflict", `${join(directory, currentName)} is not a link that slipway made`, { place: directory });
    throw error;
  }
  const [, id] = /^sets\/([^/]+)$/.exec(target) ?? [];
  if (id === undefined) throw new SlipwayError("conflict", `${join(directory, currentName)} does not lead to a set of this mirror`, { place: directory });
  return id;
}

/** The files of the next set: the new ones, and for some hours those of the last set whose place nobody took, unless they `mustGo`. Sorted by path. */
export function withLeavingFiles(
  next: readonly SetFile[],
  last: readonly SetFile[],
  options: { readonly now: Date; readonly keepMs: number; readonly mustGo: (path: string) => boolean },
): readonly SetFile[] {
  const files = new Map(next.map((file) => [file.path, file]));
  const folders = new Set(next.flatMap(({ path }) => parentFolders(path)));
  for (const file of last) {
    if (!file.immutable || files.has(file.path) || folders.has(file.path) || options.mustGo(file.path)) continue;
    const until = file.until ?? new Date(options.now.getTime() + options.keepMs).toISOString();
    if (Date.parse(until) > options.now.getTime()) files.set(file.path, { ...file, until });
  }
  return [...files.values()].sort((left, right) => (left.path < right.path ? -1 : 1));
}

function parentFolders(path: string): readonly string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, depth) => parts.slice(0, depth + 1).join("/"));
}

/** True where readers would see no difference. */
export function isSameSet(left: readonly SetFile[], right: readonly SetFile[]): boolean {
  return left.length === right.length && left.every((file, at) => file.path === right[at]?.path && file.sha256 === right[at].sha256);
}

/** `20261121T111500123Z-` and the start of the digest: sorts by time, and two sets of one instant differ. */
export function setId(now: Date, salt: string): string {
  return `${now.toISOString().replaceAll(/[-:.]/g, "")}-${salt.slice(0, 8)}`;
}

/** Builds the set aside, then switches to it. Every blob is here. On failure the old set stands. */
export async function switchToSet(directory: string, pool: BlobPool, manifest: SetManifest): Promise<void> {
  const sets = join(directory, "sets");
  await mkdir(sets, { recursive: true, mode: 0o755 });
  const aside = join(sets, `.${manifest.id}.new`);
  await rm(aside, { recursive: true, force: true });
  await mkdir(aside);
  await outliveSecond(join(directory, currentName));
  const folders = new Set([aside]);
  for (const file of manifest.files) {
    const path = safeJoin(aside, file.path);
    await makeFolders(dirname(path), folders);
    await linkBlob(pool.pathOf(file.sha256), path);
  }
  for (const folder of folders) {
    await chmod(folder, 0o755); // the umask must not decide: web servers read here
    await syncDirectory(folder);
  }
  await writeFileAtomic(join(sets, `${manifest.id}.json`), `${JSON.stringify(manifest)}\n`, { mode: 0o644 });
  await rename(aside, join(sets, manifest.id));
  await syncDirectory(sets);
  const link = join(directory, `.${currentName}.new`);
  await rm(link, { force: true });
  await symlink(`sets/${manifest.id}`, link);
  await rename(link, join(directory, currentName));
  await syncDirectory(directory);
}

/**
 * HTTP dates a file by whole seconds, and apt asks by nothing else: who fetched an index in the second of the last switch would be told that
 * the next one is not modified. So the links of a set are made in a later second.
 */
async function outliveSecond(current: string): Promise<void> {
  const last = await lstat(current).catch(() => undefined);
  if (last === undefined) return;
  const restMs = (Math.floor(last.ctimeMs / 1000) + 1) * 1000 - Date.now();
  if (restMs > 0) await sleep(Math.min(restMs, 1000));
}

async function makeFolders(path: string, known: Set<string>): Promise<void> {
  const missing: string[] = [];
  for (let folder = path; !known.has(folder); folder = dirname(folder)) missing.push(folder);
  for (const folder of missing.toReversed()) {
    await mkdir(folder);
    known.add(folder);
  }
}

/** Removes sets that nobody sees any more and what killed runs left of them. The present and the last one stay: readers may be in it. */
export async function removeOldSets(directory: string): Promise<void> {
  const sets = join(directory, "sets");
  const current = await currentId(directory);
  const names = await readdir(sets);
  const ids = names.filter((name) => /^\d{8}T\d{9}Z-[0-9a-f]{8}$/.test(name)).sort();
  const earlier = ids.filter((id) => current !== undefined && id < current).at(-1);
  for (const name of names) {
    const id = name.replace(/(?:\.gone)?\.json$/, "");
    if (id === current || id === earlier) continue;
    await rm(join(sets, name), { recursive: true, force: true });
  }
}

/** True where the path is a folder or file of any kind. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
