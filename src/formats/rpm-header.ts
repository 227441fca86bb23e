/**
 * The header structure of rpm: an intro, an index of (tag, type, offset, count) and a data area, all big-endian.
 *
 * The first index entry is the region: its data is a 16-byte trailer at the end of the data area that says how many entries are covered
 * by digest and signature (a negative offset of 16 bytes per entry). Source: rpm's docs/manual/format.md and lib/header.c.
 */
import { SlipwayError } from "../model/errors.ts";
import { plainText } from "./plain-text.ts";

export type RpmValue =
  | { readonly kind: "int16" | "int32"; readonly values: readonly number[] }
  | { readonly kind: "string"; readonly text: string }
  | { readonly kind: "strings" | "i18n"; readonly texts: readonly string[] }
  | { readonly kind: "binary"; readonly bytes: Uint8Array };

const introMagic = Buffer.from("8eade80100000000", "hex");
export const rpmHeaderIntroSize = 16;
const indexEntrySize = 16;
/** rpm's own limit (HEADER_TAGS_MAX). */
const tagLimit = 0xffff;

const typeNumber = { int16: 3, int32: 4, int64: 5, string: 6, binary: 7, strings: 8, i18n: 9 } as const;
/** Bytes of one number; offsets are multiples of it. */
const numberSize: Readonly<Record<number, number>> = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8 };

/** The bytes of a header with the given region tag; entries may come in any order and are sorted by tag. */
export function encodeRpmHeader(regionTag: number, entries: ReadonlyMap<number, RpmValue>): Buffer {
  const sorted = [...entries].sort(([left], [right]) => left - right);
  const data: Buffer[] = [];
  let dataSize = 0;
  const append = (piece: Buffer, alignment: number): number => {
    const padding = (alignment - (dataSize % alignment)) % alignment;
    data.push(Buffer.alloc(padding), piece);
    const offset = dataSize + padding;
    dataSize = offset + piece.length;
    return offset;
  };
  const index = sorted.map(([tag, value]) => {
    const { bytes, count } = encodeValue(value);
    return indexEntry({ tag, type: typeNumber[value.kind], offset: append(bytes, numberSize[typeNumber[value.kind]] ?? 1), count });
  });
  const entryCount = index.length + 1;
  const trailer = indexEntry({ tag: regionTag, type: typeNumber.binary, offset: -indexEntrySize * entryCount, count: indexEntrySize });
  const region = indexEntry({ tag: regionTag, type: typeNumber.binary, offset: append(trailer, 1), count: indexEntrySize });
  const counts = Buffer.alloc(8);
  counts.writeUInt32BE(entryCount, 0);
  counts.writeUInt32BE(dataSize, 4);
  return Buffer.concat([introMagic, counts, region, ...index, ...data]);
}

function indexEntry(entry: IndexEntry): Buffer {
  const bytes = Buffer.alloc(indexEntrySize);
  bytes.writeUInt32BE(entry.tag, 0);
  bytes.writeUInt32BE(entry.type, 4);
  bytes.writeInt32BE(entry.offset, 8);
  bytes.writeUInt32BE(entry.count, 12);
  return bytes;
}

function encodeValue(value: RpmValue): { readonly bytes: Buffer; readonly count: number } {
  switch (value.kind) {
    case "int16":
    case "int32": {
      const size = value.kind === "int16" ? 2 : 4;
      const bytes = Buffer.alloc(size * value.values.length);
      for (const [place, number] of value.values.entries()) bytes.writeUIntBE(number, size * place, size);
      return { bytes, count: value.values.length };
    }
    case "string":
      return { bytes: encodeTexts([value.text]), count: 1 };
    case "binary":
      return { bytes: Buffer.from(value.bytes), count: value.bytes.length };
    default:
      return { bytes: encodeTexts(value.texts), count: value.texts.length };
  }
}

function encodeTexts(texts: readonly string[]): Buffer {
  for (const text of texts) if (text.includes("\0")) throw new SlipwayError("recipe_invalid", "a text of an rpm header holds a NUL");
  return Buffer.from(`${texts.join("\0")}\0`);
}

type IndexEntry = { readonly tag: number; readonly type: number; readonly offset: number; readonly count: number };

export type RpmHeader = {
  /** The one string, or undefined where the tag is absent. Wrong types throw `format_invalid`. */
  readonly text: (tag: number) => string | undefined;
  readonly texts: (tag: number) => readonly string[];
  /** Numbers of 8, 16, 32 and 64 bits. */
  readonly numbers: (tag: number) => readonly number[];
  readonly binary: (tag: number) => Buffer | undefined;
};

