/**
 * An APT repository: published debs become `dists/<channel>/` (InRelease, Release, Release.gpg, Packages.gz with by-hash).
 *
 * Parties and order: apt asks for InRelease, checks its signature, Valid-Until and Suite, then fetches each index that the file lists
 * under the digest that it lists (by-hash), then pool files under the digests of the index. So one signature covers every byte, and an
 * older snapshot stays whole for as long as its by-hash files are answered.
 *
 * Sources: Debian wiki "DebianRepository/Format", apt-secure(8), sources.list(5), deb-control(5). Only SHA256 is listed: apt asks
 * by-hash under the strongest digest listed and every apt since 1.2 takes SHA256 alone.
 */
import { z } from "zod";
import type { DebPackage } from "../formats/deb-read.ts";
import { digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { blockSizes, type IndexChange, type IndexForm, type IndexState, indexStateSchema, updateIndex } from "./index-blocks.ts";
import type { IndexFiles } from "./index-files.ts";
import { fileOfBytes, type RepositoryFile } from "./repository-file.ts";

const sha256HexLength = 64;

/** Makes the repository key's signatures; both texts are armored. */
export type RepositorySigner = {
  /** OpenPGP cleartext signature over the text (RFC 9580 7). */
  readonly clearsign: (text: string) => Promise<string>;
  /** OpenPGP detached signature, armored. */
  readonly detach: (bytes: Uint8Array) => Promise<string>;
};

const packagesForm: IndexForm = {
  name: "packages",
  terminator: "\n\n",
  // The last field that aptStanza writes.
  packageOf: (stanza) => stanza.toString("latin1", stanza.length - sha256HexLength - 2, stanza.length - 2),
  ...blockSizes,
};

/** What one deb adds to the channel: `arch` in dpkg's words (`amd64`, `all`), `stanza` from aptStanza. */
export type AptEntry = { readonly arch: string; readonly stanza: string };

export const aptStateSchema = z.strictObject({
  schema: z.literal(1),
  /** By dpkg's architecture word. `all` is the seed of an architecture that joins later. */
  indexes: z.record(z.string().regex(/^[a-z0-9][a-z0-9-]*$/), indexStateSchema),
});
/** One channel's indexes between two publications; the contract is that of index-blocks.ts. */
export type AptState = { readonly schema: 1; readonly indexes: Readonly<Record<string, IndexState>> };

/** A channel before its first deb, with architectures that are served at once: `apt-get update` then works before the first release. */
export async function emptyApt(files: IndexFiles, architectures: readonly string[]): Promise<AptState> {
  const empty = await updateIndex(packagesForm, undefined, { add: [] }, files);
  return { schema: 1, indexes: Object.fromEntries(architectures.map((arch) => [arch, empty])) };
}

/**
 * The channel after a release came or went, `before` undefined without any; see the contract at the top of index-blocks.ts.
 *
 * A deb of architecture `all` is listed in every architecture, also in one that joins later.
 */
export async function updateApt(
  before: AptState | undefined,
  change: { readonly add: readonly AptEntry[]; readonly remove?: readonly AptEntry[]; readonly without?: IndexChange["without"] },
  files: IndexFiles,
): Promise<AptState> {
  const remove = change.remove ?? [];
  const old = before?.indexes ?? {};
  const known = new Set([...Object.keys(old), ...[...change.add, ...remove].map((entry) => entry.arch)]);
  const update = async (arch: string): Promise<readonly [string, IndexState]> => {
    const mine = (entries: readonly AptEntry[]): readonly string[] =>
      entries.filter((entry) => entry.arch === arch || entry.arch === "all").map((entry) => entry.stanza);
    const changes = { add: mine(change.add), remove: mine(remove), without: change.without };
    const standing = old[arch];
    if (standing !== undefined && changes.add.length + changes.remove.length + (change.without?.size ?? 0) === 0) return [arch, standing];
    return [arch, await updateIndex(packagesForm, standing ?? old["all"], changes, files)];
  };
  return { schema: 1, indexes: Object.fromEntries(await Promise.all([...known].sort().map(update))) };
}

/** Written by us after the control fields; a deb that brings them itself could point apt elsewhere. */
const indexFields = new Set(["filename", "size", "md5sum", "sha1", "sha256", "sha512"]);

/** `filename` is relative to the archive root (`pool/main/c/coequal/coequal_1.4.2_amd64.deb`); digests are bare hex of the whole file. */
export type AptLocation = { readonly filename: string; readonly sha256: string; readonly md5?: string };

/**
 * The Packages stanza of one deb: its control fields as they stand, then where it lies and what it weighs. Made once, at upload.
 *
 * Throws `format_invalid` for control fields that would break out of their stanza or speak for the index.
 */
export function aptStanza(deb: Pick<DebPackage, "fields" | "sizes">, location: AptLocation): string {
  const lines: string[] = [];
  const names = new Set<string>();
  for (const { name, value } of deb.fields) {
    const lower = name.toLowerCase();
    if (names.has(lower)) throw badControl(`field ${name} twice`);
    if (indexFields.has(lower)) throw badControl(`field ${name}, which belongs to the index`);
    names.add(lower);
    lines.push(`${name}: ${checkValue(name, value)}`);
  }
  lines.push(`Filename: ${location.filename}`, `Size: ${deb.sizes.packageBytes}`);
  if (location.md5 !== undefined) lines.push(`MD5sum: ${location.md5}`);
  lines.push(`SHA256: ${location.sha256}`);
  return `${lines.join("\n")}\n\n`;
}

/** deb-control(5): a further line starts with a blank and is not empty; an empty line would end the stanza and start a forged one. */
function checkValue(name: string, value: string): string {
  if (hasControlCharacter(value)) throw badControl(`control characters in field ${name}`);
  const [first, ...further] = value.trimEnd().split("\n");
  for (const line of further) if (!/^[ \t]/.test(line) || line.trim() === "") throw badControl(`field ${name} with a line that ends it`);
  return [(first ?? "").trim(), ...further].join("\n");
}

/** Anything below space except tab and line feed, and DEL. */
function hasControlCharacter(text: string): boolean {
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if ((code < 32 && char !== "\t" && char !== "\n") || code === 127) return true;
  }
  return false;
}

