/**
 * The backup archive `.rbk`: a POSIX tar, whole or gzipped, that says of every file what it must be (updater facts 3.8).
 *
 *     manifest.json             sections, files with size, mode, owner, mtime, sha256; the first member
 *     data/<section>[/<path>]   the files, in the manifest's order; of a section `cmd` the dump
 *     manifest.sha256           hash of manifest.json; the last member, so that a cut archive shows
 *
 * It names no command that a restore would run: those come from the installation that restores.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { z } from "zod";
import { lazyObject } from "../model/lazy-object.ts";
import { decompress } from "../formats/decompress.ts";
import { createTarWriter } from "../formats/tar.ts";
import { readTar, requireMember, type TarMember } from "../formats/tar-read.ts";
import { readStreamBounded } from "../io/bounded-read.ts";
import { readHandle } from "../io/hash-file.ts";
import { SlipwayError } from "../model/errors.ts";
import { openRegular } from "./file-tree.ts";
import { isPlainRelative } from "./installation.ts";

const manifestMember = "manifest.json";
const sumMember = "manifest.sha256";
/** A million files at 64 bytes of path each. */
const manifestLimitBytes = 256 * 1024 * 1024;
const entryLimit = 1_000_000;

const fileSchema = lazyObject(() => ({
  /** `<section>`, or `<section>/<path below it>`. */
  path: z.string().refine(isPlainRelative),
  type: z.enum(["file", "dir", "symlink"]),
  size: z.int().nonnegative(),
  mode: z.int().min(0).max(0o7777),
  uid: z.int().nonnegative(),
  gid: z.int().nonnegative(),
  /** Milliseconds since 1970. */
  mtime: z.number(),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  target: z.string().max(4096).optional(),
}));

const sectionSchema = lazyObject(() => ({
  name: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/),
  kind: z.enum(["dir", "file", "cmd"]),
  path: z.string().max(4096).optional(),
  /** False: there was nothing, and restoring makes it so again. */
  isPresent: z.boolean(),
  /** Kind cmd: what its count command printed. */
  count: z.number().optional(),
}));

const manifestSchema = lazyObject(() => ({
  schema: z.literal(1),
  product: z.string().max(63),
  version: z.string().max(128).optional(),
  /** Kind of data -> format, as the version that ran wrote it. */
  epochs: z.record(z.string(), z.int()).default({}),
  createdAt: z.iso.datetime(),
  hostIdHash: z.string().max(64).optional(),
  archiveOf: z.string().max(300),
  sections: z.array(sectionSchema).max(200),
  files: z.array(fileSchema).max(entryLimit),
  /** For people: the dump commands that ran. */
  hooks: z.array(z.array(z.string())).default([]),
  excludes: z.array(z.string()).default([]),
  totals: lazyObject(() => ({ files: z.int().nonnegative(), bytes: z.int().nonnegative() })),
}));

export type BackupManifest = z.infer<typeof manifestSchema>;
export type BackupFile = z.infer<typeof fileSchema>;

const memberOf = (file: BackupFile): string => `data/${file.path}`;
/** The section that a file belongs to, and its path below it; empty for the section itself. */
export function placeOf(file: BackupFile): { readonly section: string; readonly below: string } {
  const slash = file.path.indexOf("/");
  return slash === -1 ? { section: file.path, below: "" } : { section: file.path.slice(0, slash), below: file.path.slice(slash + 1) };
}

/** The state would not hold still; worth another try. */
export function inconsistent(text: string): SlipwayError {
  return new SlipwayError("backup_failed", text, {
    detail: "backup_inconsistent",
    hint: "name quiesce and unquiesce commands under backup: that make the product hold still, then run again",
  });
}

