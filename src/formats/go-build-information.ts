/**
 * What the Go linker writes into every program: its version, the main module, all modules that were linked, and the build settings.
 *
 * The blob begins with "\xff Go buildinf:" on a 16-byte boundary, then the pointer size and flags. Flag 2 (Go 1.18 and newer): two strings,
 * each behind its length as a varint, follow at byte 32. Otherwise two pointers to Go string headers (pointer, length) follow at byte 16, and
 * flag 1 says that they are big-endian. The second string stands between two 16-byte marks. Source of the rules: Go's debug/buildinfo.
 */
import { SlipwayError } from "../model/errors.ts";
import { type ImagePart, offsetOfAddress, type ProgramImage, type RandomAccess } from "./program-image.ts";

export type GoModule = {
  readonly path: string;
  /** `v1.2.3`, a pseudo-version, or `(devel)` for what no version control named. */
  readonly version: string;
  /** `h1:<base64>`: a hash over the module's files. */
  readonly sum?: string;
};
export type GoBuildInformation = {
  /** `go1.26.8` */
  readonly goVersion: string;
  /** Import path of the package with `main`. */
  readonly path?: string;
  readonly mainModule?: GoModule;
  /** What is really linked: a module replaced by another stands as that one, a module replaced by a folder as itself with `(devel)`. */
  readonly modules: readonly GoModule[];
  /** `GOOS`, `CGO_ENABLED`, `vcs.revision`, … in the order of the blob. */
  readonly settings: readonly (readonly [name: string, value: string])[];
};

const magic = Buffer.from("\xff Go buildinf:", "latin1");
const headerSize = 32;
const alignment = 16;
const inlineStrings = 2;
const bigEndian = 1;
/** For files that only pretend; a section of its own holds the blob and little else. */
const sectionLimit = 64 * 1024 * 1024;
/** Without a section the blob stands at the beginning of the data (Go's debug/buildinfo); further on the same bytes are some text, as in a program that reads blobs. */
const segmentLimit = 64 * 1024;
const searchStep = 1024 * 1024;
/** Kubernetes, with its thousand modules, has below 200 KB. */
const textLimit = 16 * 1024 * 1024;
const moduleLimit = 100_000;

/** Undefined where the program was not made by Go, or was stripped of the blob. Throws `format_invalid` for a damaged blob. */
export async function readGoBuildInformation(file: RandomAccess, image: ProgramImage): Promise<GoBuildInformation | undefined> {
  const place = placeOf(image);
  if (place === undefined) return undefined;
  const start = await findBlob(file, place);
  if (start === undefined) return undefined;
  const header = await file.read(start, headerSize);
  const flags = header[15] ?? 0;
  const [goVersion, marked] = (flags & inlineStrings) !== 0 ? await inlineTexts(file, start + headerSize) : await pointedTexts(file, image, header);
  return { goVersion: goVersion.toString("utf8"), ...parseModules(unmarked(marked).toString("utf8")) };
}

/** The section of the blob, or what of the data may hold it where a linker made no such section. */
function placeOf(image: ProgramImage): Pick<ImagePart, "offset" | "size"> | undefined {
  const section = image.sections.find((part) => part.name === ".go.buildinfo" || part.name === "__go_buildinfo");
  if (section !== undefined) return { offset: section.offset, size: Math.min(section.size, sectionLimit) };
  const data = image.segments.find((part) => part.isWritable && part.size > 0);
  return data === undefined ? undefined : { offset: data.offset, size: Math.min(data.size, segmentLimit) };
}

async function findBlob(file: RandomAccess, place: Pick<ImagePart, "offset" | "size">): Promise<number | undefined> {
  const end = Math.min(place.offset + place.size, file.size);
  for (let from = place.offset; from + headerSize <= end; from += searchStep) {
    const piece = await file.read(from, Math.min(searchStep + headerSize, end - from));
    for (let at = piece.indexOf(magic); at >= 0; at = piece.indexOf(magic, at + 1)) {
      if ((from + at - place.offset) % alignment === 0 && at + headerSize <= piece.length) return from + at;
    }
  }
  return undefined;
}

async function inlineTexts(file: RandomAccess, start: number): Promise<readonly [Buffer, Buffer]> {
  const version = await inlineText(file, start);
  const modules = await inlineText(file, version.end);
  return [version.text, modules.text];
}