const badControl = (what: string): SlipwayError => new SlipwayError("format_invalid", `the deb's control file has ${what}`);

export type AptView = {
  readonly state: AptState;
  readonly product: string;
  readonly channel: string;
  readonly description?: string;
  readonly now: Date;
  /** Of the release file that this one replaces: the new Date is never earlier, since apt keeps the later one. */
  readonly previousDate?: Date;
  readonly validUntilDays: number;
  /** Fingerprints (40 hex digits) that may sign the next release file: pins the key in the running client and announces a change of key. */
  readonly signedBy?: readonly string[];
  readonly sign: RepositorySigner;
};

/**
 * Every file of the channel, paths relative to `/apt/<product>/`. Rendering the same state again with a later `now` (to renew Valid-Until)
 * changes the three release files only. Packages itself is listed, as the format demands, and not served. The index of the packages for all
 * architectures is listed while there is no other, since the others hold them too; after that it is only kept.
 */
export async function renderApt(view: AptView): Promise<readonly RepositoryFile[]> {
  const root = `dists/${view.channel}`;
  const indexes = Object.entries(view.state.indexes).sort(([left], [right]) => (left < right ? -1 : 1));
  const isListed = (arch: string): boolean => arch !== "all" || indexes.length === 1;
  const served = indexes.map(([arch]) => arch).filter(isListed);
  const files: RepositoryFile[] = [];
  const listed: { readonly hex: string; readonly size: number; readonly path: string }[] = [];
  for (const [arch, index] of indexes) {
    const folder = `main/binary-${arch}`;
    const { size, digest, plainSize, plainDigest } = index.file;
    if (plainDigest === undefined) throw new SlipwayError("internal", `the APT index of ${arch} has no plain digest`);
    const file = { size, digest, contentType: "application/gzip" };
    files.push({ ...file, path: `${root}/${folder}/by-hash/SHA256/${digestHex(digest)}`, isImmutable: true });
    if (!isListed(arch)) continue;
    listed.push({ hex: digestHex(plainDigest), size: plainSize, path: `${folder}/Packages` });
    listed.push({ hex: digestHex(digest), size, path: `${folder}/Packages.gz` });
    files.push({ ...file, path: `${root}/${folder}/Packages.gz`, isImmutable: false });
  }
  const release = releaseText(view, served, listed);
  const bytes = Buffer.from(release);
  const [inRelease, detached] = await Promise.all([view.sign.clearsign(release), view.sign.detach(bytes)]);
  files.push(fileOfBytes(`${root}/Release`, bytes, "text/plain; charset=utf-8"));
  files.push(fileOfBytes(`${root}/Release.gpg`, Buffer.from(detached), "application/pgp-signature"));
  files.push(fileOfBytes(`${root}/InRelease`, Buffer.from(inRelease), "text/plain; charset=utf-8"));
  return files;
}

function releaseText(view: AptView, architectures: readonly string[], listed: readonly { hex: string; size: number; path: string }[]): string {
  const date = new Date(Math.max(view.now.getTime(), view.previousDate?.getTime() ?? 0));
  const validUntil = new Date(view.now.getTime() + view.validUntilDays * 86_400_000);
  // Origin, Label, Suite and Codename never change: apt stops and asks the operator when one does.
  const fields = [
    ["Origin", view.product],
    ["Label", view.product],
    ["Suite", view.channel],
    ["Codename", view.channel],
    ["Date", releaseDate(date)],
    ["Valid-Until", releaseDate(validUntil)],
    ["Acquire-By-Hash", "yes"],
    ["Architectures", architectures.join(" ")],
    ["Components", "main"],
    ["Description", view.description ?? `${view.product} packages, channel ${view.channel}`],
    ...(view.signedBy === undefined || view.signedBy.length === 0 ? [] : [["Signed-By", view.signedBy.join(",")]]),
  ].map(([name, value]) => {
    if (value?.includes("\n")) throw new SlipwayError("name_invalid", `the release file's ${name} must be one line`);
    return `${name}: ${value}`;
  });
  return `${[...fields, "SHA256:", ...listed.map(({ hex, size, path }) => ` ${hex} ${size} ${path}`)].join("\n")}\n`;
}

/** RFC 2822 with the zone spelled `UTC`, the only form that every apt takes (RepositoryFormat, "Date, Valid-Until"). */
function releaseDate(date: Date): string {
  return date.toUTCString().replace("GMT", "UTC");
}
