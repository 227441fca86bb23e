/**
 * Writes tar: 512-byte headers, contents padded to 512, two zero blocks at the end.
 *
 * Two dialects. GNU's (`L`/`K` records for long names) is the default and never has PAX records: dpkg refuses them with "unsupported PAX
 * tar header type 'x'". A member with `pax` is a POSIX one (ustar and PAX records): apk wants its checksums there, and ignores `K`.
 * Headers hold nothing but what the entry says: no clock, no device, no number of this machine.
 * Layout: tar(5), GNU tar manual "Basic Tar Format", POSIX.1-2017 pax "ustar Interchange Format", "pax Extended Header".
 */
import { SlipwayError } from "../model/errors.ts";
import { type HashAlgorithm, pour, pourHashed } from "./byte-source.ts";
import type { ByteSink, ByteSource } from "./package.ts";

export const tarBlockSize = 512;

/** GNU's magic and version in one; dpkg, busybox, libarchive and apk read it. */
const gnuMagic = "ustar  \0";
/** POSIX: magic with its NUL, version 00. */
const posixMagic = "ustar\x0000";
/** GNU tar's name for the record that carries a long name or link target. */
const longLinkName = "././@LongLink";
const nameLimit = 100;
/** Eleven octal digits: base-256 numbers are not written, so that is the largest member. */
const sizeLimit = 0o77777777777;
/** The field has 32 bytes with a closing NUL. */
const ownerLimit = 31;
/** Seven octal digits: base-256 numbers are not written. */
const ownerNumberLimit = 0o7777777;

export type TarHeader = {
  /** As stored: `./usr/bin/jaco`; a directory ends with a slash. */
  readonly name: string;
  readonly kind: "file" | "directory" | "symlink" | "hardlink";
  /** Permission bits with setuid, setgid and sticky; type bits would overflow the octal field and are refused. */
  readonly mode: number;
  readonly sizeBytes?: number;
  /** Links only; stored verbatim. A hard link names a member before it. */
  readonly target?: string;
  readonly epochSeconds: number;
  readonly owner?: string;
  readonly group?: string;
  /** Numbers of owner and group; 0 by default. */
  readonly uid?: number;
  readonly gid?: number;
  /** Makes it a POSIX member with these PAX records, which also take a long name or target; keys are printed in the given order. */
  readonly pax?: Readonly<Record<string, string>>;
};

const typeFlags = { file: "0", directory: "5", symlink: "2", hardlink: "1" } as const;

/** The header blocks of one member; throws `format_limit` for what tar cannot hold. */
export function tarHeader(header: TarHeader): Uint8Array {
  const blocks: Uint8Array[] = [];
  const target = header.target ?? "";
  const isLongTarget = Buffer.byteLength(target) > nameLimit;
  const isLongName = Buffer.byteLength(header.name) > nameLimit;
  const { mode, epochSeconds, owner = "root", group = "root", uid = 0, gid = 0, sizeBytes = 0, pax } = header;
  if (pax === undefined) {
    if (isLongTarget) blocks.push(...longRecord("K", target));
    if (isLongName) blocks.push(...longRecord("L", header.name));
  } else {
    const records = {
      ...(isLongName ? { path: header.name } : {}),
      ...(isLongTarget ? { linkpath: target } : {}),
      ...(sizeBytes > sizeLimit ? { size: String(sizeBytes) } : {}), // past 8 GiB the record decides, and the field holds nothing
      ...pax,
    };
    blocks.push(...paxRecords(header, records));
  }
  if ((mode & ~0o7777) !== 0) throw new SlipwayError("recipe_invalid", `${header.name}: mode ${mode.toString(8)} has more than permission bits`);
  const magic = pax === undefined ? gnuMagic : posixMagic;
  const fieldBytes = pax !== undefined && sizeBytes > sizeLimit ? 0 : sizeBytes;
  const fields = { mode, sizeBytes: fieldBytes, target, epochSeconds, owner, group, uid, gid };
  blocks.push(headerBlock({ name: header.name, type: typeFlags[header.kind], magic, ...fields }));
  return blocks.length === 1 && blocks[0] !== undefined ? blocks[0] : Buffer.concat(blocks);
}

/** Zero bytes that fill the last block of a member of this size. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return zeroBlocks.subarray(0, (tarBlockSize - (sizeBytes % tarBlockSize)) % tarBlockSize);
}

const zeroBlocks = new Uint8Array(2 * tarBlockSize);

export type TarWriter = {
  /** Writes one member. Throws `source_unusable` where the source does not keep its size. */
  readonly add: (header: TarHeader, source?: ByteSource) => Promise<void>;
  /** The same for a file, and returns the hash of its content, in hex. */
  readonly addHashed: (header: TarHeader, source: ByteSource, algorithm: HashAlgorithm) => Promise<string>;
  /** The two zero blocks. */
  readonly end: () => Promise<void>;
};

