/**
 * Reads a Debian package from outside, strictly and in one pass: what dpkg would choke on is refused before a customer sees it.
 *
 * Demanded (deb(5)): the three members in order, one compression frame each, no PAX, sound names, the fields that dpkg requires.
 */
import { SlipwayError } from "../model/errors.ts";
import { arMagic, readArHeader, readArMagic, readArPadding } from "./ar.ts";
import { type ByteReader, createByteReader } from "./byte-reader.ts";
import { decompress } from "./decompress.ts";
import type { ByteSource, PackageCompression } from "./package.ts";
import { plainText } from "./plain-text.ts";
import { readTar, requireMember, type TarMember } from "./tar-read.ts";
import { createZstdFrameCounter } from "./zstd-frame.ts";

export type DebField = { readonly name: string; readonly value: string };

export type DebFile = {
  readonly kind: TarMember["kind"];
  /** Absolute: `/usr/bin/jaco`. */
  readonly path: string;
  readonly mode: number;
  readonly sizeBytes: number;
  /** Of a link; a file with a target is a hard link and has no bytes of its own. */
  readonly target?: string;
};

export type DebPackage = {
  /** All fields of `control` in order; a value of several lines keeps its LFs and leading spaces, as a Packages stanza needs them. */
  readonly fields: readonly DebField[];
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Everything in data.tar but the root folder, in order. */
  readonly files: readonly DebFile[];
  readonly conffiles: readonly string[];
  /** Names of the maintainer scripts inside: `postinst`. */
  readonly scripts: readonly string[];
  readonly codec: PackageCompression["codec"];
  readonly sizes: { readonly packageBytes: number; readonly installedBytes: number };
};

/** Sizes are bytes. control.tar holds a few text files; 16 GiB is more than a package can usefully unpack to. */
const limits = { controlTar: 8 * 1024 * 1024, controlMember: 4 * 1024 * 1024, dataTar: 16 * 1024 ** 3, members: 500_000 } as const;
const requiredFields = ["Package", "Version", "Architecture", "Maintainer", "Description"] as const;
const scriptNames = new Set(["preinst", "postinst", "prerm", "postrm", "config"]);
const codecs: Readonly<Record<string, PackageCompression["codec"]>> = { "": "none", ".gz": "gzip", ".zst": "zstd", ".xz": "xz" };

/**
 * What a package says of itself. Throws `format_invalid` for anything that is not a sound deb, `format_limit` for one that is too big,
 * and `path_unsafe` for member names that would leave the root.
 */
export async function readDeb(source: ByteSource): Promise<DebPackage> {
  const reader = createByteReader(source.open(), "deb");
  try {
    await readArMagic(reader);
    await readVersion(reader);
    const control = await readMember(reader, "control.tar", readControlTar);
    const data = await readMember(reader, "data.tar", readDataTar);
    for (let extra = await readArHeader(reader); extra !== undefined; extra = await readArHeader(reader)) {
      // dpkg skips members that begin with an underscore (signatures); others belong to a format that we do not know.
      if (!extra.name.startsWith("_")) throw new SlipwayError("format_invalid", `the deb has an unknown member ${extra.name}`);
      for await (const _ of reader.pieces(extra.sizeBytes, extra.name));
      await readArPadding(reader, extra.sizeBytes);
    }
    const fields = parseControl(control.value.control);
    const value = (name: string): string => fields.find((field) => field.name.toLowerCase() === name.toLowerCase())?.value ?? "";
    for (const name of requiredFields) if (value(name).trim() === "") throw new SlipwayError("format_invalid", `the deb's control file has no ${name}`);
    const [name, version, architecture] = [value("Package"), value("Version"), value("Architecture")];
    requireMatch("Package", name, /^[a-z0-9][a-z0-9+.-]+$/);
    requireMatch("Version", version, /^(?:\d+:)?\d[A-Za-z0-9.+~:-]*$/);
    requireMatch("Architecture", architecture, /^[a-z0-9][a-z0-9-]*$/);
    return {
      fields,
      name,
      version,
      architecture,
      files: data.value.files,
      conffiles: control.value.conffiles,
      scripts: control.value.scripts,
      codec: data.codec,
      sizes: { packageBytes: reader.position(), installedBytes: data.value.installedBytes },
    };
  } finally {
    await reader.close();
  }
}

async function readVersion(reader: ByteReader): Promise<void> {
  const member = await readArHeader(reader);
  if (member?.name !== "debian-binary" || member.sizeBytes > 64) {
    throw new SlipwayError("format_invalid", `a deb begins with debian-binary at byte ${arMagic.length}; got ${member?.name ?? "nothing"}`);
  }
  const text = (await reader.read(member.sizeBytes, "debian-binary")).toString("latin1");
  await readArPadding(reader, member.sizeBytes);
  if (!/^2\.\d+\n/.test(text)) throw new SlipwayError("format_invalid", `the deb has the format version ${JSON.stringify(text.slice(0, 20))}; expected 2.0`);
}

