/**
 * A delta instead of the whole artifact, where the release has one from exactly the files that are live. It proves nothing: what it makes has to have
 * the artifact's signed size and digest, and any failure means that the whole artifact is downloaded.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { createCompressor } from "../formats/compress.ts";
import { applyDelta, type PositionedBytes } from "../formats/delta.ts";
import { syncDirectory } from "../io/atomic-file.ts";
import { downloadPart } from "../io/download.ts";
import { readHandle } from "../io/hash-file.ts";
import { lastStartingAt } from "../io/segments.ts";
import { writeAll } from "../io/write-all.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Manifest, ManifestArtifact } from "../model/manifest.ts";
import type { Version } from "../model/version.ts";
import { openRegular, seeFile } from "./file-tree.ts";
import type { Work } from "./work.ts";

/** A larger delta is not worth the work (updater facts 3.12). */
const worthwhileShare = 0.6;
/** A tar's headers and padding, per file; what a delta makes may not be larger than the signed files with these. */
const perFileBytes = 4096;
const partName = "delta.part";
const madeName = "delta.made";

export type DeltaWish = {
  readonly manifest: Manifest;
  readonly artifact: ManifestArtifact;
  readonly version: Version;
  readonly folder: string;
  readonly name: string;
};

/** Leaves the whole artifact under `name` in `folder`, or nothing. Throws only where the operator interrupts. */
export async function tryDelta(work: Work, wish: DeltaWish): Promise<void> {
  const { artifact, manifest, folder } = wish;
  const deltas = manifest.artifacts.filter((one) => one.kind === "delta" && one.delta?.of === artifact.name && one.size < worthwhileShare * artifact.size);
  if (deltas.length === 0 || (await seeFile(join(folder, wish.name))) !== undefined) return;
  let old: OldFiles | undefined;
  try {
    old = await openOld(work);
    const base = old;
    const delta = deltas.find((one) => one.delta?.from === base?.sha256);
    if (base === undefined || delta === undefined) return;
    await makeFrom(work, { ...wish, delta, old: base });
    work.machine.observe({
      event: "step",
      step: "delta",
      text: `${artifact.name} was made from what is live and ${delta.size} bytes instead of ${artifact.size}`,
    });
  } catch (error) {
    if (work.signal.aborted) throw error;
    work.machine.observe({
      event: "warning",
      text: `the delta is of no use (${error instanceof Error ? error.message : String(error)}); ${artifact.name} is downloaded whole`,
    });
  } finally {
    await old?.close();
    for (const name of [partName, madeName]) await rm(join(folder, name), { force: true });
  }
}

type Making = DeltaWish & { readonly delta: ManifestArtifact; readonly old: OldFiles };

async function makeFrom(work: Work, { artifact, version, folder, name, delta, old }: Making): Promise<void> {
  const { source, signal, machine } = work;
  const how = delta.delta;
  if (how === undefined) throw new SlipwayError("internal", "a delta without its base");
  const part = join(folder, partName);
  await rm(part, { force: true });
  await source.artifact({ version, name: delta.name, signal }, (remote) =>
    downloadPart({ remote, size: delta.size, path: part, onProgress: (done) => machine.observe({ event: "download", done, total: delta.size }) }),
  );
  if ((await seeFile(part))?.sha256 !== delta.sha256) throw new SlipwayError("format_invalid", `${delta.name} is not the one that release.json lists`);
  const packed = await openRegular(part);
  if (packed === undefined) throw new SlipwayError("unavailable", `${part} is gone`);
  const made = join(folder, madeName);
  try {
    const handle = await open(made, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o600);
    try {
      await applyInto(handle, { artifact, old: old.bytes, delta: positioned(packed, delta.size), codec: how.codec, level: how.level });
      await handle.sync();
    } finally {
      await handle.close();
    }
  } finally {
    await packed.close();
  }
  await rename(made, join(folder, name));
  await syncDirectory(folder);
}

type Applying = {
  readonly artifact: ManifestArtifact;
  readonly old: PositionedBytes;
  readonly delta: PositionedBytes;
  readonly codec: "none" | "gzip" | "zstd";
  readonly level: number;
};

