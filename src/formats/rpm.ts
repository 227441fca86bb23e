/**
 * Writes an rpm package, format v4: lead (96 bytes) | signature header, padded to 8 | main header | compressed cpio.
 *
 * The main header names the payload's digests and the signature header the main header's, each before the bytes it speaks of. So the
 * payload is compressed into a spool first (hashing files, cpio and result on the way, each byte read once), then the headers are made
 * and signed, then the spool is copied behind them. A signature covers the main header only, which covers the payload by its digest.
 */
import { createHash, hash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { architectureWord } from "../model/target.ts";
import { rpmVersion } from "../model/version.ts";
import { bytesSource, countingSink, gatheringSink, pour } from "./byte-source.ts";
import { changelogOf } from "./changelog.ts";
import { createCompressor } from "./compress.ts";
import { createCpioWriter } from "./cpio.ts";
import { checkEntries } from "./entry-path.ts";
import type { ByteSource, PackageEntry, PackageOutput, PackageSpec, Spool } from "./package.ts";
import { formatScripts } from "./package-script.ts";
import { rpmFileMode, rpmFileSize, rpmFileTags } from "./rpm-files.ts";
import { encodeRpmHeader, type RpmValue } from "./rpm-header.ts";
import { type RpmScriptName, rpmRelationTags } from "./rpm-relations.ts";
import { rpmHashSha256, rpmSignatureTag, rpmTag } from "./rpm-tags.ts";

/** Bytes of an OpenPGP v4 signature packet over the main header, and which algorithm: rpm keeps them under different tags. */
export type RpmSignature = { readonly packet: Uint8Array; readonly algorithm: "rsa" | "eddsa" };
export type SignRpmHeader = (header: Uint8Array) => Promise<RpmSignature>;

export type RpmOutput = PackageOutput & { readonly signHeader?: SignRpmHeader };

/** The oldest rpm that reads everything we write (zstd, payload digests); rpm shows it and decides nothing by it. */
const formatRpmVersion = "4.14.0";
/** No package manager reads the group any more; rpmlint wants one of rpm's old list. */
const rpmGroup = "Applications/System";
/** A host name would differ from machine to machine. */
const buildHost = "reproducible";
/** Sizes are 32-bit numbers; the 64-bit tags would shut out older rpms. */
const sizeLimit = 0xffffffff;
/** Room that rpmsign uses to sign again in place, as rpmbuild leaves it. */
const reservedSpaceSize = 4128;

const scriptTags: Readonly<Record<RpmScriptName, readonly [body: number, program: number]>> = {
  preinstall: [rpmTag.PREIN, rpmTag.PREINPROG],
  postinstall: [rpmTag.POSTIN, rpmTag.POSTINPROG],
  preremove: [rpmTag.PREUN, rpmTag.PREUNPROG],
  postremove: [rpmTag.POSTUN, rpmTag.POSTUNPROG],
  pretransaction: [rpmTag.PRETRANS, rpmTag.PRETRANSPROG],
  posttransaction: [rpmTag.POSTTRANS, rpmTag.POSTTRANSPROG],
  verify: [rpmTag.VERIFYSCRIPT, rpmTag.VERIFYSCRIPTPROG],
};

/**
 * Writes the package to `output.sink` and returns its size. The same spec and signature give the same bytes.
 * Throws `recipe_invalid` and `name_invalid` for what an rpm cannot say, `format_limit` from 4 GiB on, `source_unusable` for a source that
 * changes while it is read. The spool is removed in every case; what the sink has got is the caller's to drop.
 */
export async function writeRpm(spec: PackageSpec, output: RpmOutput): Promise<{ readonly sizeBytes: number }> {
  checkEntries(spec.entries);
  const installedBytes = spec.entries.reduce((sum, entry) => sum + rpmFileSize(entry), 0);
  requireSize("the files together have", installedBytes);
  const described = specTags(spec); // before the long work: it refuses what rpm cannot say
  const spool = await output.makeSpool();
  try {
    const payload = await spoolPayload(spool, spec, output);
    requireSize("the payload has", payload.archiveBytes);
    const header = encodeRpmHeader(rpmTag.HEADERIMMUTABLE, new Map([...described, ...payloadTags(spec, payload), [rpmTag.SIZE, numberValue(installedBytes)]]));
    requireSize("header and payload have", header.length + payload.source.size);
    const signatureHeader = await makeSignatureHeader(header, payload, output.signHeader);
    const { sink, count } = countingSink(output.sink);
    await sink(makeLead(spec));
    await sink(signatureHeader);
    await sink(new Uint8Array((8 - (signatureHeader.length % 8)) % 8));
    await sink(header);
    await pour(payload.source, sink, { name: "the payload" });
    return { sizeBytes: count() };
  } finally {
    await spool.remove();
  }
}

/** `1.2.0~rc.1` and `1` joined; rpm allows neither part a dash. */
export function rpmEvr(spec: Pick<PackageSpec, "version" | "release">): { readonly version: string; readonly release: string; readonly text: string } {
  const version = rpmVersion(spec.version);
  const release = spec.release ?? "1";
  if (!/^[A-Za-z0-9._+~^]+$/.test(release)) throw new SlipwayError("recipe_invalid", `"${release}" is not an rpm release`);
  return { version, release, text: `${version}-${release}` };
}

/** The architecture tag: `noarch` or rpm's own word. */
export function rpmArchitecture(arch: PackageSpec["arch"]): string {
  return arch === "all" ? "noarch" : architectureWord(arch, "rpm");
}

type Payload = {
  readonly source: ByteSource;
  /** Uncompressed cpio. */
  readonly archiveBytes: number;
  readonly archiveSha256: string;
  /** As compressed. */
  readonly payloadSha256: string;
  /** SHA-256 in hex by path. */
  readonly fileDigests: ReadonlyMap<string, string>;
};

async function spoolPayload(spool: Spool, spec: PackageSpec, output: PackageOutput): Promise<Payload> {
  const payloadHash = createHash("sha256");
  const compressor = createCompressor(
    spec.compression,
    (piece) => {
      payloadHash.update(piece);
      return spool.write(piece);
    },
    output.makeXzCompressor,
  );
  const archiveHash = createHash("sha256");
  const archive = countingSink((piece) => {
    archiveHash.update(piece);
    return compressor.write(piece);
  });
  const gathered = gatheringSink(archive.sink);
  const cpio = createCpioWriter(gathered.sink);
  const fileDigests = new Map<string, string>();
  for (const [place, entry] of spec.entries.entries()) {
    if (entry.kind === "ghost") continue; // owned, but made at run time
    const links = entry.kind === "directory" ? 2 : 1;
    const member = { name: `.${entry.path}`, inode: place + 1, mode: rpmFileMode(entry), links, epochSeconds: spec.epochSeconds };
    const sha256 = await cpio.add(member, contentOf(entry));
    if (entry.kind === "file" && sha256 !== undefined) fileDigests.set(entry.path, sha256);
  }
  await cpio.end();
  await gathered.end();
  await compressor.end();
  return {
    source: await spool.finish(),
    archiveBytes: archive.count(),
    archiveSha256: archiveHash.digest("hex"),
    payloadSha256: payloadHash.digest("hex"),
    fileDigests,
  };
}

function contentOf(entry: PackageEntry): ByteSource | undefined {
  if (entry.kind === "file") return entry.source;
  return entry.kind === "symlink" ? bytesSource(Buffer.from(entry.target)) : undefined;
}

const textValue = (text: string): RpmValue => ({ kind: "string", text });
const numberValue = (value: number): RpmValue => ({ kind: "int32", values: [value] });

/** Everything that the spec says by itself. */
function specTags(spec: PackageSpec): readonly (readonly [number, RpmValue])[] {
  const localized = (value: string): RpmValue => ({ kind: "i18n", texts: [value] });
  const evr = rpmEvr(spec);
  const changelog = changelogOf(spec);
  const { codec, level } = spec.compression;
  if (!/^[A-Za-z0-9_][A-Za-z0-9._+-]*$/.test(spec.name)) throw new SlipwayError("name_invalid", `"${spec.name}" is not an rpm package name`);
  return [
    [rpmTag.HEADERI18NTABLE, { kind: "strings", texts: ["C"] }],
    [rpmTag.NAME, textValue(spec.name)],
    [rpmTag.VERSION, textValue(evr.version)],
    [rpmTag.RELEASE, textValue(evr.release)],
    [rpmTag.SUMMARY, localized(spec.summary)],
    [rpmTag.DESCRIPTION, localized(spec.description === "" ? spec.summary : spec.description)],
    [rpmTag.BUILDTIME, numberValue(spec.epochSeconds)],
    [rpmTag.BUILDHOST, textValue(buildHost)],
    ...(spec.vendor === undefined ? [] : [[rpmTag.VENDOR, textValue(spec.vendor)] as const]),
    [rpmTag.LICENSE, textValue(spec.license)],
    [rpmTag.PACKAGER, textValue(spec.maintainer)],
    [rpmTag.GROUP, localized(spec.rpm?.group ?? rpmGroup)],
    ...(spec.rpm?.prefixes === undefined ? [] : [[rpmTag.PREFIXES, { kind: "strings", texts: spec.rpm.prefixes }] as const]),
    ...(spec.homepage === undefined ? [] : [[rpmTag.URL, textValue(spec.homepage)] as const]),
    // The same releases as in deb's changelog: `rpm -q --changelog` says which one is installed.
    [rpmTag.CHANGELOGTIME, { kind: "int32", values: changelog.map(({ epochSeconds }) => epochSeconds) }],
    [rpmTag.CHANGELOGNAME, { kind: "strings", texts: changelog.map(({ version }) => `${spec.maintainer} - ${rpmEvr({ ...spec, version }).text}`) }],
    [rpmTag.CHANGELOGTEXT, { kind: "strings", texts: changelog.map(({ changes }) => changes.map((change) => `- ${change}`).join("\n")) }],
    [rpmTag.OS, textValue("linux")],
    [rpmTag.ARCH, textValue(rpmArchitecture(spec.arch))],
    // Without this tag rpm takes the package for a source package.
    [rpmTag.SOURCERPM, textValue(`${spec.name}-${evr.text}.src.rpm`)],
    [rpmTag.RPMVERSION, textValue(formatRpmVersion)],
    [rpmTag.PAYLOADFORMAT, textValue("cpio")],
    ...(codec === "none"
      ? []
      : ([
          [rpmTag.PAYLOADCOMPRESSOR, textValue(codec)],
          [rpmTag.PAYLOADFLAGS, textValue(String(level))],
        ] as const)),
    [rpmTag.ENCODING, textValue("utf-8")],
    ...scriptEntries(spec),
    ...rpmRelationTags(spec, evr.text),
  ];
}

/** What is known once the payload is written. */
function payloadTags(spec: PackageSpec, payload: Payload): readonly (readonly [number, RpmValue])[] {
  return [
    [rpmTag.PAYLOADDIGEST, { kind: "strings", texts: [payload.payloadSha256] }],
    [rpmTag.PAYLOADDIGESTALGO, numberValue(rpmHashSha256)],
    [rpmTag.PAYLOADDIGESTALT, { kind: "strings", texts: [payload.archiveSha256] }],
    ...rpmFileTags(spec.entries, payload.fileDigests, spec.epochSeconds),
  ];
}

function scriptEntries(spec: PackageSpec): readonly (readonly [number, RpmValue])[] {
  return formatScripts("rpm", spec.scripts, scriptTags).flatMap(({ name, body, interpreter }) => {
    const [bodyTag, programTag] = scriptTags[name];
    const program: RpmValue = interpreter.length === 1 ? { kind: "string", text: interpreter[0] } : { kind: "strings", texts: interpreter };
    return [
      [bodyTag, { kind: "string", text: body }],
      [programTag, program],
    ] as const;
  });
}

async function makeSignatureHeader(header: Buffer, payload: Payload, signHeader: SignRpmHeader | undefined): Promise<Buffer> {
  const md5 = createHash("md5").update(header);
  await pour(payload.source, (piece) => void md5.update(piece), { name: "the payload" });
  const signature = await signHeader?.(header);
  const tags = new Map<number, RpmValue>([
    [rpmSignatureTag.SHA1, { kind: "string", text: hash("sha1", header) }],
    [rpmSignatureTag.SHA256, { kind: "string", text: hash("sha256", header) }],
    [rpmSignatureTag.SIZE, { kind: "int32", values: [header.length + payload.source.size] }],
    [rpmSignatureTag.MD5, { kind: "binary", bytes: md5.digest() }],
    [rpmSignatureTag.PAYLOADSIZE, { kind: "int32", values: [payload.archiveBytes] }],
  ]);
  let reserved = reservedSpaceSize;
  if (signature !== undefined) {
    tags.set(signature.algorithm === "rsa" ? rpmSignatureTag.RSA : rpmSignatureTag.DSA, { kind: "binary", bytes: signature.packet });
    reserved = Math.max(1, reserved - signature.packet.length - 16); // the index entry of the signature takes 16
  }
  tags.set(rpmSignatureTag.RESERVEDSPACE, { kind: "binary", bytes: new Uint8Array(reserved) });
  return encodeRpmHeader(rpmSignatureTag.HEADERSIGNATURES, tags);
}

/** The lead: only the magic and the signature type 5 still count; the rest is for file(1). */
function makeLead(spec: PackageSpec): Uint8Array {
  const lead = Buffer.alloc(96);
  lead.write("edabeedb0300", 0, "hex");
  lead.writeUInt16BE(1, 8); // archnum
  lead.write(`${spec.name}-${rpmEvr(spec).text}`.slice(0, 65), 10, "latin1");
  lead.writeUInt16BE(1, 76); // osnum: Linux
  lead.writeUInt16BE(5, 78);
  return lead;
}

function requireSize(what: string, sizeBytes: number): void {
  if (sizeBytes <= sizeLimit) return;
  throw new SlipwayError("format_limit", `${what} ${sizeBytes} bytes; an rpm ends at ${sizeLimit}`, { hint: "split the payload into packages below 4 GiB" });
}
