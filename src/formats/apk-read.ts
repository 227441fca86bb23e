/**
 * Reads an apk (format v2) from outside, strictly and in one pass: what apk 2 or 3 would refuse, skip or install in part is refused here.
 *
 * It gives what an APKINDEX needs. Who signed is not judged: `controlBytes` and `signatures` are for the one function that may
 * (trust/apk-signature.ts). What a good signature covers is the control member, and through its datahash, checked here, all the rest.
 */
import { createHash, hash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { apkChecksumKey } from "./apk.ts";
import { apkInfoName, apkScripts } from "./apk-control.ts";
import { type ApkInfo, parseApkInfo } from "./apk-info.ts";
import { parentsOf } from "./entry-path.ts";
import { createGzipMembers, type GzipMembers } from "./gzip-members.ts";
import type { ByteSource } from "./package.ts";
import { readTar, requireMember, type TarLimits, type TarMember } from "./tar-read.ts";

export type ApkFile = {
  readonly kind: TarMember["kind"];
  /** Absolute: `/usr/bin/jaco`. */
  readonly path: string;
  readonly mode: number;
  readonly owner: string;
  readonly group: string;
  readonly sizeBytes: number;
  readonly target?: string;
};

/** As found: the algorithm may be one that nobody here checks. */
export type ApkFoundSignature = { readonly algorithm: string; readonly keyFile: string; readonly bytes: Uint8Array };

export type ApkPackage = {
  readonly info: ApkInfo;
  /** Everything in the data segment, in order. */
  readonly files: readonly ApkFile[];
  /** Names of the scripts inside: `.post-install`. */
  readonly scripts: readonly string[];
  readonly signatures: readonly ApkFoundSignature[];
  /** The control member as compressed: what signatures cover. */
  readonly controlBytes: Uint8Array;
  /** `Q1` and the SHA-1 of the control member in base64: the identity by which an index and apk's database know the package. */
  readonly identity: string;
  readonly sizes: { readonly packageBytes: number; readonly installedBytes: number };
};

/** Sizes are bytes when unpacked. A control segment holds a few scripts; 16 GiB is more than a package can usefully unpack to. */
const limits = { signatures: 512 * 1024, signature: 64 * 1024, control: 8 * 1024 * 1024, data: 16 * 1024 ** 3, members: 500_000 } as const;
const scriptNames: ReadonlySet<string> = new Set([...Object.values(apkScripts), ".trigger"]);

/**
 * What a package says of itself. Throws `format_invalid` for anything that is not a sound apk, `format_limit` for one that is too big,
 * and `path_unsafe` for member names that would leave the root.
 */
export async function readApk(source: ByteSource): Promise<ApkPackage> {
  const members = createGzipMembers(source.open());
  try {
    const first = await readControlSegment(members, "the apk's first segment");
    const signatures = first.members.some(isSignature) ? signaturesOf(first.members) : [];
    const control = signatures.length === 0 ? first : await readControlSegment(members, "the apk's control segment");
    const info = infoOf(control.members);
    const scripts = control.members.slice(1).map(({ path }) => path);
    for (const name of scripts) if (!scriptNames.has(name)) throw damaged(`an unknown ${JSON.stringify(name.slice(0, 100))} in its control segment`);
    const { files, sha256 } = await readData(members);
    if (sha256 !== info.dataSha256) throw damaged(`data of SHA-256 ${sha256}, and its datahash is ${info.dataSha256}`);
    // apk 2 warns of a second data member, apk 3 stops at it.
    if (!(await members.isAtEnd())) throw damaged("bytes after its data segment, which must be one gzip member");
    if (info.installedBytes === 0 && (files.length > 0 || scripts.length > 0)) throw damaged("the size 0, so apk would install nothing of it");
    return {
      info,
      files,
      scripts,
      signatures,
      controlBytes: control.packed,
      identity: `Q1${hash("sha1", control.packed, "base64")}`,
      sizes: { packageBytes: members.position(), installedBytes: info.installedBytes },
    };
  } finally {
    await members.close();
  }
}

type SmallMember = { readonly path: string; readonly content: Buffer };
type Segment = { readonly members: readonly SmallMember[]; readonly packed: Uint8Array };

/** A signature or control segment, held whole: small regular files at the top of a tar without an end. */
async function readControlSegment(members: GzipMembers, name: string): Promise<Segment> {
  const packed: Uint8Array[] = [];
  const plain = members.next({ name, limitBytes: limits.control, onPacked: (piece) => void packed.push(Uint8Array.from(piece)) });
  const found: SmallMember[] = [];
  const tarLimits: TarLimits = { name, memberLimit: 100, pax: "read", end: "absent", isOctalOnly: true };
  for await (const one of readTar(plain, tarLimits)) {
    const member = requireMember(one, name);
    if (member.kind !== "file" || member.storedName !== member.path || member.path.includes("/")) {
      throw new SlipwayError("format_invalid", `${name} holds ${JSON.stringify(member.storedName.slice(0, 100))}, which is no plain file at the top`);
    }
    found.push({ path: member.path, content: await contentOf(member) });
  }
  return { members: found, packed: new Uint8Array(Buffer.concat(packed)) };
}

async function contentOf(member: TarMember): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of member.body()) pieces.push(Uint8Array.from(piece)); // the source may reuse its buffer
  return Buffer.concat(pieces);
}

