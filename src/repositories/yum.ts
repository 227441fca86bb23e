/**
 * A YUM repository (rpm-md): published rpms become `repodata/` at the channel's root, which lists every architecture's folder.
 *
 * Parties and order: dnf fetches repomd.xml and repomd.xml.asc, checks the signature with the key that the .repo file names, then the
 * indexes that repomd.xml lists, named by their own SHA-256, then packages under the digests of primary. repomd.xml and its signature are
 * two requests and cannot be switched as one: the server answers both from one snapshot per client.
 *
 * Sources: createrepo_c's output, librepo's checks. `<open-checksum>` is left out: the head of each index carries the count, so the plain
 * digest would cost a pass over the whole index on every publication; dnf 4.14 and zypper 1.14 check the file that they fetch (measured).
 */
import { z } from "zod";
import { gzipBytes } from "../formats/compress.ts";
import { type Digest, digestHex } from "../model/digest.ts";
import type { RepositorySigner } from "./apt.ts";
import { blockSizes, type IndexChange, type IndexForm, type IndexState, indexStateSchema, updateIndex } from "./index-blocks.ts";
import type { IndexFiles } from "./index-files.ts";
import { fileOfBytes, type RepositoryFile } from "./repository-file.ts";
import { updateInfo, type YumUpdate } from "./updateinfo.ts";
import { xmlElement } from "./xml.ts";
import type { YumFragments } from "./yum-fragments.ts";

const xmlLine = '<?xml version="1.0" encoding="UTF-8"?>\n';
const common = "http://linux.duke.edu/metadata/common";
const rpmNamespace = "http://linux.duke.edu/metadata/rpm";

const indexNames = ["primary", "filelists", "other"] as const;
type IndexName = (typeof indexNames)[number];

const sha256HexLength = 64;

function indexForm(name: IndexName): IndexForm {
  const [root, attributes] = {
    primary: ["metadata", `xmlns="${common}" xmlns:rpm="${rpmNamespace}"`],
    filelists: ["filelists", 'xmlns="http://linux.duke.edu/metadata/filelists"'],
    other: ["otherdata", 'xmlns="http://linux.duke.edu/metadata/other"'],
  }[name] as [string, string];
  const head = (count: number): string => `${xmlLine}<${root} ${attributes} packages="${count}">\n`;
  // As yumFragments writes it. What the package says of itself cannot hold the mark: `>` and, in attributes, quotes are escaped.
  const mark = name === "primary" ? ' pkgid="YES">' : '<package pkgid="';
  const packageOf = (fragment: Buffer): string => {
    const start = fragment.indexOf(mark) + mark.length;
    return fragment.toString("latin1", start, start + sha256HexLength);
  };
  return { name, terminator: "</package>\n", packageOf, frame: { head, foot: `</${root}>\n` }, ...blockSizes };
}

const forms: Readonly<Record<IndexName, IndexForm>> = { primary: indexForm("primary"), filelists: indexForm("filelists"), other: indexForm("other") };

export const yumStateSchema = z.strictObject({ schema: z.literal(1), primary: indexStateSchema, filelists: indexStateSchema, other: indexStateSchema });
/** One channel's indexes between two publications; the contract is that of index-blocks.ts. */
export type YumState = { readonly schema: 1 } & Readonly<Record<IndexName, IndexState>>;

/** The channel after a release came or went, `before` undefined without any; see the contract at the top of index-blocks.ts. */
export async function updateYum(
  before: YumState | undefined,
  change: { readonly add: readonly YumFragments[]; readonly remove?: readonly YumFragments[]; readonly without?: IndexChange["without"] },
  files: IndexFiles,
): Promise<YumState> {
  const update = (name: IndexName): Promise<IndexState> => {
    const texts = (list: readonly YumFragments[] = []): readonly string[] => list.map((fragments) => fragments[name]);
    const changes = { add: texts(change.add), remove: texts(change.remove), without: change.without };
    return updateIndex(forms[name], before?.[name], changes, files);
  };
  const [primary, filelists, other] = await Promise.all([update("primary"), update("filelists"), update("other")]);
  return { schema: 1, primary, filelists, other };
}

export type YumView = {
  readonly state: YumState;
  readonly now: Date;
  /** Of the repomd.xml that this one replaces: the new revision is never lower. */
  readonly previousDate?: Date;
  readonly sign: Pick<RepositorySigner, "detach">;
  /** Armored public keys; served as `repomd.xml.key`, where zypper looks for it. */
  readonly publicKey: string;
  /** Advisories and the packages that fix them; without any there is no updateinfo. */
  readonly updates?: { readonly product: string; readonly channel: string; readonly list: readonly YumUpdate[] };
};

/** Every file of the channel, paths relative to `/yum/<product>/<channel>/`. */
export async function renderYum(view: YumView): Promise<readonly RepositoryFile[]> {
  const seconds = Math.floor(Math.max(view.now.getTime(), view.previousDate?.getTime() ?? 0) / 1000);
  const files: RepositoryFile[] = [];
  const entries: string[] = [];
  for (const name of indexNames) {
    const { size, digest, plainSize } = view.state[name].file;
    const path = `repodata/${digestHex(digest)}-${name}.xml.gz`;
    files.push({ path, size, digest, isImmutable: true, contentType: "application/gzip" });
    entries.push(repomdEntry(name, { path, size, digest, plainSize, seconds }));
  }
  if (view.updates !== undefined && view.updates.list.length > 0) {
    const plain = Buffer.from(updateInfo(view.updates.list, view.updates));
    const { digest, size, ...file } = fileOfBytes("", gzipBytes(plain), "application/gzip");
    const path = `repodata/${digestHex(digest)}-updateinfo.xml.gz`;
    files.push({ ...file, path, size, digest, isImmutable: true });
    entries.push(repomdEntry("updateinfo", { path, size, digest, plainSize: plain.length, seconds }));
  }
  const head = `${xmlLine}<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="${rpmNamespace}">\n`;
  const repomd = Buffer.from(`${head}  ${xmlElement("revision", {}, String(seconds))}\n${entries.join("")}</repomd>\n`);
  files.push(fileOfBytes("repodata/repomd.xml.key", Buffer.from(view.publicKey), "application/pgp-keys"));
  files.push(fileOfBytes("repodata/repomd.xml.asc", Buffer.from(await view.sign.detach(repomd)), "application/pgp-signature"));
  files.push(fileOfBytes("repodata/repomd.xml", repomd, "application/xml"));
  return files;
}

type ListedIndex = { readonly path: string; readonly size: number; readonly digest: Digest; readonly plainSize: number; readonly seconds: number };

function repomdEntry(type: string, index: ListedIndex): string {
  const lines = [
    xmlElement("checksum", { type: "sha256" }, digestHex(index.digest)),
    xmlElement("location", { href: index.path }),
    xmlElement("timestamp", {}, String(index.seconds)),
    xmlElement("size", {}, String(index.size)),
    xmlElement("open-size", {}, String(index.plainSize)),
  ];
  return `  <data type="${type}">\n${lines.map((line) => `    ${line}\n`).join("")}  </data>\n`;
}
