/** An image layout as a folder on disk: blobs appear under their digest when they are whole, and what is there already is not written again. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { chmod, mkdir, open, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import type { OciDescriptor, OciDocument } from "../formats/oci-descriptor.ts";
import { blobPath, layoutFileBytes, layoutFileName, layoutIndexName, type OciLayoutSource, renderLayoutIndex, verifiedBlob } from "../formats/oci-layout.ts";
import type { ByteSink, ByteSource } from "../formats/package.ts";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readSizeBytes } from "../io/hash-file.ts";
import { createSpool, lentFileBytes } from "../io/spool.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";

export type ImageLayout = {
  readonly folder: string;
  readonly source: OciLayoutSource;
  /** True where the blob is there with this size. */
  readonly hasBlob: (blob: Pick<OciDescriptor, "digest" | "size">) => Promise<boolean>;
  readonly blob: (blob: Pick<OciDescriptor, "digest" | "size">) => ByteSource;
  readonly putDocument: (document: OciDocument) => Promise<void>;
  /** Spools what `write` gives to the sink and files it under the digest that `write` returns. */
  readonly putStream: <Result extends { readonly descriptor: OciDescriptor }>(write: (sink: ByteSink) => Promise<Result>) => Promise<Result>;
  /** Files bytes from elsewhere; throws `format_invalid` where they are not the blob's, and keeps nothing then. */
  readonly putVerified: (blob: Pick<OciDescriptor, "digest" | "size">, bytes: AsyncIterable<Uint8Array>) => Promise<void>;
  /** Writes `index.json`, after which the tags are there; returns its bytes. */
  readonly putTags: (refs: readonly { readonly tag: string; readonly descriptor: OciDescriptor }[]) => Promise<Buffer>;
};

const folderMode = 0o755;
const fileMode = 0o644;

/** Makes the folder where it is missing; an existing layout is added to. Modes do not depend on the umask. */
export async function createImageLayout(folder: string): Promise<ImageLayout> {
  for (const path of [folder, join(folder, "blobs"), join(folder, "blobs", "sha256")]) {
    await mkdir(path, { recursive: true });
    await chmod(path, folderMode);
  }
  await writeFileAtomic(join(folder, layoutFileName), layoutFileBytes, { mode: fileMode });
  const place = (digest: Digest): string => join(folder, blobPath(digest));

  const hasBlob: ImageLayout["hasBlob"] = async ({ digest, size }) => {
    try {
      const found = await stat(place(digest));
      return found.isFile() && found.size === size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw error;
    }
  };

  const putStream: ImageLayout["putStream"] = async (write) => {
    const aside = join(folder, "blobs", `.${randomBytes(6).toString("hex")}.tmp`);
    const spool = await createSpool(aside);
    try {
      const result = await write(spool.write);
      await spool.finish();
      await chmod(aside, fileMode);
      await rename(aside, place(result.descriptor.digest));
      return result;
    } finally {
      await spool.remove();
    }
  };

  return {
    folder,
    source: openImageLayout(folder),
    hasBlob,
    blob: ({ digest, size }) => lentFileBytes(place(digest), size),
    putStream,
    putDocument: async ({ descriptor, bytes }) => {
      await putStream(async (sink) => {
        await sink(bytes);
        return { descriptor };
      });
    },
    putVerified: async (blob, bytes) => {
      if (await hasBlob(blob)) return;
      await putStream(async (sink) => {
        for await (const piece of verifiedBlob(bytes, blob)) await sink(piece);
        return { descriptor: { mediaType: "", ...blob } };
      });
    },
    putTags: async (refs) => {
      const bytes = renderLayoutIndex(refs);
      await writeFileAtomic(join(folder, layoutIndexName), bytes, { mode: fileMode });
      return bytes;
    },
  };
}

/** A layout that somebody else wrote, for reading: links and devices under its names are refused, never followed. */
export function openImageLayout(folder: string): OciLayoutSource {
  return {
    open: async function* (path) {
      const place = join(folder, path);
      let handle: Awaited<ReturnType<typeof open>>;
      try {
        handle = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      } catch (error) {
        throw new SlipwayError("format_invalid", `${folder} is no whole image layout: cannot read ${path}`, { place, cause: error });
      }
      try {
        if (!(await handle.stat()).isFile()) throw new SlipwayError("format_invalid", `${place} is not a regular file`, { place });
        yield* handle.createReadStream({ highWaterMark: readSizeBytes, autoClose: false }) as AsyncIterable<Buffer>;
      } finally {
        await handle.close();
      }
    },
  };
}
