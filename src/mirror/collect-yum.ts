/**
 * Reads one channel of a YUM repository and proves it: repomd.xml by its detached signature, the indexes by the digests in repomd.xml, the
 * packages by those in primary. A wanted part by architecture leaves repodata as it is: dnf takes packages of its own architecture only.
 */
import { decompress } from "../formats/decompress.ts";
import { piecesOf } from "../formats/text-lines.ts";
import { fileBytes } from "../io/spool.ts";
import { SlipwayError } from "../model/errors.ts";
import { verifyDetached } from "../trust/openpgp-verify.ts";
import { addDocument, addFile, type Collected, type Collecting, movedError, readDocument, requirePlainPath, sha256Hex } from "./collect.ts";
import { wantedWords } from "./settings.ts";

const repomdLimit = 1024 * 1024;
const signatureLimit = 64 * 1024;
const indexLimit = 2 * 1024 * 1024 * 1024;
/** One package in filelists: 20,000 files of 200 bytes. */
const packageLimit = 8 * 1024 * 1024;

export type YumIndex = { readonly type: string; readonly path: string; readonly hex: string; readonly size: number };

/** Adds nothing where the channel has no YUM repository; returns the indexes. Throws `upgrade_verification_failed` for what proves nothing. */
export async function collectYum(collecting: Collecting, channel: string, collected: Collected): Promise<readonly YumIndex[]> {
  const root = `yum/${collecting.product}/${channel}`;
  const { now, trust } = collecting;
  const repomd = await readDocument(collecting, `${root}/repodata/repomd.xml`, repomdLimit);
  if (repomd === undefined) return [];
  const signature = await readDocument(collecting, `${root}/repodata/repomd.xml.asc`, signatureLimit);
  if (signature === undefined) throw movedError(root);
  if (trust.repository === undefined) throw new Error("bug: yum without a pinned key");
  const verdict = await verifyDetached({ data: repomd, signature, keyring: trust.repository, now });
  if (verdict.kind === "bad")
    throw new SlipwayError("upgrade_verification_failed", `${root}/repodata/repomd.xml: ${verdict.message}`, { detail: verdict.detail });
  await addDocument(collecting, collected, { path: `${root}/repodata/repomd.xml`, bytes: repomd });
  await addDocument(collecting, collected, { path: `${root}/repodata/repomd.xml.asc`, bytes: signature });
  // Where zypper looks for keys: those that were pinned, not those that the source would like.
  const keys = trust.files.find(({ path }) => path === `keys/${collecting.product}.asc`);
  if (keys !== undefined) await addDocument(collecting, collected, { path: `${root}/repodata/repomd.xml.key`, bytes: keys.bytes });
  collected.openers.set(`${root}/repodata/repomd.xml`, sha256Hex(repomd));
  const text = repomd.toString("utf8");
  collected.marks.set(`yum/${collecting.product}/${channel}`, Number(/<revision>(\d{1,12})<\/revision>/.exec(text)?.[1] ?? 0));
  const indexes = readRepomd(text, `${root}/repodata/repomd.xml`);
  for (const index of indexes) {
    const path = `${root}/${index.path}`;
    const proof = { kind: "sha256", hex: index.hex } as const;
    await collecting.pool.fetch({ path, size: index.size, proof }, collecting.fetching);
    addFile(collected, { path, source: path, size: index.size, proof, immutable: index.path.includes(index.hex) });
  }
  const primary = indexes.find(({ type }) => type === "primary");
  if (primary === undefined)
    throw new SlipwayError("upgrade_verification_failed", `${root}/repodata/repomd.xml names no primary`, { detail: "release_json_mismatch" });
  const wanted = wantedWords(collecting.selection, "rpm");
  for await (const fragment of readFragments(collecting.pool.pathOf(primary.hex), primary)) {
    const described = describeRpm(fragment, root);
    if (wanted !== undefined && described.arch !== "noarch" && !wanted.has(described.arch)) continue;
    const path = `${root}/${described.href}`;
    addFile(collected, { path, source: path, size: described.size, proof: { kind: "sha256", hex: described.sha256 }, immutable: true });
  }
  return indexes;
}

function readRepomd(text: string, place: string): readonly YumIndex[] {
  const indexes: YumIndex[] = [];
  for (const [, type = "", body = ""] of text.matchAll(/<data type="([a-z_]{1,32})">([\s\S]*?)<\/data>/g)) {
    const [, hex] = /<checksum type="sha256">([0-9a-f]{64})<\/checksum>/.exec(body) ?? [];
    const [, href] = /<location href="([^"]+)"\s*\/>/.exec(body) ?? [];
    const [, size] = /<size>(\d{1,12})<\/size>/.exec(body) ?? [];
    if (hex === undefined || href === undefined || size === undefined)
      throw new SlipwayError("upgrade_verification_failed", `${place} lists ${type} without place, size or SHA-256`, { detail: "release_json_mismatch" });
    const path = requirePlainPath(href, place);
    if (!path.startsWith("repodata/")) throw new SlipwayError("path_unsafe", `${place} lists ${path} outside of repodata`);
    indexes.push({ type, path, hex, size: Number(size) });
  }
  return indexes;
}

/** A package's entry of primary. Throws `upgrade_verification_failed`, `path_unsafe`. */
export function describeRpm(fragment: string, place: string): { readonly href: string; readonly size: number; readonly sha256: string; readonly arch: string } {
  const [, sha256] = /<checksum type="sha256" pkgid="YES">([0-9a-f]{64})<\/checksum>/.exec(fragment) ?? [];
  const [, href] = /<location href="([^"]+)"\s*\/>/.exec(fragment) ?? [];
  const [, size] = /<size package="(\d{1,12})"/.exec(fragment) ?? [];
  const [, arch] = /<arch>([A-Za-z0-9_]{1,32})<\/arch>/.exec(fragment) ?? [];
  if (sha256 === undefined || href === undefined || size === undefined || arch === undefined)
    throw new SlipwayError("upgrade_verification_failed", `${place} lists a package without place, size, architecture or SHA-256`, {
      detail: "release_json_mismatch",
    });
  const path = requirePlainPath(href, place);
  if (path.startsWith("repodata/")) throw new SlipwayError("path_unsafe", `${place} lists the package ${path} among its indexes`);
  return { href: path, size: Number(size), sha256, arch };
}

/** The `<package>` elements of an index, one in memory at a time. */
export async function* readFragments(path: string, index: YumIndex): AsyncGenerator<string> {
  const codec = index.path.endsWith(".gz") ? "gzip" : index.path.endsWith(".zst") ? "zstd" : index.path.endsWith(".xz") ? "xz" : "none";
  const plain = decompress(fileBytes(path, index.size).open(), { codec, limitBytes: indexLimit, name: index.path });
  for await (const piece of piecesOf(plain, { ending: "</package>\n", limitBytes: packageLimit, name: index.path })) {
    const start = piece.indexOf("<package ");
    if (start !== -1 && piece.endsWith("</package>\n")) yield piece.slice(start);
  }
}