/** The sizes that an intro announces: entries, data bytes, and both together; throws `format_invalid` and `format_limit`. */
export function parseRpmIntro(intro: Buffer, limitBytes: number): { readonly entryCount: number; readonly dataSize: number; readonly bodySize: number } {
  if (!intro.subarray(0, 8).equals(introMagic)) throw new SlipwayError("format_invalid", "expected an rpm header that begins with 8eade801");
  const entryCount = intro.readUInt32BE(8);
  const dataSize = intro.readUInt32BE(12);
  if (entryCount < 1 || entryCount > tagLimit) throw new SlipwayError("format_invalid", `an rpm header cannot have ${entryCount} entries`);
  const bodySize = entryCount * indexEntrySize + dataSize;
  if (bodySize > limitBytes) throw new SlipwayError("format_limit", `an rpm header announces ${bodySize} bytes; the limit is ${limitBytes}`);
  return { entryCount, dataSize, bodySize };
}

/**
 * Reads a whole header (intro included) and checks it: every entry inside the data area and aligned, no tag twice, strings closed, and a
 * region with the given tag that covers all entries. Throws `format_invalid`.
 */
export function parseRpmHeader(bytes: Buffer, regionTag: number): RpmHeader {
  const { entryCount, dataSize } = parseRpmIntro(bytes.subarray(0, rpmHeaderIntroSize), bytes.length);
  const dataStart = rpmHeaderIntroSize + entryCount * indexEntrySize;
  const data = bytes.subarray(dataStart, dataStart + dataSize);
  if (data.length !== dataSize) throw new SlipwayError("format_invalid", `an rpm header ends ${dataSize - data.length} bytes early`);
  const entries = new Map<number, IndexEntry>();
  for (let place = 0; place < entryCount; place += 1) {
    const entry = readIndexEntry(bytes, rpmHeaderIntroSize + place * indexEntrySize);
    if (entry.offset < 0 || entry.offset > dataSize || entry.count < 1 || entry.count > dataSize || entries.has(entry.tag)) throw damaged(entry.tag);
    entries.set(entry.tag, entry);
    if (place === 0) checkRegion(entry, { data, regionTag, entryCount });
  }
  const numbers = (tag: number): readonly number[] => {
    const entry = entries.get(tag);
    return entry === undefined ? [] : readNumbers(entry, data);
  };
  const texts = (tag: number): readonly string[] => {
    const entry = entries.get(tag);
    return entry === undefined ? [] : readTexts(entry, data);
  };
  return {
    numbers,
    texts,
    text: (tag) => texts(tag)[0],
    binary: (tag) => {
      const entry = entries.get(tag);
      if (entry === undefined) return undefined;
      if (entry.type !== typeNumber.binary || entry.offset + entry.count > dataSize) throw damaged(tag);
      return data.subarray(entry.offset, entry.offset + entry.count);
    },
  };
}

function readIndexEntry(bytes: Buffer, at: number): IndexEntry {
  return { tag: bytes.readUInt32BE(at), type: bytes.readUInt32BE(at + 4), offset: bytes.readInt32BE(at + 8), count: bytes.readUInt32BE(at + 12) };
}

/** Without this check entries could be appended after the signed region ("dribbles") and would look signed. */
function checkRegion(
  region: IndexEntry,
  { data, regionTag, entryCount }: { readonly data: Buffer; readonly regionTag: number; readonly entryCount: number },
): void {
  const isEntryRight = region.tag === regionTag && region.type === typeNumber.binary && region.count === indexEntrySize;
  if (!isEntryRight || region.offset + indexEntrySize !== data.length) throw damaged(regionTag);
  const trailer = readIndexEntry(data, region.offset);
  const isTrailerRight = trailer.tag === regionTag && trailer.type === typeNumber.binary && trailer.count === indexEntrySize;
  if (!isTrailerRight || trailer.offset !== -indexEntrySize * entryCount) throw damaged(regionTag);
}

function readNumbers(entry: IndexEntry, data: Buffer): readonly number[] {
  const size = numberSize[entry.type];
  if (size === undefined || entry.offset % size !== 0 || entry.offset + size * entry.count > data.length) throw damaged(entry.tag);
  return Array.from({ length: entry.count }, (_, place) => {
    const at = entry.offset + size * place;
    return size === 8 ? Number(data.readBigUInt64BE(at)) : data.readUIntBE(at, size);
  });
}

function readTexts(entry: IndexEntry, data: Buffer): readonly string[] {
  const isText = entry.type === typeNumber.string || entry.type === typeNumber.strings || entry.type === typeNumber.i18n;
  if (!isText || (entry.type === typeNumber.string && entry.count !== 1)) throw damaged(entry.tag);
  const texts: string[] = [];
  for (let at = entry.offset; texts.length < entry.count; ) {
    const end = data.indexOf(0, at);
    if (end === -1) throw damaged(entry.tag);
    texts.push(plainText(data.subarray(at, end)));
    at = end + 1;
  }
  return texts;
}

function damaged(tag: number): SlipwayError {
  return new SlipwayError("format_invalid", `the entry of tag ${tag} in an rpm header is damaged`);
}