/** Writes the archive durably at `path`, which must not be there; `sourceOf` is where a file's content lies. Throws `backup_failed`. */
export async function writeArchive(options: {
  readonly path: string;
  readonly manifest: BackupManifest;
  readonly sourceOf: (file: BackupFile) => string;
  readonly isGzipped: boolean;
}): Promise<void> {
  const { path, manifest, sourceOf, isGzipped } = options;
  const text = Buffer.from(JSON.stringify(manifest));
  if (text.length > manifestLimitBytes || manifest.files.length > entryLimit)
    throw new SlipwayError("backup_failed", "the state has too many files for one backup");
  const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  try {
    const gzip = isGzipped ? createGzip({ level: 1 }) : undefined;
    const written =
      gzip === undefined
        ? Promise.resolve()
        : pipeline(gzip, async (pieces: AsyncIterable<Buffer>) => {
            for await (const piece of pieces) await handle.appendFile(piece);
          });
    written.catch(() => undefined); // awaited below; the writer's own failure comes first
    const sink = async (piece: Uint8Array): Promise<void> => {
      if (gzip === undefined) await handle.appendFile(piece);
      else if (!gzip.write(Buffer.from(piece))) await Promise.race([once(gzip, "drain"), written]); // a full disk ends it, too
    };
    const writer = createTarWriter(sink);
    const epochSeconds = Math.floor(Date.parse(manifest.createdAt) / 1000);
    const small = (name: string, bytes: Buffer): Promise<void> =>
      writer.add({ name, kind: "file", mode: 0o600, epochSeconds, pax: {} }, { size: bytes.length, open: () => asSource(bytes) });
    await small(manifestMember, text);
    for (const file of manifest.files) {
      const header = { name: memberOf(file), mode: file.mode, epochSeconds, pax: {} };
      if (file.type === "dir") await writer.add({ ...header, kind: "directory", name: `${header.name}/` });
      else if (file.type === "symlink") await writer.add({ ...header, kind: "symlink", target: file.target ?? "" });
      else await addFile(writer, { ...header, kind: "file" }, sourceOf(file), file);
    }
    await small(sumMember, Buffer.from(sumText(text)));
    await writer.end();
    gzip?.end();
    await written;
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const sumText = (manifest: Uint8Array): string => `${createHash("sha256").update(manifest).digest("hex")}  ${manifestMember}\n`;

async function* asSource(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

type Writer = ReturnType<typeof createTarWriter>;

async function addFile(writer: Writer, header: Parameters<Writer["add"]>[0], path: string, file: BackupFile): Promise<void> {
  const handle = await openRegular(path);
  if (handle === undefined) throw inconsistent(`${path} went away while it was backed up`);
  try {
    const source = { size: file.size, open: () => readHandle(handle) };
    const sha256 = await writer.addHashed(header, source, "sha256").catch((error: unknown) => {
      throw error instanceof SlipwayError && error.code === "source_unusable" ? inconsistent(error.message) : error;
    });
    if (sha256 !== file.sha256) throw inconsistent(`${path} changed while it was backed up`);
  } finally {
    await handle.close();
  }
}

export type ArchiveReading = {
  /** Called with the manifest before any content is read; may throw. */
  readonly onManifest?: ((manifest: BackupManifest) => Promise<void>) | undefined;
  /** Called with each entry and, for a file, its content, which must be read to the end. */
  readonly onFile?: ((file: BackupFile, content: AsyncIterable<Uint8Array>) => Promise<void>) | undefined;
};

/**
 * Reads an archive from end to end: every member is in the manifest, in its order, with its hash; returns the whole file's hash. Throws
 * `backup_failed` with detail `backup_damaged` for anything else. Nothing is written.
 */
export async function verifyBackup(path: string, reading: ArchiveReading = {}): Promise<{ readonly manifest: BackupManifest; readonly sha256: string }> {
  const refuse = (why: string): never => {
    throw damaged(path, why);
  };
  const handle = (await openRegular(path)) ?? refuse("it is not there");
  try {
    const whole = createHash("sha256");
    const source = watched(readHandle(handle), whole);
    const magic = Buffer.alloc(2);
    await handle.read(magic, 0, 2, 0);
    const isGzipped = magic[0] === 0x1f && magic[1] === 0x8b;
    // What comes out is bounded by the manifest: each member must have the size that it says there, and nothing may follow.
    const plain = isGzipped ? decompress(keepOpen(source), { codec: "gzip", limitBytes: Number.MAX_SAFE_INTEGER, name: path }) : keepOpen(source);
    let manifest: BackupManifest | undefined;
    try {
      manifest = await readMembers(plain, path, reading);
    } catch (error) {
      if (error instanceof SlipwayError && !damageCodes.has(error.code)) throw error;
      throw damaged(path, error instanceof Error ? error.message : String(error), error);
    }
    for await (const _ of source); // padding after the end counts for the hash
    return { manifest, sha256: whole.digest("hex") };
  } finally {
    await handle.close();
  }
}

/** What the readers below say of an archive that is not whole or not safe. */
const damageCodes = new Set<string>(["format_invalid", "format_limit", "path_unsafe", "too_large"]);

function damaged(path: string, why: string, cause?: unknown): SlipwayError {
  return new SlipwayError("backup_failed", `the backup ${path} cannot be used: ${why}`, {
    detail: "backup_damaged",
    place: path,
    hint: "nothing was changed; use another backup (`slipway backup list`)",
    cause,
  });
}

async function readMembers(plain: AsyncIterable<Uint8Array>, path: string, reading: ArchiveReading): Promise<BackupManifest> {
  const refuse = (why: string): never => {
    throw damaged(path, why);
  };
  let manifest: BackupManifest | undefined;
  let manifestText: Buffer = Buffer.alloc(0);
  let next = 0;
  let isEnded = false;
  for await (const seen of readTar(plain, { name: path, memberLimit: entryLimit + 2, pax: "read" })) {
    const member = requireMember(seen, path);
    if (manifest === undefined) {
      if (member.path !== manifestMember || member.kind !== "file" || member.sizeBytes > manifestLimitBytes) refuse("it does not begin with its manifest");
      manifestText = await readStreamBounded(member.body(), manifestLimitBytes, path);
      manifest = parseManifest(manifestText, refuse);
      await reading.onManifest?.(manifest);
      continue;
    }
    if (isEnded) refuse(`${member.path} comes after its end`);
    if (member.path === sumMember) {
      if (next !== manifest.files.length) refuse(`${manifest.files.length - next} files are missing`);
      if ((await readStreamBounded(member.body(), 1024, path)).toString("utf8") !== sumText(manifestText))
        refuse("its manifest is not the one that was written");
      isEnded = true;
      continue;
    }
    const file: BackupFile = manifest.files[next] ?? refuse(`${member.path} is not in its manifest`);
    next += 1;
    await readMember(member, file, { refuse, onFile: reading.onFile });
  }
  if (manifest === undefined) return refuse("it is empty");
  if (!isEnded) refuse("it is cut off");
  return manifest;
}

async function readMember(
  member: TarMember,
  file: BackupFile,
  { refuse, onFile }: { readonly refuse: (why: string) => never; readonly onFile: ArchiveReading["onFile"] },
): Promise<void> {
  const kind = file.type === "dir" ? "directory" : file.type;
  if (member.path !== memberOf(file) || member.kind !== kind || member.sizeBytes !== file.size || (file.target ?? "") !== (member.target ?? ""))
    refuse(`${member.path} is not what its manifest says`);
  const hash = createHash("sha256");
  const hashed = watched(member.body(), hash);
  if (onFile === undefined) for await (const _ of hashed);
  else await onFile(file, hashed);
  if (file.type === "file" && hash.digest("hex") !== file.sha256) refuse(`${member.path} has another content than its manifest says`);
}

async function* watched(source: AsyncIterable<Uint8Array>, hash: ReturnType<typeof createHash>): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    hash.update(piece);
    yield piece;
  }
}

/** Hands the pieces on without closing the source when the reader stops at the archive's end. */
function keepOpen(source: AsyncGenerator<Uint8Array>): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => ({ next: () => source.next() }) };
}

