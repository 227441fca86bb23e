/**
 * Opens a bundle as a source of a sync. First the whole archive is read once and every member is held against the bundle's own manifest: damage,
 * strange members and names are refused before anything of the mirror is touched. That proves wholeness, not origin: who made the bundle is
 * decided by the sync, which checks every signature as if the files came from a server.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { readTar, type TarMember, type TarRefusal } from "../formats/tar-read.ts";
import { readFileBounded, readNamedFile } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import type { BlobPool } from "./blob-pool.ts";
import {
  type BundleManifest,
  bundleManifestLimit,
  bundleManifestName,
  bundleScriptName,
  bundleSumsName,
  bundleTree,
  parseBundleManifest,
} from "./bundle-manifest.ts";
import type { SetFile } from "./file-set.ts";
import { type MirrorSource, writePart } from "./source.ts";

export type Bundle = {
  readonly manifest: BundleManifest;
  /** `pool` lends the files of an earlier bundle that this one leaves out. */
  readonly source: (pool: BlobPool) => MirrorSource;
};

type Place = { readonly offset: number; readonly size: number };

const memberLimit = 2_000_010;
const partLimit = 999;

/** `FILE`, or its parts `FILE.001` and so on. Throws `source_missing`, `format_invalid`, `path_unsafe`, `interrupted`. */
export async function openBundle(path: string, options: { readonly signal: AbortSignal; readonly onProgress: (bytes: number) => void }): Promise<Bundle> {
  const parts = await findParts(path);
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    let done = 0;
    for (const part of parts) {
      for await (const piece of createReadStream(part.path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
        if (options.signal.aborted) throw new SlipwayError("interrupted", `${path}: interrupted; nothing was changed`);
        yield piece;
        done += piece.length;
        options.onProgress(done);
      }
    }
  };
  let manifest: BundleManifest | undefined;
  const reading: Reading = { path, wanted: new Map(), places: new Map(), here: new Set() };
  for await (const member of readTar(bytes(), { name: path, memberLimit, pax: "read" })) {
    if (manifest === undefined) {
      manifest = await readManifest(member, path);
      for (const file of manifest.set.files) reading.wanted.set(`${bundleTree}${file.path}`, file);
    } else await readMember(member, reading);
  }
  if (manifest === undefined) throw new SlipwayError("format_invalid", `${path} is empty`, { place: path });
  const { places, here } = reading;
  const read = manifest;
  if (read.since === undefined) {
    const lost = read.set.files.find((file) => !here.has(file.path));
    if (lost !== undefined) throw new SlipwayError("format_invalid", `${path} lists ${lost.path} and does not hold it`, { place: path, detail: "truncated" });
  }
  return { manifest: read, source: (pool) => bundleSource({ path, parts, places, manifest: read, pool }) };
}

/** The manifest alone, of a bundle or of the `.manifest.json` that was written beside it. */
export async function readBundleManifest(path: string): Promise<BundleManifest> {
  if (path.endsWith(".json")) return parseBundleManifest(await readNamedFile(path, bundleManifestLimit), path);
  const [first] = await findParts(path);
  if (first === undefined) throw new SlipwayError("source_missing", `there is no ${path}`, { place: path });
  for await (const member of readTar(createReadStream(first.path) as AsyncIterable<Buffer>, { name: path, memberLimit, pax: "read" }))
    return readManifest(member, path);
  throw new SlipwayError("format_invalid", `${path} is empty`, { place: path });
}

/** Bytes of all parts: for a progress bar. */
export async function bundleFileSize(path: string): Promise<number> {
  return (await findParts(path)).reduce((sum, part) => sum + part.size, 0);
}

type Part = { readonly path: string; readonly start: number; readonly size: number };