/** Ends as soon as it would make more than was signed: a bomb fills no disk. */
async function applyInto(handle: FileHandle, { artifact, old, delta, codec, level }: Applying): Promise<void> {
  const hash = createHash("sha256");
  let size = 0;
  const write = async (piece: Uint8Array): Promise<void> => {
    size += piece.length;
    if (size > artifact.size) throw new SlipwayError("format_limit", `the delta makes more than the ${artifact.size} bytes of ${artifact.name}`);
    hash.update(piece);
    await writeAll(handle, piece);
  };
  const listed = artifact.files ?? [];
  const limitBytes = codec === "none" ? artifact.size : listed.reduce((sum, file) => sum + file.size + perFileBytes, 1024 * 1024);
  const compressor = createCompressor({ codec, level }, write);
  await applyDelta({ delta, old, limitBytes, sink: (piece) => compressor.write(piece) });
  await compressor.end();
  // Another version of a compressor may make other bytes of the same content: that is no fault, and no gain either.
  if (size !== artifact.size || hash.digest("hex") !== artifact.sha256)
    throw new SlipwayError("format_invalid", `what it makes is not ${artifact.name} as it was signed`, { detail: "hash_mismatch" });
}

type OldFiles = { readonly bytes: PositionedBytes; readonly sha256: string; readonly close: () => Promise<void> };

/** The live files in the order of their paths in the release, one behind the other; undefined where nothing of ours is live. */
async function openOld({ installation, journal }: Work): Promise<OldFiles | undefined> {
  const { strategy, root } = installation;
  const { from } = journal.current();
  if (strategy !== "versions" && strategy !== "inplace") return undefined;
  const files = Object.entries(from.files)
    .map(([path, file]) => ({
      member: strategy === "versions" ? path : (file.member ?? path),
      path: join(root, strategy === "versions" ? (from.ref ?? "") : "", path),
    }))
    .sort((left, right) => (left.member < right.member ? -1 : 1));
  if (files.length === 0) return undefined;
  const hash = createHash("sha256");
  const parts: { readonly path: string; readonly start: number; readonly size: number }[] = [];
  let total = 0;
  for (const { path } of files) {
    const handle = await openRegular(path);
    if (handle === undefined) return undefined;
    const start = total;
    try {
      for await (const piece of readHandle(handle)) {
        hash.update(piece);
        total += piece.length;
      }
    } finally {
      await handle.close();
    }
    parts.push({ path, start, size: total - start });
  }
  return { ...joinedFiles(parts, total), sha256: hash.digest("hex") };
}

/** One file is open at a time, however many there are. */
function joinedFiles(
  parts: readonly { readonly path: string; readonly start: number; readonly size: number }[],
  size: number,
): Pick<OldFiles, "bytes" | "close"> {
  let current: { readonly index: number; readonly handle: FileHandle } | undefined;
  const close = async (): Promise<void> => {
    const { handle } = current ?? {};
    current = undefined;
    await handle?.close();
  };
  const openPart = async (index: number): Promise<FileHandle> => {
    if (current?.index === index) return current.handle;
    await close();
    const handle = await openRegular(parts[index]?.path ?? "");
    if (handle === undefined) throw new SlipwayError("conflict", `${parts[index]?.path ?? ""} is gone`);
    current = { index, handle };
    return handle;
  };
  const read = async (offset: number, length: number): Promise<Uint8Array> => {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const index = lastStartingAt(parts, at);
      const part = parts[index];
      if (part === undefined) throw new SlipwayError("internal", "read outside of the old files");
      const handle = await openPart(index);
      const wanted = Math.min(length - done, part.start + part.size - at);
      const { bytesRead } = await handle.read(bytes, done, wanted, at - part.start);
      if (bytesRead === 0) throw new SlipwayError("conflict", `${part.path} became shorter`);
      done += bytesRead;
    }
    return bytes;
  };
  return { bytes: { size, read }, close };
}

function positioned(handle: FileHandle, size: number): PositionedBytes {
  return {
    size,
    read: async (offset, length) => {
      const bytes = Buffer.allocUnsafe(length);
      for (let done = 0; done < length; ) {
        const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
        if (bytesRead === 0) throw new SlipwayError("format_invalid", "the delta became shorter");
        done += bytesRead;
      }
      return bytes;
    },
  };
}
