/** Where two files that should be the same first differ: which member, and at which byte of it. Two streams side by side, in bounded memory. */
import { open, stat } from "node:fs/promises";
import { readArHeader, readArMagic, readArPadding } from "../formats/ar.ts";
import { createByteReader } from "../formats/byte-reader.ts";
import { readCpio } from "../formats/cpio-read.ts";
import { decompress } from "../formats/decompress.ts";
import type { ByteSource, PackageCompression } from "../formats/package.ts";
import { readRpm } from "../formats/rpm-read.ts";
import { readTar, requireMember } from "../formats/tar-read.ts";
import { readZip } from "../formats/zip-read.ts";
import { fileBytes } from "../io/spool.ts";
import { SlipwayError } from "../model/errors.ts";

export type Difference = {
  /** `data.tar.gz: usr/bin/jaco`; absent where the file as a whole is meant. */
  readonly member?: string;
  /** Of the first byte that differs, in the member where one is named, else in the file. */
  readonly offset?: number;
  readonly why: string;
};

type Member = { readonly name: string /** Mode, owner, time, target. */; readonly attributes: string; readonly body: () => AsyncIterable<Uint8Array> };

const limits = { plainBytes: 16 * 1024 ** 3, members: 500_000, text: 8 * 1024 * 1024 } as const;
const codecs: Readonly<Record<string, PackageCompression["codec"]>> = { "": "none", ".gz": "gzip", ".zst": "zstd", ".xz": "xz" };

/** `left` is what was released, `right` what was built again. Undefined where they are the same. */
export async function findDifference(left: string, right: string): Promise<Difference | undefined> {
  const [leftBytes, rightBytes] = [await source(left), await source(right)];
  const offset = await firstDifference(leftBytes.open(), rightBytes.open());
  if (offset === undefined) return undefined;
  try {
    const found = await compareMembers(membersOf(left, leftBytes), membersOf(right, rightBytes));
    return found ?? { offset, why: "the members are the same, but packed differently: another version of a compression library" };
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return { offset, why: `one of the two cannot be opened: ${error.message}` };
  }
}

async function source(path: string): Promise<ByteSource> {
  return fileBytes(path, (await stat(path)).size);
}

/** The offset of the first byte that differs; where one ends before the other, its length. Undefined for the same bytes. */
export async function firstDifference(left: AsyncIterable<Uint8Array>, right: AsyncIterable<Uint8Array>): Promise<number | undefined> {
  const [one, other] = [left[Symbol.asyncIterator](), right[Symbol.asyncIterator]()];
  let [held, against]: [Uint8Array, Uint8Array] = [new Uint8Array(0), new Uint8Array(0)];
  let position = 0;
  try {
    for (;;) {
      if (held.length === 0) held = await next(one);
      if (against.length === 0) against = await next(other);
      if (held.length === 0 || against.length === 0) return held.length === against.length ? undefined : position;
      const size = Math.min(held.length, against.length);
      if (Buffer.compare(held.subarray(0, size), against.subarray(0, size)) !== 0) {
        for (let at = 0; at < size; at += 1) if (held[at] !== against[at]) return position + at;
      }
      position += size;
      held = held.subarray(size);
      against = against.subarray(size);
    }
  } finally {
    await one.return?.();
    await other.return?.();
  }
}

/** The next piece that is not empty, as a copy, since a source may reuse its buffer; empty at the end. */
async function next(iterator: AsyncIterator<Uint8Array>): Promise<Uint8Array> {
  for (let step = await iterator.next(); step.done !== true; step = await iterator.next()) if (step.value.length > 0) return Uint8Array.from(step.value);
  return new Uint8Array(0);
}

async function compareMembers(left: AsyncGenerator<Member>, right: AsyncGenerator<Member>): Promise<Difference | undefined> {
  try {
    for (;;) {
      const [released, rebuilt] = [await left.next(), await right.next()];
      if (released.done === true || rebuilt.done === true) {
        if (released.done === true && rebuilt.done === true) return undefined;
        const extra = (released.done === true ? rebuilt.value : released.value) as Member;
        return { member: extra.name, why: `only the ${released.done === true ? "rebuilt" : "released"} one has it` };
      }
      const [one, other] = [released.value, rebuilt.value];
      if (one.name !== other.name) return { member: one.name, why: `stands where the rebuilt one has ${other.name}` };
      if (one.attributes !== other.attributes) return { member: one.name, why: `is ${one.attributes}; rebuilt ${other.attributes}` };
      const offset = await firstDifference(one.body(), other.body());
      if (offset !== undefined) return { member: one.name, offset, why: "other bytes" };
    }
  } finally {
    await left.return(undefined);
    await right.return(undefined);
  }
}