type TarReader<T> = (plain: AsyncIterable<Uint8Array>, name: string) => Promise<T>;

/** The next ar member, which must be `<stem>` with a known suffix, unpacked and read to its end. */
async function readMember<T>(
  reader: ByteReader,
  stem: string,
  read: TarReader<T>,
): Promise<{ readonly value: T; readonly codec: PackageCompression["codec"] }> {
  const member = await readArHeader(reader);
  const codec = member?.name.startsWith(stem) === true ? codecs[member.name.slice(stem.length)] : undefined;
  if (member === undefined || codec === undefined) {
    throw new SlipwayError("format_invalid", `expected ${stem} with .gz, .xz, .zst or nothing; got ${member?.name ?? "the end"}`);
  }
  const limitBytes = stem === "control.tar" ? limits.controlTar : limits.dataTar;
  const frames = createZstdFrameCounter();
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of reader.pieces(member.sizeBytes, member.name)) {
      if (codec === "zstd") frames.feed(piece);
      yield piece;
    }
  };
  const packed = pieces();
  const value = await read(decompress(packed, { codec, limitBytes, name: member.name }), member.name);
  for await (const _ of packed); // what the decompressor did not want
  // dpkg 1.21 takes the end of the first zstd frame for the end of the archive.
  if (codec === "zstd" && frames.count() !== 1) throw new SlipwayError("format_invalid", `${member.name} has ${frames.count()} zstd frames; dpkg reads one`);
  await readArPadding(reader, member.sizeBytes);
  return { value, codec };
}

type ControlTar = { readonly control: string; readonly conffiles: readonly string[]; readonly scripts: readonly string[] };

async function readControlTar(plain: AsyncIterable<Uint8Array>, name: string): Promise<ControlTar> {
  let control: string | undefined;
  let conffiles: readonly string[] = [];
  const scripts: string[] = [];
  for await (const one of readTar(plain, { name, memberLimit: 1_000, pax: "refused" })) {
    const member = requireMember(one, name);
    if (member.kind === "symlink") throw new SlipwayError("format_invalid", `${name}: ${member.path} is a link`);
    if (scriptNames.has(member.path)) scripts.push(member.path);
    if (member.path === "control") control = await memberText(member);
    if (member.path === "conffiles") conffiles = (await memberText(member)).split("\n").filter((line) => line !== "");
  }
  if (control === undefined) throw new SlipwayError("format_invalid", `${name} has no control file`);
  return { control, conffiles, scripts };
}

async function memberText(member: TarMember): Promise<string> {
  if (member.sizeBytes > limits.controlMember) throw new SlipwayError("format_limit", `${member.path} has ${member.sizeBytes} bytes`);
  const pieces: Uint8Array[] = [];
  for await (const piece of member.body()) pieces.push(Uint8Array.from(piece)); // the source may reuse its buffer
  return plainText(Buffer.concat(pieces));
}

async function readDataTar(plain: AsyncIterable<Uint8Array>, name: string): Promise<{ readonly files: readonly DebFile[]; readonly installedBytes: number }> {
  const files: DebFile[] = [];
  let installedBytes = 0;
  for await (const one of readTar(plain, { name, memberLimit: limits.members, pax: "refused", areBackslashesPlain: true, areHardLinksRead: true })) {
    const member = requireMember(one, name);
    if (member.path === ".") continue;
    const { kind, mode, sizeBytes, target } = member;
    files.push({ kind, path: `/${member.path}`, mode, sizeBytes, ...(target === undefined ? {} : { target }) });
    installedBytes += sizeBytes;
  }
  return { files, installedBytes };
}

/** One deb822 paragraph (deb-control(5)): fields in order, each once, continuation lines kept as they are. */
function parseControl(text: string): readonly DebField[] {
  const fields: { name: string; value: string }[] = [];
  for (const line of text.replace(/\n+$/, "").split("\n")) {
    const last = fields.at(-1);
    if (/^[ \t]/.test(line) && last !== undefined && line.trim() !== "") {
      last.value += `\n${line}`;
      continue;
    }
    const [, name, value] = /^([!-9;-~]+):[ \t]*(.*)$/.exec(line) ?? [];
    const isKnown = fields.some((field) => field.name.toLowerCase() === name?.toLowerCase());
    if (name === undefined || value === undefined || name.startsWith("#") || name.startsWith("-") || isKnown) {
      throw new SlipwayError("format_invalid", `the deb's control file has a bad or repeated line: ${JSON.stringify(line.slice(0, 100))}`);
    }
    fields.push({ name, value: value.trimEnd() });
  }
  return fields;
}

function requireMatch(name: string, value: string, pattern: RegExp): void {
  if (!pattern.test(value)) throw new SlipwayError("format_invalid", `the deb's ${name} ${JSON.stringify(value.slice(0, 100))} is not allowed`);
}
