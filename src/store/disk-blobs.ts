/**
 * Blobs in a folder:
 *
 *   unverified/<hex>.unverified   an upload so far; its length is the offset
 *   unverified/<id>.session       an upload whose digest comes at its end (disk-upload-sessions.ts)
 *   sha256/<2 hex>/<hex>          live; got there by rename after the whole stream's digest was right
 *   quarantine/<hex>              taken out, kept for a while
 *   damaged/<hex>                 was live with other bytes than its name says; kept for whoever looks into it
 *
 * One process owns the folder. A power cut may leave holes in an unverified file: it is hashed again before it counts.
 */
import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { chmod, type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, statfs, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { syncDirectory } from "../io/atomic-file.ts";
import { readHandleInPlace, readSizeBytes } from "../io/hash-file.ts";
import { type Digest, digestFromHex, digestHex } from "../model/digest.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import type { BlobAppend, BlobCondition, BlobRange, BlobStat, BlobStatus, BlobStore } from "./blobs.ts";
import { createDiskUploadSessions } from "./disk-upload-sessions.ts";
import { createRunningHashes } from "./running-hashes.ts";

export type DiskBlobsOptions = {
  readonly folder: string;
  /** Largest blob in bytes; 8 GiB by default: above every image layer and installer we know. */
  readonly sizeLimit?: number;
  /** Free bytes that an upload must leave, so that a full upload disk cannot stop the database beside it; 64 MiB by default. */
  readonly reserveBytes?: number;
  /** For checks: nothing is made in the folder, which must be there. */
  readonly isCheckOnly?: boolean;
};

const defaultSizeLimit = 8 * 1024 ** 3;
const defaultReserve = 64 * 1024 ** 2;

const writeSizeBytes = 512 * 1024;

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === "ENOENT";

async function ifMissing<T>(pending: Promise<T>, value: T): Promise<T> {
  try {
    return await pending;
  } catch (error) {
    if (isMissing(error)) return value;
    throw error;
  }
}

async function writeWhole(handle: FileHandle, piece: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < piece.length) {
    const { bytesWritten } = await handle.write(piece, written, piece.length - written, position + written);
    written += bytesWritten;
  }
}

