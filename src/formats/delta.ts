/**
 * A delta: what makes a new file out of an old one. Neither its maker nor its bytes are trusted: who applies one compares the outcome with the
 * signed digest, and here nothing is read or written beyond the bounds that were given.
 *
 *     "SLWDELT2"                      8 bytes
 *     size of the new file            u64, little-endian, as all of these
 *     size of each stream             3 x u64, as stored
 *     control | differences | extra   three zstd frames (RFC 8878), window at most 8 MiB
 *
 * `control` is a list of unsigned LEB128 numbers: the layout of the old file, that of the new one (delta-layout.ts), then three to a step: `add`,
 * `extra`, `seek` (zigzag). A step takes `add` bytes of the old file from where it stands, adds to each the next byte of `differences` (modulo
 * 256), appends the next `extra` bytes of `extra`, then moves `seek` bytes from there in the old file. The scheme is that of bsdiff (C. Percival,
 * 2003), with other matches (delta-match.ts). Where the layouts say that addresses stand, the difference is that from where the steps have taken
 * what the old one points to (delta-predict.ts); therefore the steps are read twice, the first time for the map of them all.
 */
import { createZstdDecompress, constants } from "node:zlib";
import { Readable } from "node:stream";
import { SlipwayError } from "../model/errors.ts";
import { readLayout, type Region } from "./delta-layout.ts";
import { createStepMap, type StepMap } from "./delta-map.ts";
import { createCoder } from "./delta-predict.ts";
import type { ByteSink } from "./package.ts";

export const deltaMagic = Buffer.from("SLWDELT2", "latin1");
export const deltaHeaderBytes = deltaMagic.length + 4 * 8;
/** 2^23 = 8 MiB: what a reader must hold for each of the three streams. */
export const deltaWindowLog = 23;

/** Bytes read where they lie. */
export type PositionedBytes = {
  readonly size: number;
  /** Exactly `length` bytes from `offset`, which are there. */
  readonly read: (offset: number, length: number) => Promise<Uint8Array>;
};

const pieceBytes = 256 * 1024;
const invalid = (text: string): SlipwayError => new SlipwayError("format_invalid", `the delta is damaged: ${text}`);

export type DeltaOptions = {
  readonly delta: PositionedBytes;
  readonly old: PositionedBytes;
  readonly sink: ByteSink;
  /** The new file may not be larger, in bytes. */
  readonly limitBytes: number;
};

/**
 * Writes the new file into `sink`; holds a few pieces, three windows and a map of at most 24 MiB (52 while it is made), however large the files are. Throws `format_limit`
 * where the new file would be larger than the limit, `format_invalid` for everything else that is wrong; what was written until then is worthless.
 */
export async function applyDelta({ delta, old, sink, limitBytes }: DeltaOptions): Promise<void> {
  if (delta.size < deltaHeaderBytes) throw invalid("it is shorter than its header");
  const header = Buffer.from(await delta.read(0, deltaHeaderBytes));
  if (!header.subarray(0, deltaMagic.length).equals(deltaMagic)) throw invalid("it does not begin as one");
  const [newSize = 0, controlSize = 0, differencesSize = 0, extraSize = 0] = [0, 1, 2, 3].map((at) => readSize(header, deltaMagic.length + at * 8));
  if (newSize > limitBytes) throw new SlipwayError("format_limit", `the delta would make ${newSize} bytes; at most ${limitBytes} are expected`);
  if (deltaHeaderBytes + controlSize + differencesSize + extraSize !== delta.size) throw invalid("its streams do not fill it");
  const sizes = { old: old.size, new: newSize };
  const controls = (): DeltaStream => openStream(delta, deltaHeaderBytes, controlSize);
  const { layouts, map } = await surveySteps(controls(), sizes);
  const code = createCoder({ way: "apply", ...layouts, map });
  const control = controls();
  const differences = openStream(delta, deltaHeaderBytes + controlSize, differencesSize);
  const extra = openStream(delta, deltaHeaderBytes + controlSize + differencesSize, extraSize);
  const coding = { old: old.read, input: (_at: number, length: number) => differences.bytes(length), output: sink };
  try {
    await readLayouts(control);
    for await (const { at, from, add, append } of readSteps(control, sizes)) {
      await code({ at, from, length: add }, coding);
      for (let done = 0; done < append; ) {
        const piece = await extra.bytes(Math.min(pieceBytes, append - done));
        await sink(piece);
        done += piece.length;
      }
    }
    for (const stream of [control, differences, extra]) if (!(await stream.isAtEnd())) throw invalid("it has more than the new file needs");
  } finally {
    for (const stream of [control, differences, extra]) stream.close();
  }
}