const isSignature = ({ path }: SmallMember): boolean => path.startsWith(".SIGN.");

function signaturesOf(members: readonly SmallMember[]): readonly ApkFoundSignature[] {
  const size = members.reduce((sum, { content }) => sum + content.length, 0);
  if (size > limits.signatures) throw new SlipwayError("format_limit", `the apk's signatures have ${size} bytes; the limit is ${limits.signatures}`);
  return members.map(({ path, content }) => {
    // A key file name is opened below /etc/apk/keys by clients, so it is one plain name.
    const [, algorithm, keyFile] = /^\.SIGN\.([A-Z0-9]+)\.([A-Za-z0-9][A-Za-z0-9@._+-]*)$/.exec(path) ?? [];
    if (algorithm === undefined || keyFile === undefined) throw damaged(`${JSON.stringify(path.slice(0, 100))} among its signatures`);
    if (content.length === 0 || content.length > limits.signature) throw damaged(`a signature of ${content.length} bytes`);
    return { algorithm, keyFile, bytes: new Uint8Array(content) };
  });
}

function infoOf(members: readonly SmallMember[]): ApkInfo {
  const [first] = members;
  if (first?.path !== apkInfoName) throw damaged(`no ${apkInfoName} at the start of its control segment`);
  return parseApkInfo(first.content.toString("utf8"));
}

async function readData(members: GzipMembers): Promise<{ readonly files: readonly ApkFile[]; readonly sha256: string }> {
  if (await members.isAtEnd()) throw damaged("no data segment");
  const name = "the apk's data segment";
  const sha256 = createHash("sha256");
  const plain = members.next({ name, limitBytes: limits.data, onPacked: (piece) => void sha256.update(piece) });
  const files: ApkFile[] = [];
  const folders = new Set<string>();
  for await (const one of readTar(plain, { name, memberLimit: limits.members, pax: "read", isOctalOnly: true, areBackslashesPlain: true })) {
    const member = requireMember(one, name);
    const path = `/${member.path}`;
    checkName(member);
    for (const parent of parentsOf(path)) if (!folders.has(parent)) throw damaged(`${path} without the folder ${parent} before it`);
    if (member.kind === "directory") folders.add(path);
    else await checkContent(member);
    const { kind, mode, owner, group, sizeBytes, target } = member;
    files.push({ kind, path, mode, owner, group, sizeBytes, ...(target === undefined ? {} : { target }) });
  }
  return { files, sha256: sha256.digest("hex") };
}

/** apk takes names as they stand: `./usr` is "malicious" to it, a dot at the beginning is left out without a word. */
function checkName({ storedName, path, kind }: TarMember): void {
  const plain = kind === "directory" ? storedName.replace(/\/$/, "") : storedName;
  if (plain !== path) throw damaged(`the name ${JSON.stringify(storedName.slice(0, 100))}; apk reads ${JSON.stringify(path.slice(0, 100))} only`);
  if (path.startsWith(".")) throw damaged(`${JSON.stringify(path.slice(0, 100))} at the top, which apk leaves out`);
}

/** Files and links carry the SHA-1 of their content or target: without it apk 3 refuses the package, with a wrong one `apk audit` reports them. */
async function checkContent(member: TarMember): Promise<void> {
  const sha1 = createHash("sha1");
  if (member.kind === "symlink") sha1.update(member.target ?? "");
  else for await (const piece of member.body()) sha1.update(piece);
  const found = sha1.digest("hex");
  const announced = member.pax.get(apkChecksumKey);
  if (announced !== found) throw damaged(`${JSON.stringify(member.path.slice(0, 100))} with the checksum ${announced ?? "(none)"}; it is ${found}`);
}

function damaged(what: string): SlipwayError {
  return new SlipwayError("format_invalid", `the apk has ${what}`);
}