async function inlineText(file: RandomAccess, start: number): Promise<{ readonly text: Buffer; readonly end: number }> {
  const prefix = await file.read(start, Math.min(10, file.size - start));
  let length = 0;
  let used = 0;
  for (;;) {
    const byte = prefix[used];
    if (byte === undefined || used === 5) throw damaged("a length without an end");
    length += (byte & 0x7f) * 2 ** (7 * used);
    used += 1;
    if ((byte & 0x80) === 0) break;
  }
  return { text: await readText(file, start + used, length), end: start + used + length };
}

async function pointedTexts(file: RandomAccess, image: ProgramImage, header: Buffer): Promise<readonly [Buffer, Buffer]> {
  const pointerSize = header[14] ?? 0;
  if (pointerSize !== 4 && pointerSize !== 8) throw damaged(`pointers of ${pointerSize} bytes`);
  const isBig = ((header[15] ?? 0) & bigEndian) !== 0;
  const pointer = (bytes: Buffer, at: number): bigint => {
    if (pointerSize === 4) return BigInt(isBig ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at));
    return isBig ? bytes.readBigUInt64BE(at) : bytes.readBigUInt64LE(at);
  };
  const text = async (at: number): Promise<Buffer> => {
    const address = pointer(header, at);
    if (address === 0n) return Buffer.alloc(0);
    const stringHeader = await file.read(offsetOfAddress(image, address), 2 * pointerSize);
    const length = Number(pointer(stringHeader, pointerSize));
    return length === 0 ? Buffer.alloc(0) : readText(file, offsetOfAddress(image, pointer(stringHeader, 0)), length);
  };
  return [await text(16), await text(16 + pointerSize)];
}

async function readText(file: RandomAccess, offset: number, length: number): Promise<Buffer> {
  if (length > textLimit) throw damaged(`a text of ${length} bytes`);
  return file.read(offset, length);
}

/** The module text without its two marks; a program built without modules has none at all. */
function unmarked(text: Buffer): Buffer {
  const markSize = 16;
  if (text.length === 0) return text;
  if (text.length < 2 * markSize + 1 || text[text.length - markSize - 1] !== 0x0a) throw damaged("a module text without its marks");
  return text.subarray(markSize, text.length - markSize);
}

/** Lines of `path`, `mod`, `dep`, `=>` and `build`, fields between tabs (runtime/debug.BuildInfo). Unknown lines are newer than us and left out. */
export function parseModules(text: string): Omit<GoBuildInformation, "goVersion"> {
  const modules: GoModule[] = [];
  const settings: (readonly [string, string])[] = [];
  let path: string | undefined;
  let mainModule: GoModule | undefined;
  for (const line of text.split("\n")) {
    const [word, ...fields] = line.split("\t");
    if (word === "path") path = fields[0];
    else if (word === "mod") mainModule = moduleOf(fields);
    else if (word === "dep") modules.push(moduleOf(fields));
    else if (word === "=>") modules.push(replacement(modules.pop(), moduleOf(fields)));
    else if (word === "build") settings.push(settingOf(fields.join("\t")));
    if (modules.length > moduleLimit) throw damaged(`more than ${moduleLimit} modules`);
  }
  return { ...(path === undefined ? {} : { path }), ...(mainModule === undefined ? {} : { mainModule }), modules, settings };
}

function moduleOf([path, version, sum]: readonly string[]): GoModule {
  if (path === undefined || path === "") throw damaged("a module without a path");
  return { path, version: version ?? "", ...(sum === undefined || sum === "" ? {} : { sum }) };
}

/** The folder's path is the build machine's and says nothing to a reader. */
function replacement(replaced: GoModule | undefined, by: GoModule): GoModule {
  if (replaced === undefined) throw damaged("a replacement of nothing");
  return by.version === "" || by.version === "(devel)" ? { path: replaced.path, version: "(devel)" } : by;
}

/** `name=value`; either may be a quoted Go string. */
function settingOf(text: string): readonly [string, string] {
  const match = /^("(?:[^"\\]|\\.)*"|`[^`]*`|[^=]*)=(.*)$/s.exec(text);
  return [unquoted(match?.[1] ?? text), unquoted(match?.[2] ?? "")];
}

/** strconv.Quote's escapes are JSON's but for \a, \v, \x and \U; what cannot be read so is kept as it stands, since nothing depends on it. */
function unquoted(text: string): string {
  if (/^`[^`]*`$/.test(text)) return text.slice(1, -1);
  if (!/^".*"$/s.test(text)) return text;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "string" ? value : text;
  } catch {
    return text;
  }
}

function damaged(what: string): SlipwayError {
  return new SlipwayError("format_invalid", `the Go build information has ${what}`);
}
