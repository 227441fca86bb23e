/** Reads the central directory of a zip and its members (APPNOTE.TXT 4.3), for looking and comparing: no zip64, no encryption. */
import { pipeline, Readable } from "node:stream";
import { createInflateRaw } from "node:zlib";
import { SlipwayError } from "../model/errors.ts";
import type { RandomAccess } from "./program-image.ts";

export type ZipMember = {
  readonly name: string;
  /** Unix mode with type bits, or 0. */
  readonly mode: number;
  /** DOS date and time, as stored. */
  readonly dosTime: number;
  readonly sizeBytes: number;
  readonly body: () => AsyncIterable<Uint8Array>;
};

const endSize = 22;
const commentLimit = 0xffff;
const directoryLimit = 64 * 1024 * 1024;
const pieceSize = 1024 * 1024;

/** The members in the order of the directory. Throws `format_invalid` for damage and for what is not read here. */
export async function* readZip(file: RandomAccess): AsyncGenerator<ZipMember> {
  const tail = await file.read(Math.max(0, file.size - endSize - commentLimit), Math.min(file.size, endSize + commentLimit));
  const end = tail.lastIndexOf(Buffer.from("504b0506", "hex"));
  if (end < 0 || end + endSize > tail.length) throw new SlipwayError("format_invalid", "the zip has no end of its central directory");
  const size = tail.readUInt32LE(end + 12);
  if (size > directoryLimit) throw new SlipwayError("format_limit", `the zip's directory announces ${size} bytes`);
  const directory = await file.read(tail.readUInt32LE(end + 16), size);
  for (let at = 0; at + 46 <= directory.length; ) {
    if (directory.readUInt32LE(at) !== 0x02014b50) throw new SlipwayError("format_invalid", "the zip's central directory is damaged");
    const [nameSize, extraSize, commentSize] = [directory.readUInt16LE(at + 28), directory.readUInt16LE(at + 30), directory.readUInt16LE(at + 32)];
    const method = directory.readUInt16LE(at + 10);
    const packedBytes = directory.readUInt32LE(at + 20);
    const local = directory.readUInt32LE(at + 42);
    yield {
      name: directory.toString("utf8", at + 46, at + 46 + nameSize),
      mode: directory.readUInt32LE(at + 38) >>> 16,
      dosTime: directory.readUInt32LE(at + 12),
      sizeBytes: directory.readUInt32LE(at + 24),
      body: () => memberBytes(file, { local, packedBytes, method }),
    };
    at += 46 + nameSize + extraSize + commentSize;
  }
}

async function* memberBytes(
  file: RandomAccess,
  member: { readonly local: number; readonly packedBytes: number; readonly method: number },
): AsyncGenerator<Uint8Array> {
  const header = await file.read(member.local, 30);
  const start = member.local + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  const packed = pieces(file, start, member.packedBytes);
  if (member.method === 0) {
    yield* packed;
    return;
  }
  if (member.method !== 8) throw new SlipwayError("format_invalid", `the zip uses compression method ${member.method}; 0 and 8 are read`);
  const inflate = createInflateRaw();
  pipeline(Readable.from(packed, { objectMode: false }), inflate, () => undefined); // a failure destroys `inflate`, so the loop throws it
  try {
    for await (const piece of inflate as AsyncIterable<Buffer>) yield piece;
  } finally {
    inflate.destroy();
  }
}

async function* pieces(file: RandomAccess, start: number, count: number): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < count; ) {
    const piece = await file.read(start + done, Math.min(pieceSize, count - done));
    done += piece.length;
    yield piece;
  }
}
