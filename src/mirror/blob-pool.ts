/**
 * The mirror's bytes, each once: `blobs/<2 hex>/<sha256>`, from which every set of the tree is made of hard links (file-set.ts).
 *
 * A file comes into being as `parts/<name>.part` beside a note of what the source said about it, is hashed whole, and only then renamed into
 * its place: what stands under a digest has it. A killed run leaves parts, and the next one goes on from their last byte.
 */
import { createHash } from "node:crypto";
import { chmod, link, lstat, mkdir, readdir, rename, rm, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { readApk } from "../formats/apk-read.ts";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { requestedDelayMs } from "../io/download.ts";
import { hashFile } from "../io/hash-file.ts";
import { fileBytes } from "../io/spool.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import type { MirrorSource } from "./source.ts";

/** What a file must be: its SHA-256 (64 hex digits), or the identity by which apk's index knows a package. */
export type FileProof = { readonly kind: "sha256"; readonly hex: string } | { readonly kind: "apk"; readonly identity: string };

export type WantedFile = {
  /** Where it is at the source. */
  readonly path: string;
  readonly size: number;
  readonly proof: FileProof;
};

export type FetchOptions = {
  readonly source: MirrorSource;
  readonly signal: AbortSignal;
  /** Bytes that came over the wire since the last call. */
  readonly onBytes?: (bytes: number) => void;
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
};

export type BlobPool = {
  /** The digest under which the file is here already, with the right size. */
  readonly find: (wanted: Pick<WantedFile, "size" | "proof">) => Promise<string | undefined>;
  /** Brings the file here and proves it; returns its SHA-256 in hex and how many bytes were fetched. */
  readonly fetch: (wanted: WantedFile, options: FetchOptions) => Promise<{ readonly hex: string; readonly fetched: number }>;
  /** Bytes at hand; returns their SHA-256 in hex. */
  readonly put: (bytes: Uint8Array) => Promise<string>;
  /** Path of a blob that is here. */
  readonly pathOf: (hex: string) => string;
  /** Removes what no set links to, and parts of files that are here whole. Returns the bytes freed. */
  readonly sweep: () => Promise<number>;
};

const tries = 5;
const firstDelayMs = 500;
const longestDelayMs = 60_000;
/** Readers may have the tree mounted; nobody writes into a file that several sets share. */
const blobMode = 0o444;

const noteSchema = z.object({ etag: z.string().max(1024).optional(), lastModified: z.string().max(256).optional() });

export async function openBlobPool(directory: string): Promise<BlobPool> {
  const blobs = join(directory, "blobs");
  const parts = join(directory, "parts");
  await mkdir(blobs, { recursive: true, mode: 0o755 });
  await mkdir(parts, { recursive: true, mode: 0o700 });
  const shards = new Set(await readdir(blobs));

  const pathOf = (hex: string): string => join(blobs, hex.slice(0, 2), hex);
  const identityPath = (identity: string): string => join(parts, `${identityName(identity)}.sha256`);

  const sizeOf = async (hex: string): Promise<number | undefined> => {
    try {
      const status = await lstat(pathOf(hex));
      return status.isFile() ? status.size : undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  };

  const find: BlobPool["find"] = async ({ size, proof }) => {
    const hex = proof.kind === "sha256" ? proof.hex : await readKnownIdentity(identityPath(proof.identity));
    return hex !== undefined && (await sizeOf(hex)) === size ? hex : undefined;
  };

  /** Into its place under its digest; an older file there is the same one, or was damaged. */
  const settle = async (part: string, hex: string): Promise<void> => {
    const shard = hex.slice(0, 2);
    if (!shards.has(shard)) {
      await mkdir(join(blobs, shard), { recursive: true, mode: 0o755 });
      await syncDirectory(blobs);
      shards.add(shard);
    }
    await chmod(part, blobMode);
    await rename(part, pathOf(hex));
    await syncDirectory(join(blobs, shard));
  };

  return {
    find,
    pathOf,
    put: async (bytes) => {
      const hex = createHash("sha256").update(bytes).digest("hex");
      if ((await sizeOf(hex)) === bytes.length) return hex;
      const part = join(parts, `${hex}.whole`);
      await writeFileAtomic(part, bytes);
      await settle(part, hex);
      return hex;
    },
    fetch: async (wanted, options) => {
      const known = await find(wanted);
      if (known !== undefined) return { hex: known, fetched: 0 };
      const name = wanted.proof.kind === "sha256" ? wanted.proof.hex : identityName(wanted.proof.identity);
      const part = join(parts, `${name}.part`);
      const fetched = await bringPart({ wanted, part, note: `${part}.json` }, options);
      const { digest } = await hashFile(part);
      const hex = digest.slice("sha256:".length);
      await settle(part, hex);
      if (wanted.proof.kind === "apk") await writeFileAtomic(identityPath(wanted.proof.identity), hex);
      await rm(`${part}.json`, { force: true });
      return { hex, fetched };
    },
    sweep: async () => {
      let freed = 0;
      for (const shard of await readdir(blobs)) {
        for (const hex of await readdir(join(blobs, shard))) {
          const path = join(blobs, shard, hex);
          const status = await lstat(path);
          if (!status.isFile() || status.nlink > 1) continue; // a set of the tree still holds it
          await unlink(path);
          freed += status.size;
        }
      }
      for (const leftover of await readdir(parts)) {
        if (leftover.endsWith(".sha256")) {
          const hex = await readKnownIdentity(join(parts, leftover));
          if (hex !== undefined && (await sizeOf(hex)) !== undefined) continue;
        }
        await rm(join(parts, leftover), { force: true });
      }
      return freed;
    },
  };
}

/** `Q1` and base64 as a file name. */
function identityName(identity: string): string {
  return `apk-${Buffer.from(identity.slice(2), "base64").toString("hex")}`;
}

async function readKnownIdentity(path: string): Promise<string | undefined> {
  try {
    const text = (await readFileBounded(path, 64, { isLinkAllowed: false })).toString("latin1");
    return /^[0-9a-f]{64}$/.test(text) ? text : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

type Bringing = { readonly wanted: WantedFile; readonly part: string; readonly note: string };

/** The whole, proven file at `part`; returns the bytes that were fetched for it. */
async function bringPart({ wanted, part, note }: Bringing, options: FetchOptions): Promise<number> {
  const pause = options.sleep ?? ((ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }));
  let fetched = 0;
  let mayRestart = true;
  for (let attempt = 1; ; attempt += 1) {
    let seen: number | undefined;
    try {
      const { resumedFrom } = await options.source.fetchPart({
        path: wanted.path,
        size: wanted.size,
        part,
        validator: await readNote(note),
        onValidator: (validator) => writeFileAtomic(note, JSON.stringify(validator)),
        onProgress: (position) => {
          const grown = position - (seen ?? position);
          if (seen !== undefined && grown > 0) options.onBytes?.(grown);
          fetched += Math.max(0, grown);
          seen = position;
        },
        signal: options.signal,
      });
      const wrong = await whatIsWrong(part, wanted);
      if (wrong === undefined) return wanted.size - resumedFrom;
      await dropPart(part, note);
      // What was there before may have been damaged on this disk: one try from byte 0, then it is the source that is wrong.
      if (resumedFrom === 0 || !mayRestart) throw new SlipwayError("upgrade_verification_failed", `${wanted.path}: ${wrong}`, notTaken("hash_mismatch"));
      mayRestart = false;
    } catch (thrown) {
      const error = asSlipwayError(thrown);
      if (error.detail === "size_mismatch") {
        await dropPart(part, note);
        throw new SlipwayError("upgrade_verification_failed", error.message, { ...notTaken("size_mismatch"), cause: error });
      }
      if (options.signal.aborted) throw new SlipwayError("interrupted", `${wanted.path}: interrupted`, { cause: error });
      if (!error.isRetryable || error.code === "disk_full" || attempt >= tries) throw error;
      const growing = firstDelayMs * 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
      await pause(Math.min(longestDelayMs, Math.max(requestedDelayMs(error) ?? 0, growing)), options.signal).catch(() => {
        throw new SlipwayError("interrupted", `${wanted.path}: interrupted while waiting to try again`);
      });
    }
  }
}

const notTaken = (detail: string): { readonly detail: string; readonly hint: string } => ({
  detail,
  hint: "the mirror stays as it was; if it happens again, tell the vendor that the source serves a damaged file",
});

async function dropPart(part: string, note: string): Promise<void> {
  await rm(part, { force: true });
  await rm(note, { force: true });
}

async function readNote(path: string): Promise<z.output<typeof noteSchema> | undefined> {
  try {
    const parsed = noteSchema.safeParse(JSON.parse((await readFileBounded(path, 4096, { isLinkAllowed: false })).toString("utf8")));
    return parsed.success ? parsed.data : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || error instanceof SyntaxError) return undefined; // then it starts from byte 0
    throw error;
  }
}

/** Undefined where the bytes are what was wanted. */
async function whatIsWrong(path: string, wanted: WantedFile): Promise<string | undefined> {
  const { size } = await stat(path);
  if (size !== wanted.size) return `${size} bytes; listed were ${wanted.size}`;
  if (wanted.proof.kind === "sha256") {
    const { digest } = await hashFile(path);
    return digest === `sha256:${wanted.proof.hex}` ? undefined : `SHA-256 ${digest.slice("sha256:".length)}; listed was ${wanted.proof.hex}`;
  }
  try {
    const { identity } = await readApk(fileBytes(path, size));
    return identity === wanted.proof.identity ? undefined : `the apk is ${identity}; listed was ${wanted.proof.identity}`;
  } catch (error) {
    if (error instanceof SlipwayError) return error.message;
    throw error;
  }
}

/** A further name for a blob. Throws `source_unusable` where the file system knows no hard links. */
export async function linkBlob(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EPERM" || code === "ENOTSUP" || code === "EOPNOTSUPP")
      throw new SlipwayError("source_unusable", `${to}: this file system has no hard links`, {
        place: to,
        hint: "keep the mirror on a Linux file system (ext4, xfs, btrfs, zfs); carry it on USB sticks as a bundle: `slipway mirror export`",
        cause: error,
      });
    throw error;
  }
}