async function findParts(path: string): Promise<readonly Part[]> {
  const whole = await sizeOf(path);
  const base = path.replace(/\.001$/, "");
  if (whole !== undefined && base === path) return [{ path, start: 0, size: whole }];
  const parts: Part[] = [];
  for (let number = 1; number <= partLimit; number += 1) {
    const part = `${base}.${String(number).padStart(3, "0")}`;
    const size = await sizeOf(part);
    if (size === undefined) break;
    const before = parts.at(-1);
    parts.push({ path: part, start: before === undefined ? 0 : before.start + before.size, size });
  }
  if (parts.length === 0) throw new SlipwayError("source_missing", `there is no ${path} and no ${base}.001`, { place: path });
  return parts;
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const status = await stat(path);
    if (!status.isFile()) throw new SlipwayError("source_unusable", `${path} is not a regular file`, { place: path });
    return status.size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function readManifest(member: TarMember | TarRefusal, path: string): Promise<BundleManifest> {
  if (member.kind !== "file" || member.path !== bundleManifestName)
    throw new SlipwayError("format_invalid", `${path} is no bundle of a mirror`, { place: path });
  if (member.sizeBytes > bundleManifestLimit) throw new SlipwayError("format_limit", `${path}: the manifest has ${member.sizeBytes} bytes`, { place: path });
  const pieces: Uint8Array[] = [];
  for await (const piece of member.body()) pieces.push(Uint8Array.from(piece));
  return parseBundleManifest(Buffer.concat(pieces), path);
}

type Reading = {
  readonly path: string;
  /** By name in the archive. */
  readonly wanted: Map<string, SetFile>;
  /** By digest: where its bytes stand. */
  readonly places: Map<string, Place>;
  /** Paths of the tree that are here, as content or as a link to content that is. */
  readonly here: Set<string>;
};

async function readMember(member: TarMember | TarRefusal, { path, wanted, places, here }: Reading): Promise<void> {
  const refuse = (name: string, detail: string): SlipwayError =>
    new SlipwayError("path_unsafe", `${path}: refusing the member ${JSON.stringify(name.slice(0, 200))}`, {
      place: path,
      detail,
      hint: "the bundle was not made by slipway, or was changed; nothing was imported",
    });
  if (member.kind === "refused") {
    // A further path of content that stands before: the manifest says which; the link's own target is never looked at.
    const file = member.reason === "hard_link" ? wanted.get(member.name) : undefined;
    if (file === undefined || here.has(file.path) || !places.has(file.sha256)) throw refuse(member.name, member.reason);
    here.add(file.path);
    return;
  }
  if (member.kind === "file" && (member.path === bundleSumsName || member.path === bundleScriptName)) return;
  const file = wanted.get(member.path);
  if (member.kind !== "file" || file === undefined || member.storedName !== member.path || here.has(file.path)) throw refuse(member.storedName, "not_listed");
  const hash = createHash("sha256");
  for await (const piece of member.body()) hash.update(piece);
  if (member.sizeBytes !== file.size || hash.digest("hex") !== file.sha256)
    throw new SlipwayError("format_invalid", `${path}: ${file.path} is damaged`, {
      place: path,
      detail: "hash_mismatch",
      hint: "copy the bundle again; nothing was imported",
    });
  here.add(file.path);
  places.set(file.sha256, { offset: member.offset, size: file.size });
}

type Opened = {
  readonly path: string;
  readonly parts: readonly Part[];
  readonly places: ReadonlyMap<string, Place>;
  readonly manifest: BundleManifest;
  readonly pool: BlobPool;
};

function bundleSource({ path, parts, places, manifest, pool }: Opened): MirrorSource {
  const files = new Map(manifest.set.files.map((file) => [file.path, file]));
  const missing = (file: SetFile): SlipwayError =>
    new SlipwayError("source_missing", `${path} is an addition to the set ${manifest.since ?? ""} and leaves ${file.path} out, which this mirror has not`, {
      place: path,
      hint: "import the bundle before it first, or ask for a whole one (slipway mirror export without --since)",
    });
  return {
    name: manifest.set.source,
    imagesAs: "layout",
    isLive: false,
    read: async (wanted, { limit }) => {
      const file = files.get(wanted);
      if (file === undefined) return undefined;
      if (file.size > limit) throw new SlipwayError("too_large", `${wanted} has ${file.size} bytes; the limit is ${limit}`);
      const place = places.get(file.sha256);
      if (place !== undefined) {
        const pieces: Uint8Array[] = [];
        for await (const piece of bytesAt(parts, place)) pieces.push(piece);
        return Buffer.concat(pieces);
      }
      if ((await pool.find({ size: file.size, proof: { kind: "sha256", hex: file.sha256 } })) === undefined) throw missing(file);
      return readFileBounded(pool.pathOf(file.sha256), limit);
    },
    goneVersion: async () => undefined,
    fetchPart: async (request) => {
      const file = files.get(request.path);
      if (file === undefined) throw new SlipwayError("not_found", `${path} has no ${request.path}`, { place: path });
      const place = places.get(file.sha256);
      if (place === undefined) throw missing(file);
      await writePart(bytesAt(parts, place), request);
      return { resumedFrom: 0 };
    },
    close: async () => undefined,
  };
}

/** A stretch of the archive, across its parts. */
async function* bytesAt(parts: readonly Part[], { offset, size }: Place): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    const start = Math.max(offset, part.start);
    const end = Math.min(offset + size, part.start + part.size);
    if (start >= end) continue;
    yield* createReadStream(part.path, { start: start - part.start, end: end - part.start - 1 }) as AsyncIterable<Buffer>;
  }
}