/** File systems of these fold case: two names that differ in it alone would be one file. */
const foldsCase = process.platform === "darwin" || process.platform === "win32";

/** The manifest, judged as a whole before anything that it describes is read. */
function parseManifest(text: Buffer, refuse: (why: string) => never): BackupManifest {
  let value: unknown;
  try {
    value = JSON.parse(text.toString("utf8"));
  } catch {
    return refuse("its manifest is not JSON");
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) return refuse(`its manifest: ${z.prettifyError(parsed.error).split("\n")[0] ?? ""}`);
  const manifest = parsed.data;
  const sections = new Map(manifest.sections.map((section) => [section.name, section]));
  if (sections.size !== manifest.sections.length) refuse("two sections have the same name");
  const types = new Map<string, BackupFile["type"]>();
  const total = { files: 0, bytes: 0 };
  for (const file of manifest.files) {
    const { section, below } = placeOf(file);
    const declared = sections.get(section);
    if (declared?.isPresent !== true) refuse(`${file.path} belongs to no section`);
    const key = foldsCase ? file.path.toLowerCase() : file.path;
    if (types.has(key)) refuse(`${file.path} stands there twice`);
    const parent = file.path.slice(0, Math.max(0, file.path.lastIndexOf("/")));
    if (below !== "" && types.get(foldsCase ? parent.toLowerCase() : parent) !== "dir") refuse(`${file.path} lies in no folder of the backup`);
    if (declared?.kind !== "dir" && below !== "") refuse(`${file.path}: the section is no folder`);
    if ((file.type === "file") !== (file.sha256 !== undefined) || (file.type === "symlink") !== (file.target !== undefined))
      refuse(`${file.path} is described by halves`);
    types.set(key, file.type);
    if (file.type !== "file" && file.size !== 0) refuse(`${file.path} has a size and is no file`);
    if (file.type === "file") total.files += 1;
    total.bytes += file.size;
  }
  if (total.files !== manifest.totals.files || total.bytes !== manifest.totals.bytes) refuse("its totals are wrong");
  for (const section of manifest.sections) if (section.isPresent && !types.has(section.name)) refuse(`the section ${section.name} is empty`);
  return manifest;
}

/** Links that lead out of their section: a later write through one would land elsewhere. */
export function outwardLinks(manifest: BackupManifest): readonly BackupFile[] {
  return manifest.files.filter((file) => {
    if (file.type !== "symlink" || file.target === undefined) return false;
    if (file.target.startsWith("/")) return true;
    let depth = placeOf(file).below.split("/").length - 1;
    for (const part of file.target.split("/")) {
      if (part === "..") depth -= 1;
      else if (part !== "." && part !== "") depth += 1;
      if (depth < 0) return true;
    }
    return false;
  });
}
