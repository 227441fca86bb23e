/**
 * Releases that were carried here (`slipway upgrade install --file`): a bundle of `slipway mirror export`, a mirror's folder, or the files of one
 * release in a folder or a tar. It answers as the vendor's server would, below a `file:` address, so that everything behind it (signatures, TUF,
 * progress, policy, resuming) is the same as with a network. Nothing in it is believed.
 *
 *     mirror bundle    manifest.json, tree/releases/<product>/index.json, tree/releases/<product>/<version>/…, tree/tuf/…
 *     mirror folder    releases/<product>/index.json, …
 *     one release      release.json, SHA256SUMS, …; its index is made from release.json
 */
import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { lazyLooseObject } from "../model/lazy-object.ts";
import { readTar, type TarMember, type TarRefusal } from "../formats/tar-read.ts";
import type { Fetch } from "../io/download.ts";
import { SlipwayError } from "../model/errors.ts";
import { manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { parseVersion, type Version } from "../model/version.ts";
import { openRegular } from "./file-tree.ts";
import { type Installation, isPlainRelative } from "./installation.ts";
import type { Machine } from "./machine.ts";

type BundleFile = {
  readonly size: number;
  /** Changes when the bytes may have changed: a download that was cut goes on only in the same file. */
  readonly tag: string;
  readonly read: (start: number) => AsyncIterable<Uint8Array>;
  /** Lets go of a file that is not read. */
  readonly close: () => Promise<void>;
};

type Bundle = {
  /** The file at a path as the vendor's server has it. */
  readonly find: (path: string) => Promise<BundleFile | undefined>;
  /** Where it is one release: which. */
  readonly only?: { readonly version: Version; readonly index: Uint8Array };
};

type Part = { readonly path: string; readonly start: number; readonly size: number };
type Place = { readonly offset: number; readonly size: number };

const memberLimit = 2_000_010;
const partLimit = 999;
/** As large as mirrors write them: 2,000,000 files. */
const bundleManifestLimitBytes = 512 * 1024 * 1024;
const bundleManifestName = "manifest.json";
const treePrefix = "tree/";

/** What is needed of a bundle's manifest: which content stands at which path, because equal content is in the archive once. */
const bundleManifestSchema = lazyLooseObject(() => ({
  kind: z.literal("slipway-mirror-bundle"),
  set: lazyLooseObject(() => ({ files: z.array(lazyLooseObject(() => ({ path: z.string().max(4096), sha256: z.string().max(64) }))).max(memberLimit) })),
}));

const releaseSchema = lazyLooseObject(() => ({
  product: z.string().max(63),
  version: z.string().max(128),
  channel: z.string().max(63),
  sequence: z.int().nonnegative(),
}));

const copyAgain = "nothing was changed; fetch or copy the file once more, and if it stays so tell whoever made it";

/** The installation with a carried file as its only source, and the machine that reads it. Nothing is opened before it is asked for. */
export function fromBundle(installation: Installation, machine: Machine, path: string): { readonly installation: Installation; readonly machine: Machine } {
  const { sums } = installation.source;
  const url = pathToFileURL(path).href;
  let opened: Promise<Bundle> | undefined;
  const bundle = (): Promise<Bundle> => (opened ??= openReleaseBundle(path, installation.product));
  return {
    installation: { ...installation, bundle: path, source: { url, sums, mirrors: [] } },
    machine: { ...machine, fetch: fetchFrom({ url, bundle, product: installation.product, otherwise: machine.fetch }) },
  };
}

/** The version of a bundle that holds one release; undefined where it holds a channel's, of which the newest is meant. */
export async function onlyVersion(path: string, product: string): Promise<Version | undefined> {
  return (await openReleaseBundle(path, product)).only?.version;
}

type Answering = { readonly url: string; readonly product: string; readonly bundle: () => Promise<Bundle>; readonly otherwise: Fetch };

/** Probes of health go where they went; only addresses below the bundle's are answered from it. */
function fetchFrom({ url, bundle, product, otherwise }: Answering): Fetch {
  return async (input, init) => {
    const address = input instanceof Request ? input.url : String(input);
    if (!address.startsWith(`${url}/`)) return otherwise(input, init);
    const path = new URL(address).pathname
      .slice(new URL(url).pathname.length + 1)
      .split("/")
      .map(decodeURIComponent)
      .join("/");
    const { find, only } = await bundle();
    if (only !== undefined && path === `releases/${product}/index.json`) return new Response(Uint8Array.from(only.index));
    const file = isPlainRelative(path) ? await find(path) : undefined;
    return file === undefined ? new Response(null, { status: 404 }) : answer(file, new Headers(init?.headers));
  };
}

function answer(file: BundleFile, asked: Headers): Response {
  const etag = `"${file.tag}"`;
  const wanted = asked.get("if-range") === etag ? Number(/^bytes=(\d{1,15})-$/.exec(asked.get("range") ?? "")?.[1] ?? 0) : 0;
  const start = wanted < file.size ? wanted : 0;
  const headers = { etag, "content-length": String(file.size - start) };
  const body = Readable.toWeb(Readable.from(file.read(start), { objectMode: false })) as ReadableStream<Uint8Array>;
  if (start === 0) return new Response(body, { headers });
  return new Response(body, { status: 206, headers: { ...headers, "content-range": `bytes ${start}-${file.size - 1}/${file.size}` } });
}

/** Throws `source_missing`, `source_unusable`, `format_invalid`, `path_unsafe`. */
async function openReleaseBundle(path: string, product: string): Promise<Bundle> {
  const seen = await stat(path).catch(() => undefined);
  if (seen?.isDirectory() === true) return settleBundle(openFolder(await realpath(path)), { path, product });
  const parts = await findParts(path);
  return settleBundle(await openTar(path, parts), { path, product });
}

/** A tree as a mirror has it, or the files of one release. */
async function settleBundle(find: Bundle["find"], { path, product }: { readonly path: string; readonly product: string }): Promise<Bundle> {
  const index = await find(`releases/${product}/index.json`);
  if (index !== undefined) {
    await index.close();
    return { find };
  }
  const described = await find(manifestName);
  if (described === undefined) {
    throw new SlipwayError("source_unusable", `${path} holds no release of ${product}: neither releases/${product}/index.json nor ${manifestName}`, {
      place: path,
      hint: "name a bundle of `slipway mirror export`, a mirror's folder `current`, or the files of one release in a folder or a tar",
    });
  }
  const release = releaseSchema.safeParse(jsonOf(await readWhole(described, manifestSizeLimit, path)));
  if (!release.success)
    throw new SlipwayError("format_invalid", `${path}: ${manifestName} cannot be read`, { place: path, hint: copyAgain, cause: release.error });
  if (release.data.product !== product)
    throw new SlipwayError("source_unusable", `${path} is a release of ${release.data.product}, not of ${product}`, {
      place: path,
      hint: "name another file, or another --installation",
    });
  const version = parseVersion(release.data.version);
  const { channel, sequence } = release.data;
  const list = { schema: 1, product, releases: [{ version, channel, sequence, state: "published" }] };
  const prefix = `releases/${product}/${version}/`;
  return {
    find: (wanted) => find(wanted.startsWith(prefix) ? wanted.slice(prefix.length) : wanted),
    only: { version, index: Buffer.from(JSON.stringify(list)) },
  };
}

function openFolder(folder: string): Bundle["find"] {
  return async (path) => {
    const handle = await openRegular(join(folder, path));
    if (handle === undefined) return undefined;
    const { size, mtimeMs, ino } = await handle.stat();
    return {
      size,
      tag: `${size}-${Math.round(mtimeMs)}-${ino}`,
      read: (start) => (size === start ? closing(handle) : (handle.createReadStream({ start, end: size - 1 }) as AsyncIterable<Buffer>)),
      close: () => handle.close(),
    };
  };
}

async function* closing(handle: { readonly close: () => Promise<void> }): AsyncGenerator<Uint8Array> {
  await handle.close();
  yield* [];
}

/** Reads the archive once for the places of its members. A member that would leave its folder, a device or a second one of a name is refused. */
async function openTar(path: string, parts: readonly Part[]): Promise<Bundle["find"]> {
  const places = new Map<string, Place>();
  const digests = new Map<string, string>();
  const stamp = (await Promise.all(parts.map(async (part) => Math.round((await stat(part.path)).mtimeMs)))).join("-");
  let isMirror = false;
  let prefix = "";
  for await (const member of readTar(readParts(parts, 0), { name: path, memberLimit, pax: "read" })) {
    if (member.kind === "refused") {
      requireLink(member, { path, isKnown: isMirror && digests.has(member.name) });
      continue;
    }
    if (member.kind !== "file") continue;
    places.set(member.path, { offset: member.offset, size: member.sizeBytes });
    if (places.size === 1 && member.path === bundleManifestName) {
      isMirror = true;
      for (const [name, digest] of await readDigests(member, path)) digests.set(`${treePrefix}${name}`, digest);
      prefix = treePrefix;
    } else if (!isMirror && (member.path === manifestName || member.path.endsWith(`/${manifestName}`)) && prefix === "")
      prefix = member.path.slice(0, -manifestName.length);
  }
  const byDigest = new Map<string, Place>();
  for (const [name, digest] of digests) {
    const place = places.get(name);
    if (place !== undefined) byDigest.set(digest, place);
  }
  return async (wanted) => {
    const name = `${prefix}${wanted}`;
    const place = places.get(name) ?? byDigest.get(digests.get(name) ?? "");
    if (place === undefined) return undefined;
    return {
      size: place.size,
      tag: `${place.size}-${place.offset}-${stamp}`,
      read: (start) => readParts(parts, place.offset + start, place.size - start),
      close: () => Promise.resolve(),
    };
  };
}

/** In a mirror's bundle a hard link is a further path of content that stands before; the manifest says which, the link's own target is not looked at. */
function requireLink(member: TarRefusal, { path, isKnown }: { readonly path: string; readonly isKnown: boolean }): void {
  if (member.reason === "hard_link" && isKnown) return;
  throw new SlipwayError("path_unsafe", `${path}: refusing the member ${JSON.stringify(member.name.slice(0, 200))}`, {
    place: path,
    detail: member.reason,
    hint: copyAgain,
  });
}

async function readDigests(member: TarMember, path: string): Promise<readonly (readonly [string, string])[]> {
  if (member.sizeBytes > bundleManifestLimitBytes)
    throw new SlipwayError("format_limit", `${path}: the manifest has ${member.sizeBytes} bytes`, { place: path, hint: copyAgain });
  const pieces: Uint8Array[] = [];
  for await (const piece of member.body()) pieces.push(Uint8Array.from(piece));
  const parsed = bundleManifestSchema.safeParse(jsonOf(Buffer.concat(pieces)));
  if (!parsed.success)
    throw new SlipwayError("format_invalid", `${path} is no bundle that this Slipway reads`, { place: path, hint: copyAgain, cause: parsed.error });
  return parsed.data.set.files.map((file) => [file.path, file.sha256] as const);
}

/** `FILE`, or `FILE.001` and its successors. */
async function findParts(path: string): Promise<readonly Part[]> {
  const base = path.replace(/\.001$/, "");
  const whole = base === path ? await sizeOf(path) : undefined;
  if (whole !== undefined) return [{ path, start: 0, size: whole }];
  const parts: Part[] = [];
  let start = 0;
  for (let number = 1; number <= partLimit; number += 1) {
    const part = `${base}.${String(number).padStart(3, "0")}`;
    const size = await sizeOf(part);
    if (size === undefined) break;
    parts.push({ path: part, start, size });
    start += size;
  }
  if (parts.length === 0)
    throw new SlipwayError("source_missing", `there is no ${path}`, {
      place: path,
      hint: "is the medium mounted? Of a bundle in parts name the first, FILE.001",
    });
  return parts;
}

async function sizeOf(path: string): Promise<number | undefined> {
  const seen = await stat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  });
  if (seen !== undefined && !seen.isFile())
    throw new SlipwayError("source_unusable", `${path} is not a regular file`, { place: path, hint: "copy the file to this machine and name the copy" });
  return seen?.size;
}

/** `size` bytes from `offset` of the parts, one behind the other. */
async function* readParts(parts: readonly Part[], offset: number, size = Number.MAX_SAFE_INTEGER): AsyncGenerator<Uint8Array> {
  const end = Math.min(Number.MAX_SAFE_INTEGER, offset + size);
  for (const part of parts) {
    const from = Math.max(offset, part.start) - part.start;
    const to = Math.min(end, part.start + part.size) - part.start;
    if (from < to) yield* createReadStream(part.path, { start: from, end: to - 1, highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>;
  }
}

async function readWhole(file: BundleFile, limit: number, path: string): Promise<Buffer> {
  if (file.size > limit) throw new SlipwayError("format_limit", `${path}: ${manifestName} has ${file.size} bytes`, { place: path, hint: copyAgain });
  const pieces: Uint8Array[] = [];
  for await (const piece of file.read(0)) pieces.push(Uint8Array.from(piece));
  return Buffer.concat(pieces);
}

/** Undefined for what is no JSON: the schema behind it refuses that. */
function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
}
