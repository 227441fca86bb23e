/**
 * Reads tar strictly and in bounded memory: v7, ustar, GNU long names, and PAX paths.
 *
 * What could write outside the folder of an extraction is never handed over as a member but as a refusal with its reason, so that a
 * caller decides between stopping and naming it. A damaged archive throws. Layout: tar(5).
 */
import { SlipwayError } from "../model/errors.ts";
import { type ByteReader, createByteReader } from "./byte-reader.ts";
import { hasControlCharacter } from "./entry-path.ts";
import { tarBlockSize, tarChecksum } from "./tar.ts";

export type TarMember = {
  readonly kind: "file" | "directory" | "symlink";
  /** Relative, without `./` and trailing slash; the root itself is `.`. */
  readonly path: string;
  /** The name as it stands in the archive: some readers take `./usr` and `usr` for two things. */
  readonly storedName: string;
  readonly mode: number;
  readonly sizeBytes: number;
  /** Where the content begins, in bytes of the archive. */
  readonly offset: number;
  readonly epochSeconds: number;
  readonly owner: string;
  readonly group: string;
  /** Symbolic links: the target as stored, not judged here. Hard links: the path of the file before it whose content this is. */
  readonly target?: string;
  /** PAX records of the member that change nothing of the above. */
  readonly pax: ReadonlyMap<string, string>;
  /** The content; what the caller leaves is skipped. Only valid until the next member. */
  readonly body: () => AsyncIterable<Uint8Array>;
};

export type TarRefusalReason =
  | "absolute_path"
  | "parent_path"
  | "bad_name"
  | "duplicate"
  | "through_link"
  | "hard_link"
  | "device"
  | "unknown_type"
  | "pax_record";

export type TarRefusal = { readonly kind: "refused"; readonly name: string; readonly reason: TarRefusalReason };

export type TarLimits = {
  /** Names the archive in messages. */
  readonly name: string;
  readonly memberLimit: number;
  /** `refused`: dpkg stops at PAX records, so a deb must not have them. */
  readonly pax: "read" | "refused";
  /** `absent`: apk's signature and control segments end without the two zero blocks, and with them would not be read. */
  readonly end?: "required" | "absent";
  /** apk knows no base-256 numbers. */
  readonly isOctalOnly?: boolean;
  /** A backslash is a character like others: systemd's unit names have it (`dev-disk-by\x2duuid.swap`). Only for who writes none of the names. */
  readonly areBackslashesPlain?: boolean;
  /** A hard link to a file before it is a file without content of its own; to anything else it is refused. */
  readonly areHardLinksRead?: boolean;
};

/** Long names and PAX records are held in memory; PATH_MAX is 4096. */
const recordLimit = 16 * 1024;
const permissionBits = 0o7777;

/**
 * The members in order. Throws `format_invalid` for damage (checksum, truncation, no end) and `format_limit` for too many members.
 * Let the iteration end or break out of it: both let the source go.
 */
export async function* readTar(source: AsyncIterable<Uint8Array>, limits: TarLimits): AsyncGenerator<TarMember | TarRefusal> {
  const reader = createByteReader(source, limits.name);
  const seen = new Map<string, TarMember["kind"]>();
  let members = 0;
  let records: Records = {};
  let isRecordOpen = false;
  try {
    for (;;) {
      if (limits.end === "absent" && (await reader.isAtEnd())) {
        if (isRecordOpen) throw new SlipwayError("format_invalid", `${limits.name} ends after a record without its member`);
        return;
      }
      const block = await reader.read(tarBlockSize, "a header");
      if (isZero(block)) {
        if (limits.end === "absent") throw new SlipwayError("format_invalid", `${limits.name} has end-of-archive blocks, which do not belong there`);
        await expectEnd(reader, limits.name);
        return;
      }
      const header = parseHeader(block, limits);
      if (recordTypes.has(header.type)) {
        if ((header.type === "x" || header.type === "g") && limits.pax === "refused") yield { kind: "refused", name: header.name, reason: "pax_record" };
        records = { ...records, ...(await readRecord(reader, header, limits.name)) };
        isRecordOpen = true;
        continue;
      }
      isRecordOpen = false;
      members += 1;
      if (members > limits.memberLimit) throw new SlipwayError("format_limit", `${limits.name} has more than ${limits.memberLimit} members`);
      const name = records.path ?? header.name;
      const sizeBytes = records.sizeBytes ?? header.sizeBytes;
      const target = records.target ?? header.target;
      const pax = records.others ?? new Map<string, string>();
      records = {};
      const judged = judge({ ...header, name, sizeBytes, target }, seen, limits);
      const hasContent = judged.kind === "file" || judged.kind === "refused";
      const contentSize = hasContent && header.type !== "1" ? sizeBytes : 0;
      const offset = reader.position();
      const body = reader.pieces(contentSize, name);
      if (judged.kind === "refused") yield judged;
      else {
        const { mode, epochSeconds, owner, group } = header;
        const place = { path: judged.path, storedName: name };
        const member = { kind: judged.kind, ...place, mode: mode & permissionBits, sizeBytes: contentSize, offset, epochSeconds, owner, group, pax };
        const link = judged.kind === "symlink" ? target : judged.linkedTo;
        yield { ...member, ...(link === undefined ? {} : { target: link }), body: () => body };
      }
      await skipRest(reader, body, contentSize);
    }
  } finally {
    await reader.close();
  }
}

