/**
 * Writes a mirror's set as one tar that crosses an air gap: `manifest.json`, `SHA256SUMS`, `verify.sh`, then `tree/` in the order of paths. Content
 * that has several paths is stored once, its other paths are hard links. The same set gives the same bytes on any machine.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { bytesSource } from "../formats/byte-source.ts";
import { createTarWriter } from "../formats/tar.ts";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { fileBytes } from "../io/spool.ts";
import { SlipwayError } from "../model/errors.ts";
import type { BlobPool } from "./blob-pool.ts";
import { bundledFiles, bundleManifestName, bundleScriptName, bundleSumsName, bundleTree, renderBundleManifest } from "./bundle-manifest.ts";
import type { SetManifest } from "./file-set.ts";
import { verifyScript } from "./verify-script.ts";

export type BundleRequest = {
  readonly pool: BlobPool;
  readonly set: SetManifest;
  /** The set that the other side has: its unchanging files are left out. */
  readonly since: SetManifest | undefined;
  /** The bundle; with `splitBytes` the parts are `<path>.001` and so on. */
  readonly path: string;
  readonly splitBytes: number | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number) => void;
};

export type WrittenBundle = {
  readonly parts: readonly { readonly path: string; readonly size: number; readonly sha256: string }[];
  readonly files: number;
  readonly bytes: number;
  /** `sha256sum -c` reads it: one line for each part. */
  readonly sumsPath: string;
  /** What the next addition is counted from (`since`), for who does not keep the bundle itself. */
  readonly manifestPath: string;
};

/** What a plain tar header can say (11 octal digits); a larger member gets a PAX record with its size. */
const octalSizeLimit = 0o77777777777;

/** Bytes that `writeBundle` will read: for a progress bar. */
export function bundleSize(set: SetManifest, since: SetManifest | undefined): number {
  const sizes = new Map(bundledFiles(set, since).map((file) => [file.sha256, file.size]));
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

/** Parts appear under their names when all are complete. On failure nothing is left. Throws `interrupted`, `disk_full`. */
export async function writeBundle(request: BundleRequest): Promise<WrittenBundle> {
  const { set, since, pool, path } = request;
  const files = bundledFiles(set, since);
  // As the tree will stand on the other side: without what has left the set.
  const carried: SetManifest = { ...set, files: set.files.filter((file) => file.until === undefined) };
  const manifest = renderBundleManifest({ schema: 1, kind: "slipway-mirror-bundle", ...(since === undefined ? {} : { since: since.id }), set: carried });
  const script = Buffer.from(verifyScript);
  const sums = Buffer.from(
    [
      `${hashOf(manifest)}  ${bundleManifestName}\n`,
      `${hashOf(script)}  ${bundleScriptName}\n`,
      ...files.map((file) => `${file.sha256}  ${bundleTree}${file.path}\n`),
    ].join(""),
  );
  const epochSeconds = Math.floor(Date.parse(set.createdAt) / 1000);
  const output = await createParts(path, request.splitBytes);
  let bytes = 0;
  try {
    const tar = createTarWriter(output.write);
    const small = async (name: string, content: Uint8Array, mode: number): Promise<void> =>
      tar.add({ name, kind: "file", mode, epochSeconds }, bytesSource(content));
    await small(bundleManifestName, manifest, 0o644);
    await small(bundleSumsName, sums, 0o644);
    await small(bundleScriptName, script, 0o755);
    const stored = new Map<string, string>();
    for (const file of files) {
      if (request.signal.aborted) throw new SlipwayError("interrupted", "the export was interrupted; nothing was written");
      const name = `${bundleTree}${file.path}`;
      const earlier = stored.get(file.sha256);
      if (earlier !== undefined) {
        await tar.add({ name, kind: "hardlink", mode: 0o644, target: earlier, epochSeconds });
        continue;
      }
      // Hashed once more on its way: a disk that rots must not be carried to the other side.
      const pax = file.size > octalSizeLimit ? { pax: {} } : {};
      const content = fileBytes(pool.pathOf(file.sha256), file.size);
      const sha256 = await tar.addHashed({ name, kind: "file", mode: 0o644, epochSeconds, ...pax }, content, "sha256");
      if (sha256 !== file.sha256) {
        throw new SlipwayError("format_invalid", `${pool.pathOf(file.sha256)} is damaged`, {
          place: pool.pathOf(file.sha256),
          hint: "remove that file and sync again: it is fetched anew",
        });
      }
      stored.set(file.sha256, name);
      bytes += file.size;
      request.onProgress(bytes);
    }
    await tar.end();
    const parts = await output.commit();
    const sumsPath = `${path}.sha256`;
    await writeFileAtomic(`${path}.manifest.json`, manifest, { mode: 0o644 });
    await writeFileAtomic(sumsPath, parts.map((part) => `${part.sha256}  ${basename(part.path)}\n`).join(""), { mode: 0o644 });
    return { parts, files: files.length, bytes, sumsPath, manifestPath: `${path}.manifest.json` };
  } catch (error) {
    await output.discard();
    throw error;
  }
}

const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

type Part = { readonly handle: FileHandle; readonly temporary: string; readonly path: string; readonly hash: ReturnType<typeof createHash>; size: number };

type PartsOutput = {
  readonly write: (piece: Uint8Array) => Promise<void>;
  readonly commit: () => Promise<WrittenBundle["parts"]>;
  readonly discard: () => Promise<void>;
};

/** One file, or files of at most so many bytes each. */
async function createParts(path: string, splitBytes: number | undefined): Promise<PartsOutput> {
  const parts: Part[] = [];
  const begin = async (): Promise<Part> => {
    const named = splitBytes === undefined ? path : `${path}.${String(parts.length + 1).padStart(3, "0")}`;
    const temporary = `${named}.tmp-${process.pid}`;
    const part = { handle: await open(temporary, "wx", 0o644), temporary, path: named, hash: createHash("sha256"), size: 0 };
    parts.push(part);
    return part;
  };
  let part = await begin();
  return {
    write: async (piece) => {
      for (let offset = 0; offset < piece.length; ) {
        if (splitBytes !== undefined && part.size === splitBytes) part = await begin();
        const room = splitBytes === undefined ? piece.length : splitBytes - part.size;
        const slice = piece.subarray(offset, offset + room);
        part.hash.update(slice);
        await part.handle.writeFile(slice);
        part.size += slice.length;
        offset += slice.length;
      }
    },
    commit: async () => {
      for (const { handle } of parts) {
        await handle.sync();
        await handle.close();
      }
      for (const { temporary, path: named } of parts) await rename(temporary, named);
      await syncDirectory(dirname(path));
      return parts.map(({ path: named, size, hash }) => ({ path: named, size, sha256: hash.digest("hex") }));
    },
    discard: async () => {
      for (const { handle, temporary } of parts) {
        await handle.close().catch(() => undefined); // closed already where the commit failed after it
        await rm(temporary, { force: true });
      }
    },
  };
}
