/**
 * Makes a delta (delta.ts) of files of any size, in bounded memory: first all its steps, which is a matter of searching (delta-match.ts), then what
 * stands between them and the differences that are left (delta-predict.ts).
 */
import { constants } from "node:zlib";
import { createZstdCompressor } from "./compress.ts";
import { deltaMagic, deltaWindowLog } from "./delta.ts";
import { layoutNumbers } from "./delta-layout.ts";
import { createStepList, createStepMap, type StepList } from "./delta-map.ts";
import { searchMatches, type Side } from "./delta-match.ts";
import type { SteadyBytes } from "./delta-pages.ts";
import { createCoder, type Step } from "./delta-predict.ts";
import { findRegions } from "./delta-programs.ts";
import { alignTables } from "./delta-tables.ts";
import type { ByteSink, Compressor } from "./package.ts";

export type DeltaMaking = {
  readonly old: SteadyBytes;
  readonly new: SteadyBytes;
  /** What follows the header, each by itself, in the order of their names here. */
  readonly streams: { readonly control: ByteSink; readonly differences: ByteSink; readonly extra: ByteSink };
  /** zstd's, 1 to 19. */
  readonly level?: number;
  /** Called with the bytes of the new file that are done. */
  readonly onProgress?: (doneBytes: number) => void;
};

/** Of the packer's search: the library would take 24, and four times the memory, for less than 1 % of a delta. */
const chainLog = 22;
const pieceBytes = 64 * 1024;

/** Writes the three streams and returns the header that stands before them. Throws what reading and the sinks throw. */
export async function makeDelta({ old: oldFile, new: newFile, streams, level = 19, onProgress }: DeltaMaking): Promise<Buffer> {
  const old: Side = { file: oldFile, regions: await findRegions(oldFile) };
  const fresh: Side = { file: newFile, regions: await findRegions(newFile) };
  const steps = findSteps(old, fresh, (done) => onProgress?.(Math.floor(done / 2)));
  const control = openStream(streams.control, level, 20);
  const differences = openStream(streams.differences, level);
  const extra = openStream(streams.extra, level);
  const hasLayout = old.regions.length > 0 && fresh.regions.length > 0;
  const layouts = hasLayout ? { old: old.regions, new: fresh.regions } : { old: [], new: [] };
  const map = createStepMap();
  if (hasLayout) for (let index = 0; index < steps.count(); index += 1) map.add(steps.at(index), steps.from(index), steps.length(index));
  const code = createCoder({ way: "make", ...layouts, map: map.finish() });
  const readNew = reader(newFile);
  const input = (at: number, length: number): Buffer => {
    onProgress?.(Math.floor((newFile.size + at) / 2));
    return readNew(at, length);
  };
  const coding = { old: reader(oldFile), input, output: (piece: Buffer) => differences.write(piece) };
  await control.write(numberBytes([...layoutNumbers(layouts.old), ...layoutNumbers(layouts.new)]));

  /** Writes a match, and what stands between it and the next one. */
  const emit = async (match: Step, next: Step): Promise<void> => {
    await code(match, coding);
    const end = match.at + match.length;
    for (let at = end; at < next.at; ) {
      const piece = input(at, Math.min(pieceBytes, next.at - at));
      await extra.write(piece);
      at += piece.length;
    }
    const seek = next.from - match.from - match.length;
    if (next.at > match.at || seek !== 0) await control.write(numberBytes([match.length, next.at - end, seek < 0 ? -seek * 2 - 1 : seek * 2]));
  };
  let match: Step = { at: 0, from: 0, length: 0 };
  for (let index = 0; index < steps.count(); index += 1) {
    const next = { at: steps.at(index), from: steps.from(index), length: steps.length(index) };
    await emit(match, next);
    match = next;
  }
  await emit(match, { at: newFile.size, from: match.from + match.length, length: 0 });
  onProgress?.(newFile.size);
  const header = Buffer.alloc(4 * 8);
  header.writeBigUInt64LE(BigInt(newFile.size), 0);
  for (const [index, stream] of [control, differences, extra].entries()) header.writeBigUInt64LE(BigInt(await stream.end()), (index + 1) * 8);
  return Buffer.concat([deltaMagic, header]);
}

function findSteps(old: Side, fresh: Side, onProgress: (done: number) => void): StepList {
  const steps = createStepList();
  searchMatches({ old, new: fresh, steps, onProgress });
  return alignTables(old, fresh, steps);
}

const reader =
  ({ readInto }: SteadyBytes) =>
  (offset: number, length: number): Buffer => {
    const bytes = Buffer.allocUnsafe(length);
    readInto(offset, bytes);
    return bytes;
  };

/** Packs as it is written; `end` returns the size. */
function openStream(sink: ByteSink, level: number, windowLog = deltaWindowLog): { readonly write: Compressor["write"]; readonly end: () => Promise<number> } {
  let size = 0;
  const params = {
    [constants.ZSTD_c_compressionLevel]: level,
    [constants.ZSTD_c_windowLog]: windowLog,
    [constants.ZSTD_c_chainLog]: Math.min(chainLog, windowLog),
    [constants.ZSTD_c_hashLog]: Math.min(chainLog - 2, windowLog - 2),
  };
  const compressor = createZstdCompressor(params, (piece) => {
    size += piece.length;
    return sink(piece);
  });
  return {
    write: compressor.write,
    end: async () => {
      await compressor.end();
      return size;
    },
  };
}

/** Unsigned LEB128. */
function numberBytes(numbers: readonly number[]): Uint8Array {
  const bytes: number[] = [];
  for (const number of numbers) {
    let rest = number;
    for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
    bytes.push(rest);
  }
  return Uint8Array.from(bytes);
}