/** The member, or `path_unsafe` thrown for a refusal: for callers that stop at the first. */
export function requireMember(member: TarMember | TarRefusal, archive: string): TarMember {
  if (member.kind !== "refused") return member;
  throw new SlipwayError("path_unsafe", `${archive}: refusing the member ${JSON.stringify(member.name.slice(0, 200))}`, { detail: member.reason });
}

type Records = {
  readonly path?: string;
  readonly target?: string;
  readonly sizeBytes?: number;
  readonly others?: ReadonlyMap<string, string>;
};
type Header = {
  readonly name: string;
  readonly type: string;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly epochSeconds: number;
  readonly target: string;
  readonly owner: string;
  readonly group: string;
};

const recordTypes = new Set(["L", "K", "x", "g"]);
const memberKinds: Readonly<Record<string, TarMember["kind"]>> = { "0": "file", "\0": "file", "7": "file", "5": "directory", "2": "symlink" };

function parseHeader(block: Buffer, limits: TarLimits): Header {
  const damaged = (what: string): SlipwayError => new SlipwayError("format_invalid", `${limits.name}: a header has ${what}`);
  const number = (offset: number, length: number): number => {
    const field = block.subarray(offset, offset + length);
    if (((field[0] ?? 0) & 0x80) !== 0) {
      if (limits.isOctalOnly === true) throw damaged("a number that is not octal");
      // GNU's base-256 form; the eight low bytes are enough for every size that we accept.
      const value = field.subarray(-8).readBigUInt64BE() & 0x7fffffffffffffffn;
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged("an impossible number");
      return Number(value);
    }
    const text = field
      .toString("latin1")
      .replace(/[\0 ]+$/, "")
      .trimStart();
    if (!/^[0-7]*$/.test(text)) throw damaged("a number that is not octal");
    return text === "" ? 0 : Number.parseInt(text, 8);
  };
  const text = (offset: number, length: number): string => {
    const field = block.subarray(offset, offset + length);
    const end = field.indexOf(0);
    return field.toString("utf8", 0, end === -1 ? length : end);
  };
  if (number(148, 8) !== tarChecksum(block)) throw damaged("a wrong checksum");
  const isPosix = block.toString("latin1", 257, 263) === "ustar\0";
  const prefix = isPosix ? text(345, 155) : "";
  return {
    name: prefix === "" ? text(0, 100) : `${prefix}/${text(0, 100)}`,
    type: String.fromCharCode(block[156] ?? 0),
    mode: number(100, 8),
    sizeBytes: number(124, 12),
    epochSeconds: number(136, 12),
    target: text(157, 100),
    owner: text(265, 32),
    group: text(297, 32),
  };
}

async function readRecord(reader: ByteReader, header: Header, archive: string): Promise<Records> {
  if (header.sizeBytes > recordLimit) throw new SlipwayError("format_limit", `${archive}: a name record has ${header.sizeBytes} bytes`);
  const content = await reader.read(header.sizeBytes, "a name record");
  await reader.read(paddingOf(header.sizeBytes), "the padding of a name record");
  if (header.type === "g") return {}; // global records name no member
  if (header.type === "x") return paxRecords(content, archive);
  const end = content.indexOf(0);
  const text = content.toString("utf8", 0, end === -1 ? content.length : end);
  return header.type === "L" ? { path: text } : { target: text };
}