export function createTarWriter(sink: ByteSink): TarWriter {
  const pad = (source: ByteSource): Promise<void> | void => {
    const padding = tarPadding(source.size);
    return padding.length > 0 ? sink(padding) : undefined;
  };
  return {
    add: async (header, source) => {
      await sink(tarHeader(source === undefined ? header : { ...header, sizeBytes: source.size }));
      if (source === undefined) return;
      await pour(source, sink, { name: header.name });
      await pad(source);
    },
    addHashed: async (header, source, algorithm) => {
      await sink(tarHeader({ ...header, sizeBytes: source.size }));
      const digest = await pourHashed(source, sink, { name: header.name, algorithm });
      await pad(source);
      return digest;
    },
    end: async () => sink(zeroBlocks),
  };
}

/** GNU `L` (name) and `K` (link target): a member whose content is the long text with a NUL. */
function longRecord(type: "L" | "K", text: string): readonly Uint8Array[] {
  const content = Buffer.from(`${text}\0`);
  const header = headerBlock({
    name: longLinkName,
    type,
    magic: gnuMagic,
    mode: 0o644,
    sizeBytes: content.length,
    target: "",
    epochSeconds: 0,
    owner: "root",
    group: "root",
    uid: 0,
    gid: 0,
  });
  return [header, content, tarPadding(content.length)];
}

/** PAX `x`: a member before the member, whose content is lines of `<length> <key>=<value>`; nothing where there are no records. */
function paxRecords(header: TarHeader, records: Readonly<Record<string, string>>): readonly Uint8Array[] {
  const content = Buffer.concat(Object.entries(records).map(([key, value]) => paxLine(key, value)));
  if (content.length === 0) return [];
  const { epochSeconds } = header;
  const name = `PaxHeaders/${header.name}`;
  const fields = { type: "x", magic: posixMagic, mode: 0o644, target: "", owner: "root", group: "root", uid: 0, gid: 0 };
  return [headerBlock({ name, sizeBytes: content.length, epochSeconds, ...fields }), content, tarPadding(content.length)];
}

/** The length counts itself, so one more digit may be needed for it. */
function paxLine(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  const size = Buffer.byteLength(rest);
  let length = size + String(size).length;
  if (size + String(length).length > length) length += 1;
  return Buffer.from(`${length}${rest}`);
}

type Block = {
  readonly name: string;
  readonly type: string;
  readonly magic: string;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly target: string;
  readonly epochSeconds: number;
  readonly owner: string;
  readonly group: string;
  readonly uid: number;
  readonly gid: number;
};

function headerBlock(entry: Block): Uint8Array {
  if (entry.sizeBytes > sizeLimit) throw new SlipwayError("format_limit", `${entry.name} has ${entry.sizeBytes} bytes; tar members end at ${sizeLimit}`);
  if (Buffer.byteLength(entry.owner) > ownerLimit || Buffer.byteLength(entry.group) > ownerLimit) {
    throw new SlipwayError("format_limit", `${entry.name}: owner and group names have at most ${ownerLimit} bytes`);
  }
  for (const id of [entry.uid, entry.gid]) {
    if (!Number.isInteger(id) || id < 0 || id > ownerNumberLimit)
      throw new SlipwayError("format_limit", `${entry.name}: owner ${id}; tar holds 0 to ${ownerNumberLimit}`);
  }
  const block = Buffer.allocUnsafe(tarBlockSize).fill(0); // from Node's pool: thousands of members are no thousands of allocations
  // A long name stands whole in its record before; here is its beginning, for readers that know no records.
  writeCut(block, entry.name, 0);
  octal(block, { value: entry.mode, offset: 100, digits: 7 });
  octal(block, { value: entry.uid, offset: 108, digits: 7 });
  octal(block, { value: entry.gid, offset: 116, digits: 7 });
  octal(block, { value: entry.sizeBytes, offset: 124, digits: 11 });
  octal(block, { value: entry.epochSeconds, offset: 136, digits: 11 });
  block.fill(" ", 148, 156); // the checksum counts its own field as spaces
  block.write(entry.type, 156, "latin1");
  writeCut(block, entry.target, 157);
  block.write(entry.magic, 257, "latin1");
  block.write(entry.owner, 265, ownerLimit, "utf8");
  block.write(entry.group, 297, ownerLimit, "utf8");
  octal(block, { value: tarChecksum(block), offset: 148, digits: 6 });
  block.write("\0 ", 154, "latin1");
  return block;
}

/** The first `nameLimit` bytes of the text, also where that cuts a character in two. */
function writeCut(block: Buffer, text: string, offset: number): void {
  if (text.length * 3 <= nameLimit || Buffer.byteLength(text) <= nameLimit) block.write(text, offset, nameLimit, "utf8");
  else block.set(Buffer.from(text).subarray(0, nameLimit), offset);
}

/** Digits with leading zeros; the NUL behind them is there already. */
function octal(block: Buffer, { value, offset, digits }: { readonly value: number; readonly offset: number; readonly digits: number }): void {
  let rest = value;
  for (let at = offset + digits - 1; at >= offset; at -= 1) {
    block[at] = 0x30 + (rest % 8);
    rest = Math.floor(rest / 8);
  }
}

/** The sum of the header's bytes, its own field counted as spaces. */
export function tarChecksum(block: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < tarBlockSize; index += 1) sum += index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
  return sum;
}