/** Small pieces together in larger ones, all in one buffer: a call for each of a few KB costs more than their copy. */
async function* gathered(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(writeSizeBytes);
  let filled = 0;
  for await (const piece of content) {
    if (filled > 0 && filled + piece.length > buffer.length) {
      yield buffer.subarray(0, filled);
      filled = 0;
    }
    if (piece.length > buffer.length) {
      yield piece;
      continue;
    }
    buffer.set(piece, filled);
    filled += piece.length;
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}

async function makeFolders(folder: string): Promise<void> {
  for (const name of ["unverified", "quarantine", "sha256"]) {
    await mkdir(join(folder, name), { recursive: true, mode: 0o700 });
  }
  // All 256 at once: a folder made in passing would need its own fsync each time.
  const present = new Set(await readdir(join(folder, "sha256")));
  for (let index = 0; index < 256; index += 1) {
    const name = index.toString(16).padStart(2, "0");
    if (!present.has(name)) await mkdir(join(folder, "sha256", name), { recursive: true, mode: 0o700 });
  }
  await syncDirectory(join(folder, "sha256"));
  await syncDirectory(folder);
}

/** Opens the folder, making what is missing. The returned store keeps no handle open. */
export async function openDiskBlobs(options: DiskBlobsOptions): Promise<BlobStore> {
  const { folder } = options;
  const sizeLimit = options.sizeLimit ?? defaultSizeLimit;
  const reserveBytes = options.reserveBytes ?? defaultReserve;
  if (options.isCheckOnly !== true) await makeFolders(folder);

  const livePath = (digest: Digest): string => join(folder, "sha256", digestHex(digest).slice(0, 2), digestHex(digest));
  const partPath = (digest: Digest): string => join(folder, "unverified", `${digestHex(digest)}.unverified`);
  const quarantinePath = (digest: Digest): string => join(folder, "quarantine", digestHex(digest));

  const hashes = createRunningHashes();
  const writing = new Set<Digest>();

  async function sizeOf(path: string): Promise<number | undefined> {
    return ifMissing(
      stat(path).then((found) => found.size),
      undefined,
    );
  }

  async function statBlob(digest: Digest): Promise<BlobStat | undefined> {
    const found = await ifMissing(stat(livePath(digest)), undefined);
    return found === undefined ? undefined : { digest, size: found.size, storedAt: found.mtime };
  }

  async function status(digest: Digest): Promise<BlobStatus> {
    const live = await sizeOf(livePath(digest));
    if (live !== undefined) return { state: "live", offset: live };
    const part = await sizeOf(partPath(digest));
    return part === undefined ? { state: "absent", offset: 0 } : { state: "partial", offset: part };
  }

  async function requireRoom(bytes: number): Promise<void> {
    const free = await statfs(folder);
    const room = free.bavail * free.bsize - reserveBytes;
    if (bytes > room) {
      const text = `${bytes} bytes are announced and ${Math.max(0, room)} are free on the server beside its reserve of ${reserveBytes}`;
      throw new SlipwayError("disk_full", text, { hint: "free space on the server, or set its disk-reserve lower, then run the same command again" });
    }
  }

  async function dropPart(digest: Digest): Promise<void> {
    hashes.forget(digest);
    await rm(partPath(digest), { force: true });
  }

  /** fsync of the bytes, rename, fsync of the folder: when this returns, a power cut cannot take the blob back. */
  async function makeLive(handle: FileHandle, from: string, digest: Digest): Promise<void> {
    await handle.sync();
    await rename(from, livePath(digest));
    await syncDirectory(join(livePath(digest), ".."));
  }

  async function appendAlone(part: BlobAppend): Promise<BlobStatus> {
    const { digest, size } = part;
    const before = await status(digest);
    if (before.state === "live") return before;
    if (before.offset !== part.offset) {
      throw new SlipwayError("upload_offset", `the upload of ${digest} stands at ${before.offset}, not at ${part.offset}`, { detail: String(before.offset) });
    }
    await requireRoom(size - part.offset);
    const hash = await hashes.take({ key: digest, path: partPath(digest), offset: part.offset });
    const handle = await open(partPath(digest), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    let offset = part.offset;
    try {
      for await (const piece of part.body) {
        if (offset + piece.length > size) {
          await dropPart(digest);
          throw new SlipwayError("upload_invalid", `more bytes came than the announced ${size}`, { detail: "oversized" });
        }
        try {
          await writeWhole(handle, piece, offset);
        } catch (error) {
          await dropPart(digest); // gives the space back at once: the database may live on the same disk
          throw asSlipwayError(error);
        }
        hash.update(piece);
        offset += piece.length;
      }
      if (offset < size) {
        hashes.remember(digest, { hash, offset });
        return { state: "partial", offset };
      }
      const actual = digestFromHex(hash.digest("hex"));
      if (actual !== digest) {
        await dropPart(digest);
        throw new SlipwayError("upload_invalid", `the ${size} bytes have the digest ${actual}, announced was ${digest}`, { detail: "digest_mismatch" });
      }
      await makeLive(handle, partPath(digest), digest);
      return { state: "live", offset };
    } catch (error) {
      // The client went away: whole pieces are in the file and in the hash, so both go on from the same place.
      if (offset < size && !(error instanceof SlipwayError)) hashes.remember(digest, { hash, offset });
      throw error;
    } finally {
      await handle.close();
    }
  }

  async function append(part: BlobAppend): Promise<BlobStatus> {
    if (!Number.isSafeInteger(part.size) || part.size < 0 || !Number.isSafeInteger(part.offset) || part.offset < 0 || part.offset > part.size) {
      throw new SlipwayError("upload_invalid", `offset ${part.offset} and size ${part.size} do not fit together`);
    }
    if (part.size > sizeLimit) throw new SlipwayError("too_large", `${part.size} bytes are announced; the limit is ${sizeLimit}`);
    if (writing.has(part.digest)) {
      throw new SlipwayError("upload_offset", `another request writes ${part.digest} at this moment`, { detail: "busy" });
    }
    writing.add(part.digest);
    try {
      return await appendAlone(part);
    } finally {
      writing.delete(part.digest);
    }
  }

  async function put(content: Uint8Array | AsyncIterable<Uint8Array>): Promise<BlobStat> {
    const temporary = join(folder, "unverified", `${randomBytes(16).toString("hex")}.tmp`);
    const hash = createHash("sha256");
    const handle = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    let size = 0;
    try {
      for await (const piece of content instanceof Uint8Array ? [content] : gathered(content)) {
        await writeWhole(handle, piece, size);
        hash.update(piece);
        size += piece.length;
      }
      const digest = digestFromHex(hash.digest("hex"));
      await makeLive(handle, temporary, digest);
      return { digest, size, storedAt: (await handle.stat()).mtime };
    } catch (error) {
      await rm(temporary, { force: true });
      throw asSlipwayError(error);
    } finally {
      await handle.close();
    }
  }

  async function openBlob(digest: Digest, range?: BlobRange): Promise<Readable> {
    const handle = await openLive(digest);
    return handle.createReadStream({ highWaterMark: readSizeBytes, ...(range === undefined ? {} : { start: range.start, end: range.end }) });
  }

  async function openLive(digest: Digest): Promise<FileHandle> {
    const handle = await ifMissing<FileHandle | undefined>(open(livePath(digest), constants.O_RDONLY | constants.O_NOFOLLOW), undefined);
    if (handle === undefined) throw new SlipwayError("not_found", `there is no blob ${digest}`);
    return handle;
  }

  async function read(digest: Digest, limit: number): Promise<Buffer> {
    const found = await statBlob(digest);
    if (found === undefined) throw new SlipwayError("not_found", `there is no blob ${digest}`);
    if (found.size > limit) throw new SlipwayError("format_limit", `blob ${digest} has ${found.size} bytes; the limit here is ${limit}`);
    return readFile(livePath(digest)); // a live file never grows
  }

  async function readInto(digest: Digest, start: number, into: Uint8Array): Promise<void> {
    const handle = await openLive(digest);
    try {
      for (let filled = 0; filled < into.length; ) {
        const { bytesRead } = await handle.read(into, filled, into.length - filled, start + filled);
        if (bytesRead === 0)
          throw new SlipwayError("internal", `blob ${digest} ends at byte ${start + filled}; expected it to go on to ${start + into.length}`);
        filled += bytesRead;
      }
    } finally {
      await handle.close();
    }
  }

  async function quarantine(digest: Digest): Promise<void> {
    const now = new Date();
    // The time of the move is what purge looks at; a rename keeps the file's own.
    const isThere = await ifMissing(
      utimes(livePath(digest), now, now).then(() => true),
      false,
    );
    if (!isThere) return;
    await rename(livePath(digest), quarantinePath(digest));
    await syncDirectory(join(livePath(digest), ".."));
    await syncDirectory(join(folder, "quarantine"));
  }

  async function restore(digest: Digest): Promise<boolean> {
    const isBack = await ifMissing(
      rename(quarantinePath(digest), livePath(digest)).then(() => true),
      false,
    );
    if (isBack) await syncDirectory(join(livePath(digest), ".."));
    return isBack;
  }

  async function purge(before: Date): Promise<number> {
    let freed = 0;
    for (const name of ["quarantine", "unverified"]) {
      for (const file of await readdir(join(folder, name))) {
        const path = join(folder, name, file);
        const found = await ifMissing(stat(path), undefined);
        if (found === undefined || found.mtime >= before) continue;
        if (name === "unverified" && [...writing].some((digest) => file.startsWith(digestHex(digest)))) continue;
        await rm(path, { force: true });
        freed += found.size;
      }
    }
    return freed;
  }

  async function* list(): AsyncIterable<BlobStat> {
    for (const first of await readdir(join(folder, "sha256"))) {
      for (const name of await readdir(join(folder, "sha256", first))) {
        if (!/^[0-9a-f]{64}$/.test(name)) continue; // not ours: an administrator's or a file system's
        const found = await statBlob(digestFromHex(name));
        if (found !== undefined) yield found;
      }
    }
  }

  async function examine(digest: Digest, { isQuick, signal }: { readonly isQuick: boolean; readonly signal: AbortSignal }): Promise<BlobCondition> {
    const live = await statBlob(digest);
    if (live === undefined) return (await sizeOf(quarantinePath(digest))) === undefined ? { state: "absent" } : { state: "quarantined" };
    if (isQuick) return { state: "live", size: live.size, actual: undefined };
    try {
      const hash = createHash("sha256");
      let size = 0;
      const handle = await openLive(digest);
      try {
        for await (const piece of readHandleInPlace(handle)) {
          if (signal.aborted) throw new SlipwayError("interrupted", "the check was stopped");
          hash.update(piece);
          size += piece.length;
        }
      } finally {
        await handle.close();
      }
      return { state: "live", size, actual: digestFromHex(hash.digest("hex")) };
    } catch (error) {
      if (error instanceof SlipwayError) {
        if (error.code === "not_found") return { state: "absent" }; // the sweep took it meanwhile
        throw error;
      }
      return { state: "unreadable", reason: asSlipwayError(error).message }; // the disk itself says no: that is what a check is for
    }
  }

  async function setAside(digest: Digest): Promise<string> {
    await mkdir(join(folder, "damaged"), { recursive: true, mode: 0o700 });
    const path = join(folder, "damaged", digestHex(digest));
    await rename(livePath(digest), path);
    await syncDirectory(join(livePath(digest), ".."));
    await syncDirectory(join(folder, "damaged"));
    return path;
  }

  if (options.isCheckOnly !== true) await chmod(folder, 0o700);
  const sessions = createDiskUploadSessions({ folder: join(folder, "unverified"), sizeLimit, requireRoom, writeWhole, makeLive });
  return { sessions, status, append, put, stat: statBlob, open: openBlob, read, readInto, path: livePath, quarantine, restore, purge, examine, setAside, list };
}