/** `<length> <key>=<value>\n`, repeated; only what changes a member's name, target or size counts. */
function paxRecords(content: Buffer, archive: string): Records {
  const others = new Map<string, string>();
  const records: { path?: string; target?: string; sizeBytes?: number; others: ReadonlyMap<string, string> } = { others };
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(" ", at);
    const length = Number(content.toString("latin1", at, space === -1 ? at : space));
    const record = content.subarray(space + 1, at + length);
    const equals = record.indexOf("=");
    if (!Number.isSafeInteger(length) || length < 5 || at + length > content.length || equals === -1 || record.at(-1) !== 0x0a) {
      throw new SlipwayError("format_invalid", `${archive}: a PAX record is damaged`);
    }
    const key = record.toString("utf8", 0, equals);
    const value = record.toString("utf8", equals + 1, record.length - 1);
    if (key === "path") records.path = value;
    else if (key === "linkpath") records.target = value;
    else if (key !== "size") others.set(key, value);
    else {
      if (!/^\d{1,15}$/.test(value)) throw new SlipwayError("format_invalid", `${archive}: a PAX record has the size "${value.slice(0, 40)}"`);
      records.sizeBytes = Number(value);
    }
    at += length;
  }
  return records;
}

type Judged = { readonly kind: TarMember["kind"]; readonly path: string; readonly linkedTo?: string } | TarRefusal;

function judge(header: Header, seen: Map<string, TarMember["kind"]>, limits: TarLimits): Judged {
  const refused = (reason: TarRefusalReason): TarRefusal => ({ kind: "refused", name: header.name, reason });
  const linkedTo = header.type === "1" && limits.areHardLinksRead === true && !header.target.startsWith("/") ? plainPath(header.target) : undefined;
  if (header.type === "1" && (linkedTo === undefined || seen.get(linkedTo) !== "file")) return refused("hard_link");
  if (header.type === "3" || header.type === "4" || header.type === "6") return refused("device");
  const kind = linkedTo === undefined ? memberKinds[header.type] : "file";
  if (kind === undefined) return refused("unknown_type");
  if (header.name.startsWith("/")) return refused("absolute_path");
  if (!isSoundName(header.name) || (header.name.includes("\\") && limits.areBackslashesPlain !== true)) return refused("bad_name");
  const path = plainPath(header.name);
  if (path === undefined) return refused("parent_path");
  const parts = path.split("/");
  // A link, then a member below it, would write through the link.
  if (parts.some((_, depth) => depth > 0 && (seen.get(parts.slice(0, depth).join("/")) ?? "directory") !== "directory")) return refused("through_link");
  if (seen.has(path)) return refused("duplicate");
  seen.set(path, kind);
  return { kind, path, ...(linkedTo === undefined ? {} : { linkedTo }) };
}

const isSoundName = (name: string): boolean => name !== "" && name.length <= 4096 && !hasControlCharacter(name) && !name.includes("\ufffd");

/** Without `./`, doubled and trailing slashes; `.` for the root, undefined for a path that goes up. */
function plainPath(name: string): string | undefined {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) return undefined;
  return parts.length === 0 ? "." : parts.join("/");
}

/** Takes what the caller has not, then the padding. */
async function skipRest(reader: ByteReader, body: AsyncGenerator<Uint8Array>, sizeBytes: number): Promise<void> {
  for await (const _ of body);
  await reader.read(paddingOf(sizeBytes), "the padding of a member");
}

/** Two zero blocks end an archive, and only zeros may follow: anything else would be read by some tools and not by others. */
async function expectEnd(reader: ByteReader, archive: string): Promise<void> {
  await reader.read(tarBlockSize, "the end of the archive");
  for await (const piece of reader.rest()) {
    if (!isZero(piece)) throw new SlipwayError("format_invalid", `${archive} has bytes after its end`);
  }
}

function paddingOf(sizeBytes: number): number {
  return (tarBlockSize - (sizeBytes % tarBlockSize)) % tarBlockSize;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
