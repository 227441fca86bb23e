/**
 * Reads an rpm from outside, strictly and in one pass: lead, signature header, main header, payload digest.
 *
 * It gives what YUM metadata needs. Who signed is not judged here: `headerBytes` and `signatures` are for the one function that may.
 */
import { createHash, hash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { type ByteReader, createByteReader } from "./byte-reader.ts";
import type { ByteSource } from "./package.ts";
import { parseRpmHeader, parseRpmIntro, type RpmHeader, rpmHeaderIntroSize } from "./rpm-header.ts";
import { rpmFileFlag, rpmHashSha256, rpmSense, rpmSignatureTag, rpmTag } from "./rpm-tags.ts";

/** A comparison as primary.xml spells it. */
export type RpmComparison = "LT" | "GT" | "EQ" | "LE" | "GE";

export type RpmCapability = {
  readonly name: string;
  readonly flags?: RpmComparison;
  /** Set together with `flags`; "0" where the text has none. */
  readonly epoch?: string;
  readonly version?: string;
  readonly release?: string;
  /** Needed before the package's own scripts run. */
  readonly isPre: boolean;
  /** `rpmlib(…)`: a feature of rpm itself, left out of repository metadata. */
  readonly isRpmlib: boolean;
};

export type RpmFile = { readonly path: string; readonly kind: "file" | "dir" | "ghost" };

export type RpmPackage = {
  readonly name: string;
  readonly epoch: string;
  readonly version: string;
  readonly release: string;
  readonly arch: string;
  readonly summary: string;
  readonly description: string;
  readonly packager: string;
  readonly url: string;
  readonly license: string;
  readonly vendor: string;
  readonly group: string;
  readonly buildHost: string;
  readonly sourceRpm: string;
  /** Seconds since 1970. */
  readonly buildTime: number;
  readonly sizes: { readonly packageBytes: number; readonly installedBytes: number; readonly archiveBytes: number };
  /** Where the main header stands in the file: [start, end). */
  readonly headerRange: { readonly start: number; readonly end: number };
  readonly headerBytes: Uint8Array;
  /** Signature packets over the main header, as found: `tag` 268 is RSA, 267 everything else. */
  readonly signatures: readonly { readonly tag: number; readonly packet: Uint8Array }[];
  readonly provides: readonly RpmCapability[];
  readonly requires: readonly RpmCapability[];
  readonly conflicts: readonly RpmCapability[];
  readonly obsoletes: readonly RpmCapability[];
  readonly recommends: readonly RpmCapability[];
  readonly suggests: readonly RpmCapability[];
  readonly supplements: readonly RpmCapability[];
  readonly enhances: readonly RpmCapability[];
  readonly files: readonly RpmFile[];
  readonly changelogs: readonly { readonly author: string; readonly epochSeconds: number; readonly text: string }[];
};

const leadSize = 96;
/** Bytes. rpm allows 256 MiB; a header of 100,000 files has about 20. */
const headerLimit = 64 * 1024 * 1024;

/**
 * Throws `format_invalid` for anything that is not a sound binary rpm (magic, lengths, region, digests of header and payload) and
 * `format_limit` for a header that is too big.
 */
export async function readRpm(source: ByteSource): Promise<RpmPackage> {
  const reader = createByteReader(source.open(), "rpm");
  try {
    checkLead(await reader.read(leadSize, "the lead"));
    const signatureBytes = await readHeaderBytes(reader);
    const signature = parseRpmHeader(signatureBytes, rpmSignatureTag.HEADERSIGNATURES);
    await reader.read((8 - (signatureBytes.length % 8)) % 8, "the padding of the signature header");
    const start = reader.position();
    const headerBytes = await readHeaderBytes(reader);
    const end = reader.position();
    const header = parseRpmHeader(headerBytes, rpmTag.HEADERIMMUTABLE);
    checkHeaderDigest(signature, headerBytes);
    await checkPayload(reader, header);
    const packageBytes = reader.position();
    checkSizes(signature, packageBytes - start);
    return { ...describe(header, signature, packageBytes), headerRange: { start, end }, headerBytes, signatures: signaturesOf(signature) };
  } finally {
    await reader.close();
  }
}

function checkLead(lead: Buffer): void {
  if (lead.readUInt32BE(0) !== 0xedabeedb) throw new SlipwayError("format_invalid", "expected an rpm that begins with edabeedb");
  const [major, type, signatureType] = [lead.readUInt8(4), lead.readUInt16BE(6), lead.readUInt16BE(78)];
  if (major !== 3 || signatureType !== 5)
    throw new SlipwayError("format_invalid", `the rpm's lead has version ${major}, signature type ${signatureType}; expected 3, 5`);
  if (type !== 0) throw new SlipwayError("format_invalid", "this is a source rpm; only binary packages are served");
}

async function readHeaderBytes(reader: ByteReader): Promise<Buffer> {
  const intro = await reader.read(rpmHeaderIntroSize, "a header's intro");
  const { bodySize } = parseRpmIntro(intro, headerLimit);
  return Buffer.concat([intro, await reader.read(bodySize, "a header")]);
}

/** SHA-256 where it is there, else SHA-1 (rpm before 4.14); one of them must be. */
function checkHeaderDigest(signature: RpmHeader, headerBytes: Buffer): void {
  const sha256 = signature.text(rpmSignatureTag.SHA256);
  const sha1 = signature.text(rpmSignatureTag.SHA1);
  if (sha256 === undefined && sha1 === undefined) throw new SlipwayError("format_invalid", "the rpm has no digest of its header");
  const isRight = (sha256 === undefined || sha256 === hash("sha256", headerBytes)) && (sha1 === undefined || sha1 === hash("sha1", headerBytes));
  if (!isRight) throw new SlipwayError("format_invalid", "the rpm's header does not match its digest");
}

async function checkPayload(reader: ByteReader, header: RpmHeader): Promise<void> {
  const [algorithm] = header.numbers(rpmTag.PAYLOADDIGESTALGO);
  const expected = header.text(rpmTag.PAYLOADDIGEST);
  const payload = createHash("sha256");
  for await (const piece of reader.rest()) payload.update(piece);
  if (expected === undefined || algorithm !== rpmHashSha256) return; // rpm before 4.14 has none
  if (payload.digest("hex") !== expected) throw new SlipwayError("format_invalid", "the rpm's payload does not match its digest");
}

function checkSizes(signature: RpmHeader, bytesAfterSignature: number): void {
  const [announced] = [...signature.numbers(rpmSignatureTag.SIZE), ...signature.numbers(rpmSignatureTag.LONGSIZE)];
  if (announced !== undefined && announced !== bytesAfterSignature) {
    throw new SlipwayError("format_invalid", `the rpm announces ${announced} bytes of header and payload; it has ${bytesAfterSignature}`);
  }
}

function signaturesOf(signature: RpmHeader): RpmPackage["signatures"] {
  return [rpmSignatureTag.RSA, rpmSignatureTag.DSA].flatMap((tag) => {
    const packet = signature.binary(tag);
    return packet === undefined ? [] : [{ tag, packet }];
  });
}

function describe(header: RpmHeader, signature: RpmHeader, packageBytes: number): Omit<RpmPackage, "headerRange" | "headerBytes" | "signatures"> {
  const optional = (tag: number): string => header.text(tag) ?? "";
  const required = (tag: number, what: string, pattern: RegExp): string => {
    const text = optional(tag);
    if (!pattern.test(text)) throw new SlipwayError("format_invalid", `the rpm's ${what} ${JSON.stringify(text.slice(0, 100))} is not allowed`);
    return text;
  };
  const [installedBytes = 0] = [...header.numbers(rpmTag.SIZE), ...header.numbers(rpmTag.LONGSIZE)];
  const [archiveBytes = 0] = [...signature.numbers(rpmSignatureTag.PAYLOADSIZE), ...signature.numbers(rpmSignatureTag.LONGARCHIVESIZE)];
  return {
    name: required(rpmTag.NAME, "name", /^[A-Za-z0-9_][A-Za-z0-9._+-]*$/),
    epoch: String(header.numbers(rpmTag.EPOCH)[0] ?? 0),
    version: required(rpmTag.VERSION, "version", /^[A-Za-z0-9._+~^]+$/),
    release: required(rpmTag.RELEASE, "release", /^[A-Za-z0-9._+~^]+$/),
    arch: required(rpmTag.ARCH, "architecture", /^[a-z0-9_]+$/),
    summary: optional(rpmTag.SUMMARY),
    description: optional(rpmTag.DESCRIPTION),
    packager: optional(rpmTag.PACKAGER),
    url: optional(rpmTag.URL),
    license: optional(rpmTag.LICENSE),
    vendor: optional(rpmTag.VENDOR),
    group: optional(rpmTag.GROUP),
    buildHost: optional(rpmTag.BUILDHOST),
    sourceRpm: required(rpmTag.SOURCERPM, "source rpm (without it rpm takes it for a source package)", /^[^/\s]+$/),
    buildTime: header.numbers(rpmTag.BUILDTIME)[0] ?? 0,
    sizes: { packageBytes, installedBytes, archiveBytes },
    provides: capabilities(header, [rpmTag.PROVIDENAME, rpmTag.PROVIDEFLAGS, rpmTag.PROVIDEVERSION]),
    requires: capabilities(header, [rpmTag.REQUIRENAME, rpmTag.REQUIREFLAGS, rpmTag.REQUIREVERSION]),
    conflicts: capabilities(header, [rpmTag.CONFLICTNAME, rpmTag.CONFLICTFLAGS, rpmTag.CONFLICTVERSION]),
    obsoletes: capabilities(header, [rpmTag.OBSOLETENAME, rpmTag.OBSOLETEFLAGS, rpmTag.OBSOLETEVERSION]),
    recommends: capabilities(header, [rpmTag.RECOMMENDNAME, rpmTag.RECOMMENDFLAGS, rpmTag.RECOMMENDVERSION]),
    suggests: capabilities(header, [rpmTag.SUGGESTNAME, rpmTag.SUGGESTFLAGS, rpmTag.SUGGESTVERSION]),
    supplements: capabilities(header, [rpmTag.SUPPLEMENTNAME, rpmTag.SUPPLEMENTFLAGS, rpmTag.SUPPLEMENTVERSION]),
    enhances: capabilities(header, [rpmTag.ENHANCENAME, rpmTag.ENHANCEFLAGS, rpmTag.ENHANCEVERSION]),
    files: filesOf(header),
    changelogs: changelogsOf(header),
  };
}

const comparisons: Readonly<Record<number, RpmComparison>> = {
  [rpmSense.LESS]: "LT",
  [rpmSense.GREATER]: "GT",
  [rpmSense.EQUAL]: "EQ",
  [rpmSense.LESS | rpmSense.EQUAL]: "LE",
  [rpmSense.GREATER | rpmSense.EQUAL]: "GE",
};
const preSense = rpmSense.PREREQ | rpmSense.SCRIPT_PRE | rpmSense.SCRIPT_POST;

function capabilities(header: RpmHeader, [nameTag, flagsTag, versionTag]: readonly [number, number, number]): readonly RpmCapability[] {
  const names = header.texts(nameTag);
  const senses = header.numbers(flagsTag);
  const versions = header.texts(versionTag);
  if (senses.length !== names.length || versions.length !== names.length) throw unequal(nameTag);
  return names.map((name, place) => {
    const sense = senses[place] ?? 0;
    const flags = comparisons[sense & (rpmSense.LESS | rpmSense.GREATER | rpmSense.EQUAL)];
    const own = { name, isPre: (sense & preSense) !== 0, isRpmlib: (sense & rpmSense.RPMLIB) !== 0 || name.startsWith("rpmlib(") };
    const [, epoch, version, release] = /^(?:(\d+):)?([^-]*)(?:-(.*))?$/.exec(versions[place] ?? "") ?? [];
    if (flags === undefined || version === undefined || version === "") return own;
    return { ...own, flags, epoch: epoch ?? "0", version, ...(release === undefined ? {} : { release }) };
  });
}

function filesOf(header: RpmHeader): readonly RpmFile[] {
  const baseNames = header.texts(rpmTag.BASENAMES);
  const folders = header.texts(rpmTag.DIRNAMES);
  const folderIndexes = header.numbers(rpmTag.DIRINDEXES);
  const modes = header.numbers(rpmTag.FILEMODES);
  const flags = header.numbers(rpmTag.FILEFLAGS);
  if ([folderIndexes, modes, flags].some((values) => values.length !== baseNames.length)) throw unequal(rpmTag.BASENAMES);
  return baseNames.map((baseName, place) => {
    const folder = folders[folderIndexes[place] ?? -1];
    if (folder === undefined) throw unequal(rpmTag.DIRINDEXES);
    const isGhost = ((flags[place] ?? 0) & rpmFileFlag.GHOST) !== 0;
    const isDirectory = ((modes[place] ?? 0) & 0o170000) === 0o040000;
    return { path: `${folder}${baseName}`, kind: isDirectory ? "dir" : isGhost ? "ghost" : "file" };
  });
}

function changelogsOf(header: RpmHeader): RpmPackage["changelogs"] {
  const times = header.numbers(rpmTag.CHANGELOGTIME);
  const authors = header.texts(rpmTag.CHANGELOGNAME);
  const texts = header.texts(rpmTag.CHANGELOGTEXT);
  if (times.length !== authors.length || times.length !== texts.length) throw unequal(rpmTag.CHANGELOGTIME);
  return texts.map((text, place) => ({ text, author: authors[place] ?? "", epochSeconds: times[place] ?? 0 }));
}

function unequal(tag: number): SlipwayError {
  return new SlipwayError("format_invalid", `the arrays that belong to tag ${tag} of an rpm header do not fit together`);
}