/** By the name's ending; a file of another kind is one member by itself. */
async function* membersOf(path: string, bytes: ByteSource): AsyncGenerator<Member> {
  if (path.endsWith(".deb")) yield* debMembers(bytes);
  else if (path.endsWith(".rpm")) yield* rpmMembers(bytes);
  else if (path.endsWith(".zip")) yield* zipMembers(path);
  else if (path.endsWith(".tar.gz")) yield* tarMembers(decompress(bytes.open(), { codec: "gzip", limitBytes: limits.plainBytes, name: path }), "");
  else if (path.endsWith(".tar.zst")) yield* tarMembers(decompress(bytes.open(), { codec: "zstd", limitBytes: limits.plainBytes, name: path }), "");
  else if (path.endsWith(".tar")) yield* tarMembers(bytes.open(), "");
  else throw new SlipwayError("format_invalid", "it has no members");
}

async function* tarMembers(plain: AsyncIterable<Uint8Array>, archive: string): AsyncGenerator<Member> {
  const name = archive === "" ? "the archive" : archive;
  for await (const one of readTar(plain, { name, memberLimit: limits.members, pax: "read", areBackslashesPlain: true })) {
    const { kind, path, mode, owner, group, epochSeconds, target = "", body } = requireMember(one, archive);
    const attributes = `${kind} ${octal(mode)} ${owner}:${group} ${epochSeconds}${target === "" ? "" : ` -> ${target}`}`;
    yield { name: archive === "" ? path : `${archive}: ${path}`, attributes, body };
  }
}

/** The files first: control has their sums and sizes, so it differs wherever one of them does. */
async function* debMembers(bytes: ByteSource): AsyncGenerator<Member> {
  yield* arMembers(bytes, (name) => name.startsWith("data.tar"));
  yield* arMembers(bytes, (name) => !name.startsWith("data.tar"));
}

async function* arMembers(bytes: ByteSource, isWanted: (name: string) => boolean): AsyncGenerator<Member> {
  const reader = createByteReader(bytes.open(), "deb");
  try {
    await readArMagic(reader);
    for (let member = await readArHeader(reader); member !== undefined; member = await readArHeader(reader)) {
      const { name, sizeBytes } = member;
      const packed = reader.pieces(sizeBytes, name);
      if (isWanted(name)) yield* arMember(name, packed);
      for await (const _ of packed); // what the members did not take
      await readArPadding(reader, sizeBytes);
    }
  } finally {
    await reader.close();
  }
}

async function* arMember(name: string, packed: AsyncIterable<Uint8Array>): AsyncGenerator<Member> {
  const codec = codecs[/^(?:control|data)\.tar(.*)$/.exec(name)?.[1] ?? "none of them"];
  if (codec === undefined) yield { name, attributes: "", body: () => packed };
  else yield* tarMembers(decompress(packed, { codec, limitBytes: limits.plainBytes, name }), name);
}

/** The payload first: the header holds the digests of the files, so it differs wherever one of them does. */
async function* rpmMembers(bytes: ByteSource): AsyncGenerator<Member> {
  const { headerBytes, headerRange, payloadCodec } = await readRpmParts(bytes);
  const reader = createByteReader(bytes.open(), "rpm");
  try {
    for await (const _ of reader.pieces(headerRange.end, "the headers"));
    for await (const { name, mode, epochSeconds, body } of readCpio(
      decompress(reader.rest(), { codec: payloadCodec, limitBytes: limits.plainBytes, name: "the payload" }),
    )) {
      yield { name: `payload: ${name}`, attributes: `${octal(mode)} ${epochSeconds}`, body };
    }
  } finally {
    await reader.close();
  }
  yield { name: "header", attributes: "", body: () => once(headerBytes) };
  // Everything that the main header covers is the same: what is left is the lead and the signature header.
  const before = createByteReader(bytes.open(), "rpm");
  try {
    yield { name: "lead and signature header", attributes: "", body: () => before.pieces(headerRange.start, "the lead and the signature header") };
  } finally {
    await before.close();
  }
}

async function readRpmParts(bytes: ByteSource) {
  const { headerBytes, headerRange } = await readRpm(bytes);
  const reader = createByteReader(bytes.open(), "rpm");
  try {
    for await (const _ of reader.pieces(headerRange.end, "the headers"));
    const magic = (await reader.isAtEnd()) ? Buffer.alloc(0) : await reader.read(4, "the payload");
    return { headerBytes, headerRange, payloadCodec: codecOf(magic) };
  } finally {
    await reader.close();
  }
}

function codecOf(magic: Buffer): PackageCompression["codec"] {
  if (magic.readUInt16BE(0) === 0x1f8b) return "gzip";
  if (magic.readUInt32LE(0) === 0xfd2fb528) return "zstd";
  return magic.readUInt32BE(0) === 0xfd377a58 ? "xz" : "none";
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function* zipMembers(path: string): AsyncGenerator<Member> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    const read = async (offset: number, length: number): Promise<Buffer> => {
      if (offset < 0 || offset + length > size) throw new SlipwayError("format_invalid", `the zip has no ${length} bytes at ${offset}`);
      const bytes = Buffer.alloc(length);
      if (length > 0) await handle.read(bytes, 0, length, offset);
      return bytes;
    };
    for await (const { name, mode, dosTime, body } of readZip({ size, read })) yield { name, attributes: `${octal(mode)} ${dosTime}`, body };
  } finally {
    await handle.close();
  }
}

const octal = (mode: number): string => mode.toString(8).padStart(4, "0");
