/**
 * Reads tar strictly, member by member, in the order they come: POSIX ustar, GNU long names, PAX path, linkpath and size (tar(5)).
 *
 * Only files, folders and symbolic links exist here; hard links, devices, FIFOs and sparse members throw `format_invalid`, and so does a
 * header whose checksum is wrong, a name that is unsafe and a name that comes twice. Names in records are held in memory up to 64 KiB.
 */
import { type ByteReader, createByteReader } from "../formats/byte-reader.ts";
import { SlipwayError } from "../model/errors.ts";
import { isPlainRelative } from "./installation.ts";

export type TarEntry = {
  readonly kind: "file" | "directory" | "symlink";
  /** Relative, without a leading `./` or a trailing slash. */
  readonly path: string;
  readonly mode: number;
  readonly size: number;
  /** Symbolic links: the target as it stands. */
  readonly target: string;
  /** The file's bytes; reading them is optional, what is left is skipped. */
  readonly content: () => AsyncGenerator<Uint8Array>;
};

const blockSize = 512;
const recordLimitBytes = 64 * 1024;
/** ustar and GNU tar know more types; an archive that we install has no use for them. */
const kinds: Readonly<Record<string, TarEntry["kind"]>> = { "0": "file", "\0": "file", "5": "directory", "2": "symlink" };

type Header = { readonly name: string; readonly type: string; readonly mode: number; readonly size: number; readonly target: string };

/** The members of a plain (already decompressed) archive. */
export async function* tarEntries(source: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<TarEntry> {
  const reader = createByteReader(source, name);
  const seen = new Set<string>();
  let records: { path?: string; target?: string; size?: number } = {};
  try {
    while (!(await reader.isAtEnd())) {
      const block = await reader.read(blockSize, "header");
      if (block.every((byte) => byte === 0)) return; // the end; what follows is padding
      const header = readHeader(block, name);
      if (["L", "K", "x", "g"].includes(header.type)) {
        records = { ...records, ...(await readRecord(reader, header, name)) };
        continue;
      }
      const kind = kinds[header.type];
      if (kind === undefined) throw refuse(name, `a member of type ${JSON.stringify(header.type)} (only files, folders and symbolic links are installed)`);
      const size = records.size ?? header.size;
      const path = cleanPath(records.path ?? header.name);
      const target = records.target ?? header.target;
      records = {};
      if (path === "" && kind === "directory") continue; // `./`, the root itself
      if (!isPlainRelative(path)) throw refuse(name, `the unsafe path ${JSON.stringify(path.slice(0, 200))}`);
      if (seen.has(path)) throw refuse(name, `${path} twice`);
      if (kind !== "file" && size !== 0) throw refuse(name, `${path}, a ${kind} with content`);
      seen.add(path);
      let left = size;
      const content = async function* (): AsyncGenerator<Uint8Array> {
        const pieces = reader.pieces(left, path);
        for await (const piece of pieces) {
          left -= piece.length;
          yield piece;
        }
      };
      yield { kind, path, mode: header.mode & 0o7777, size, target, content };
      for await (const piece of content()) void piece; // what the caller did not want
      const padding = (blockSize - (size % blockSize)) % blockSize;
      if (padding > 0) await reader.read(padding, "padding");
    }
  } finally {
    await reader.close();
  }
}

function refuse(name: string, what: string): SlipwayError {
  return new SlipwayError("format_invalid", `${name} holds ${what}`);
}

function cleanPath(path: string): string {
  return path.replace(/^(\.\/)+/, "").replace(/\/+$/, "").replace(/^\.$/, "");
}

function readHeader(block: Buffer, name: string): Header {
  let sum = 0;
  for (let index = 0; index < blockSize; index += 1) sum += index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
  if (octal(block, 148, 8, name) !== sum) throw refuse(name, "a header with a wrong checksum");
  const prefix = block.toString("latin1", 257, 263) === "ustar\0" ? text(block, 345, 155) : ""; // GNU's magic has other fields there
  const base = text(block, 0, 100);
  return {
    name: prefix === "" ? base : `${prefix}/${base}`,
    type: block.toString("latin1", 156, 157),
    mode: octal(block, 100, 8, name),
    size: octal(block, 124, 12, name),
    target: text(block, 157, 100),
  };
}

function text(block: Buffer, offset: number, length: number): string {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end === -1 ? length : end);
}

function octal(block: Buffer, offset: number, length: number, name: string): number {
  const digits = block.toString("latin1", offset, offset + length).replaceAll(/^[ \0]+|[ \0]+$/g, "");
  if (!/^[0-7]*$/.test(digits)) throw refuse(name, "a header with a number that is not octal");
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

/** GNU `L` and `K` hold a text; PAX `x` holds `length key=value` lines; PAX `g` (global) is read over. */
async function readRecord(reader: ByteReader, header: Header, name: string): Promise<{ path?: string; target?: string; size?: number }> {
  if (header.size > recordLimitBytes) throw refuse(name, `a name record of ${header.size} bytes`);
  const content = await reader.read(header.size, "record");
  await reader.read((blockSize - (header.size % blockSize)) % blockSize, "padding");
  const whole = content.toString("utf8").replace(/\0+$/, "");
  if (header.type === "L") return { path: whole };
  if (header.type === "K") return { target: whole };
  if (header.type === "g") return {};
  const found: { path?: string; target?: string; size?: number } = {};
  for (let offset = 0; offset < content.length; ) {
    const space = content.indexOf(0x20, offset);
    const length = space === -1 ? Number.NaN : Number(content.toString("latin1", offset, space));
    if (!Number.isInteger(length) || length <= space - offset || offset + length > content.length) throw refuse(name, "a damaged PAX record");
    const [, key = "", value = ""] = /^([^=]+)=(.*)\n$/s.exec(content.toString("utf8", space + 1, offset + length)) ?? [];
    if (key === "path") found.path = value;
    if (key === "linkpath") found.target = value;
    if (key === "size") {
      if (!/^\d{1,15}$/.test(value)) throw refuse(name, "a PAX size that is no number");
      found.size = Number(value);
    }
    offset += length;
  }
  return found;
}