type Layouts = { readonly old: readonly Region[]; readonly new: readonly Region[] };

/** Reads all of `control`. Without a layout no address is looked up, and nothing of the steps is kept. */
async function surveySteps(control: DeltaStream, sizes: Sizes): Promise<{ readonly layouts: Layouts; readonly map: StepMap }> {
  const map = createStepMap();
  try {
    const layouts = await readLayouts(control);
    if (layouts.old.length > 0) for await (const { at, from, add } of readSteps(control, sizes)) map.add(at, from, add);
    return { layouts, map: map.finish() };
  } finally {
    control.close();
  }
}

async function readLayouts(control: DeltaStream): Promise<Layouts> {
  const [old, fresh] = [await readLayout(control.number), await readLayout(control.number)];
  if (old === undefined || fresh === undefined) throw invalid("the layout of a file is out of all bounds");
  return { old, new: fresh };
}

type Sizes = { readonly old: number; readonly new: number };
type DeltaStep = { readonly at: number; readonly from: number; readonly add: number; readonly append: number };

/** The steps that make the whole new file, and lie in both files. */
async function* readSteps(control: DeltaStream, sizes: Sizes): AsyncGenerator<DeltaStep> {
  let at = 0;
  let from = 0;
  for (let isFirst = true; at < sizes.new; isFirst = false) {
    const add = await control.number();
    const append = await control.number();
    const seek = unzigzag(await control.number());
    // Only the first step may make nothing: it says where in the old file to begin. Others would be a way to go on for ever.
    if ((add + append === 0 && !isFirst) || at + add + append > sizes.new) throw invalid("a step leads past the end of the new file");
    if (from + add > sizes.old) throw invalid("a step leads past the end of the old file");
    yield { at, from, add, append };
    at += add + append;
    from += add + seek;
    if (from < 0 || from > sizes.old) throw invalid("a step leads out of the old file");
  }
}

function readSize(header: Buffer, offset: number): number {
  const size = header.readBigUInt64LE(offset);
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid("a size is out of all bounds");
  return Number(size);
}

const unzigzag = (number: number): number => (number % 2 === 0 ? number / 2 : -(number + 1) / 2);

type DeltaStream = {
  /** The next `length` bytes. */
  readonly bytes: (length: number) => Promise<Buffer>;
  readonly number: () => Promise<number>;
  readonly isAtEnd: () => Promise<boolean>;
  readonly close: () => void;
};

/** One stream, unpacked as it is asked for: what a bomb would unpack to beyond that is never made. */
function openStream(delta: PositionedBytes, start: number, size: number): DeltaStream {
  const packed = Readable.from(readPieces(delta, start, size), { objectMode: false, highWaterMark: pieceBytes });
  const plain = createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: deltaWindowLog } });
  packed.on("error", (error) => plain.destroy(error));
  // The iterator below hears it only once it is asked; a stream that fails before that must not end the process.
  plain.on("error", () => undefined);
  packed.pipe(plain);
  const pieces = plain[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let current: Uint8Array = new Uint8Array(0);
  let at = 0;
  /** False at the end. */
  const fill = async (): Promise<boolean> => {
    while (at >= current.length) {
      const next = await pieces.next().catch((error: unknown) => {
        throw error instanceof SlipwayError ? error : new SlipwayError("format_invalid", "the delta is damaged: a stream cannot be unpacked", { cause: error });
      });
      if (next.done === true) return false;
      current = next.value;
      at = 0;
    }
    return true;
  };
  const byte = async (): Promise<number> => {
    if (at >= current.length && !(await fill())) throw invalid("a stream ends too early");
    return current[at++] ?? 0;
  };
  return {
    bytes: async (length) => {
      const taken = Buffer.allocUnsafe(length);
      for (let done = 0; done < length; ) {
        if (!(await fill())) throw invalid("a stream ends too early");
        const count = Math.min(length - done, current.length - at);
        taken.set(current.subarray(at, at + count), done);
        at += count;
        done += count;
      }
      return taken;
    },
    number: async () => {
      let value = 0;
      for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
        const next = await byte();
        value += (next & 0x7f) * factor;
        if (next < 0x80) {
          if (value > Number.MAX_SAFE_INTEGER) break;
          return value;
        }
      }
      throw invalid("a number is out of all bounds");
    },
    isAtEnd: async () => !(await fill()),
    close: () => {
      packed.destroy();
      plain.destroy();
    },
  };
}

async function* readPieces(delta: PositionedBytes, start: number, size: number): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < size; done += pieceBytes) yield delta.read(start + done, Math.min(pieceBytes, size - done));
}
