/**
 * The ar container of a deb (deb(5), ar(5)): `!<arch>\n`, then members of a 60-byte header and data padded to an even length.
 * Only short names (at most 15 bytes) exist in a deb, so neither GNU's nor BSD's long-name forms are written or read.
 */
import { SlipwayError } from "../model/errors.ts";
import type { ByteReader } from "./byte-reader.ts";

export const arMagic = Buffer.from("!<arch>\n", "latin1");
const headerSize = 60;
const nameLimit = 15;
/** Ten decimal digits. */
const sizeLimit = 9_999_999_999;

export type ArMember = { readonly name: string; readonly sizeBytes: number };

/** The header of a member owned by root with mode 0644; throws `format_limit` for a size that has no ten digits. */
export function arHeader(member: ArMember & { readonly epochSeconds: number }): Uint8Array {
  if (Buffer.byteLength(member.name) > nameLimit) throw new Error(`ar member name ${member.name} is too long`);
  if (member.sizeBytes > sizeLimit) throw new SlipwayError("format_limit", `${member.name} has ${member.sizeBytes} bytes; an ar member ends at ${sizeLimit}`);
  const fields = [
    member.name.padEnd(16),
    String(member.epochSeconds).padEnd(12),
    "0".padEnd(6),
    "0".padEnd(6),
    "100644".padEnd(8),
    String(member.sizeBytes).padEnd(10),
    "`\n",
  ];
  return Buffer.from(fields.join(""), "latin1");
}

/** The byte that follows a member of odd size. */
export function arPadding(sizeBytes: number): Uint8Array {
  return sizeBytes % 2 === 1 ? Buffer.from("\n", "latin1") : new Uint8Array(0);
}

/** Reads and checks the magic of the container. */
export async function readArMagic(reader: ByteReader): Promise<void> {
  const magic = await reader.read(arMagic.length, "the ar magic");
  if (!magic.equals(arMagic)) throw new SlipwayError("format_invalid", "expected an ar archive that begins with !<arch>");
}

/** The next member's header, or undefined at the end; the caller then takes `sizeBytes` of data and calls readArPadding. */
export async function readArHeader(reader: ByteReader): Promise<ArMember | undefined> {
  if (await reader.isAtEnd()) return undefined;
  const header = (await reader.read(headerSize, "an ar header")).toString("latin1");
  const size = /^(\d{1,10}) *$/.exec(header.slice(48, 58))?.[1];
  // dpkg-deb writes names bare; GNU ar closes them with a slash.
  const name = header.slice(0, 16).trimEnd().replace(/\/$/, "");
  if (!header.endsWith("`\n") || size === undefined || !/^[A-Za-z0-9._+-]+$/.test(name)) {
    throw new SlipwayError("format_invalid", `the ar header at byte ${reader.position() - headerSize} is damaged`);
  }
  return { name, sizeBytes: Number(size) };
}

/** Takes the byte after a member of odd size; a missing one at the very end of the file is accepted, as dpkg does. */
export async function readArPadding(reader: ByteReader, sizeBytes: number): Promise<void> {
  if (sizeBytes % 2 === 1 && !(await reader.isAtEnd())) await reader.read(1, "the padding of a member");
}
