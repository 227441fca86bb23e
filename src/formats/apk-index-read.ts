/** Reads APKINDEX.tar.gz (apk-v2(5)): the signatures, the bytes that they cover, and the entries. */
import { SlipwayError } from "../model/errors.ts";
import type { ApkFoundSignature } from "./apk-read.ts";
import { createGzipMembers, type GzipMembers } from "./gzip-members.ts";
import { readTar, requireMember } from "./tar-read.ts";

export type ApkIndex = {
  readonly signatures: readonly ApkFoundSignature[];
  /** The second gzip member as it stands: what the signatures cover. */
  readonly signedBytes: Uint8Array;
  /** When the index was made, in seconds. */
  readonly epochSeconds: number;
  /** Each with its closing empty line. */
  readonly stanzas: readonly string[];
};

export type ApkIndexEntry = { readonly identity: string; readonly name: string; readonly version: string; readonly size: number };

const signatureMemberLimit = 256 * 1024;
/** About 400 bytes per package. */
const indexMemberLimit = 256 * 1024 * 1024;

type Member = { readonly path: string; readonly content: Buffer; readonly epochSeconds: number };

/** Throws `format_invalid` for what is no signed index, `format_limit` above 256 MiB of plain text. */
export async function readApkIndex(bytes: Uint8Array): Promise<ApkIndex> {
  const members = createGzipMembers(oneByOne(bytes));
  try {
    const first = await readMember(members, { limitBytes: signatureMemberLimit, end: "absent" });
    const signatures = first.files.map(({ path, content }) => {
      const [, algorithm, keyFile] = /^\.SIGN\.([A-Z0-9]+)\.([A-Za-z0-9][A-Za-z0-9@._+-]*)$/.exec(path) ?? [];
      if (algorithm === undefined || keyFile === undefined) throw damaged(`${JSON.stringify(path.slice(0, 100))} among its signatures`);
      return { algorithm, keyFile, bytes: new Uint8Array(content) };
    });
    const second = await readMember(members, { limitBytes: indexMemberLimit, end: "required" });
    if (!(await members.isAtEnd())) throw damaged("bytes after the index, which no signature covers");
    const index = second.files.find(({ path }) => path === "APKINDEX");
    if (index === undefined) throw damaged("no APKINDEX");
    const text = index.content.toString("utf8");
    const stanzas = text.split("\n\n").flatMap((stanza) => (stanza.trim() === "" ? [] : [`${stanza.replace(/^\n+/, "").replace(/\n+$/, "")}\n\n`]));
    return { signatures, signedBytes: second.packed, epochSeconds: index.epochSeconds, stanzas };
  } finally {
    await members.close();
  }
}

/** Throws `format_invalid` for an entry without identity, name, version or size. */
export function describeApkEntry(stanza: string): ApkIndexEntry {
  const field = (key: string): string => new RegExp(`^${key}:(.*)$`, "m").exec(stanza)?.[1] ?? "";
  const [identity, name, version, size] = [field("C"), field("P"), field("V"), field("S")];
  if (
    !/^Q1[A-Za-z0-9+/]{27}=$/.test(identity) ||
    !/^[A-Za-z0-9][A-Za-z0-9+._-]*$/.test(name) ||
    !/^[A-Za-z0-9][A-Za-z0-9._~-]*$/.test(version) ||
    !/^\d{1,12}$/.test(size)
  )
    throw damaged(`the entry ${JSON.stringify(stanza.slice(0, 100))}`);
  return { identity, name, version, size: Number(size) };
}

async function readMember(
  members: GzipMembers,
  options: { readonly limitBytes: number; readonly end: "absent" | "required" },
): Promise<{ readonly files: readonly Member[]; readonly packed: Uint8Array }> {
  const packed: Uint8Array[] = [];
  const name = "the apk index";
  const plain = members.next({ name, limitBytes: options.limitBytes, onPacked: (piece) => void packed.push(Uint8Array.from(piece)) });
  const files: Member[] = [];
  for await (const one of readTar(plain, { name, memberLimit: 100, pax: "read", end: options.end, isOctalOnly: true })) {
    const member = requireMember(one, name);
    if (member.kind !== "file" || member.path.includes("/")) throw damaged(`${JSON.stringify(member.path.slice(0, 100))}, which is no plain file at the top`);
    const pieces: Uint8Array[] = [];
    for await (const piece of member.body()) pieces.push(Uint8Array.from(piece));
    files.push({ path: member.path, content: Buffer.concat(pieces), epochSeconds: member.epochSeconds });
  }
  return { files, packed: new Uint8Array(Buffer.concat(packed)) };
}

async function* oneByOne(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function damaged(what: string): SlipwayError {
  return new SlipwayError("format_invalid", `the apk index has ${what}`);
}
