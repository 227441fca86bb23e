/** Upload sessions in the blobs' folder: `unverified/<id>.session`, whose length is the offset. */
import { createHash, randomBytes } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { readSizeBytes } from "../io/hash-file.ts";
import { type Digest, digestFromHex } from "../model/digest.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { createRunningHashes } from "./running-hashes.ts";
import type { UploadSessions } from "./upload-sessions.ts";

export type DiskUploadSessionsOptions = {
  /** The folder `unverified`, whose old files the store purges. */
  readonly folder: string;
  /** Largest blob in bytes. */
  readonly sizeLimit: number;
  /** Throws `disk_full` where so many more bytes would not leave the reserve. */
  readonly requireRoom: (bytes: number) => Promise<void>;
  /** Writes all of `piece`. */
  readonly writeWhole: (handle: FileHandle, piece: Uint8Array, position: number) => Promise<void>;
  /** fsync, rename to the blob's place, fsync. */
  readonly makeLive: (handle: FileHandle, from: string, digest: Digest) => Promise<void>;
};

const idPattern = /^[0-9a-f]{32}$/;
/** How often the free space is asked for while a body of unknown length comes in. */
const roomCheckBytes = 16 * 1024 ** 2;

export function createDiskUploadSessions(options: DiskUploadSessionsOptions): UploadSessions {
  const { folder, sizeLimit } = options;
  const hashes = createRunningHashes();
  const busy = new Set<string>();
  const pathOf = (id: string): string => join(folder, `${id}.session`);

  async function offset(id: string): Promise<number | undefined> {
    if (!idPattern.test(id)) return undefined;
    try {
      return (await stat(pathOf(id))).size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async function requireOffset(id: string): Promise<number> {
    const present = await offset(id);
    if (present === undefined) throw new SlipwayError("not_found", "there is no such upload");
    return present;
  }

  async function drop(id: string): Promise<void> {
    hashes.forget(id);
    await rm(pathOf(id), { force: true });
  }

  /** One request at a time per session: two writers would mix their bytes. */
  async function alone<T>(id: string, act: () => Promise<T>): Promise<T> {
    if (busy.has(id)) throw new SlipwayError("upload_offset", "another request works on this upload at this moment", { detail: "busy" });
    busy.add(id);
    try {
      return await act();
    } finally {
      busy.delete(id);
    }
  }

  async function write(id: string, start: number, body: AsyncIterable<Uint8Array>): Promise<number> {
    const hash = await hashes.take({ key: id, path: pathOf(id), offset: start });
    const handle = await open(pathOf(id), constants.O_RDWR | constants.O_NOFOLLOW);
    let position = start;
    let checkedUpTo = start;
    let isDropped = false;
    try {
      for await (const piece of body) {
        try {
          if (position + piece.length > sizeLimit) throw new SlipwayError("too_large", `the upload is larger than ${sizeLimit} bytes`);
          if (position >= checkedUpTo) {
            checkedUpTo = position + roomCheckBytes;
            await options.requireRoom(roomCheckBytes);
          }
          await options.writeWhole(handle, piece, position);
        } catch (error) {
          isDropped = true;
          await drop(id); // gives the space back at once: the database may live on the same disk
          throw asSlipwayError(error);
        }
        hash.update(piece);
        position += piece.length;
      }
      return position;
    } finally {
      // Also when the client went away: whole pieces are in the file and in the hash.
      if (!isDropped) hashes.remember(id, { hash, offset: position });
      await handle.close();
    }
  }

  async function finish(id: string, expected: { readonly algorithm: "sha256" | "sha512"; readonly hex: string }) {
    const path = pathOf(id);
    const size = await requireOffset(id);
    const sha256 = (await hashes.take({ key: id, path, offset: size })).digest("hex");
    const actual = expected.algorithm === "sha256" ? sha256 : await hashWhole(path, expected.algorithm);
    if (actual !== expected.hex) {
      await drop(id);
      throw new SlipwayError("upload_invalid", `the ${size} bytes have the digest ${expected.algorithm}:${actual}`, { detail: "digest_mismatch" });
    }
    const digest = digestFromHex(sha256);
    const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
    try {
      await options.makeLive(handle, path, digest);
      return { digest, size, storedAt: (await handle.stat()).mtime };
    } finally {
      await handle.close();
    }
  }

  return {
    begin: async () => {
      const id = randomBytes(16).toString("hex");
      const handle = await open(pathOf(id), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
      await handle.close();
      return id;
    },
    offset,
    extend: ({ id, offset: start, body }) =>
      alone(id, async () => {
        const present = await requireOffset(id);
        if (present !== start) {
          throw new SlipwayError("upload_offset", `the upload stands at ${present}, not at ${start}`, { detail: String(present) });
        }
        return write(id, start, body);
      }),
    finish: (id, expected) => alone(id, () => finish(id, expected)),
    cancel: (id) =>
      alone(id, async () => {
        if ((await offset(id)) === undefined) return false;
        await drop(id);
        return true;
      }),
  };
}

/** Read again from the disk: nobody said at the start that this algorithm would be asked for. */
async function hashWhole(path: string, algorithm: "sha512"): Promise<string> {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path, { highWaterMark: readSizeBytes }), hash);
  return hash.digest("hex");
}
