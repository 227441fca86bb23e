/**
 * Reads one channel of an APT repository and proves it: Release by its detached signature, InRelease as the same text, the indexes by the
 * digests in Release, the packages by those in the indexes. A wanted part by architecture leaves the release files as they are: apt asks only
 * for the architectures of its machine (as debmirror and apt-mirror do).
 */
import { decompress } from "../formats/decompress.ts";
import { linesOf } from "../formats/text-lines.ts";
import { fileBytes } from "../io/spool.ts";
import { SlipwayError } from "../model/errors.ts";
import { requireCleartext } from "../trust/openpgp-cleartext.ts";
import { verifyDetached } from "../trust/openpgp-verify.ts";
import { addDocument, addFile, type Collected, type Collecting, movedError, readDocument, requirePlainPath, sha256Hex } from "./collect.ts";
import { wantedWords } from "./settings.ts";

const releaseLimit = 4 * 1024 * 1024;
/** Plain text of one index: 100,000 packages of ours have 60 MB. */
const indexLimit = 1024 * 1024 * 1024;
const lineLimit = 1024 * 1024;
const compressedEnding = /\.(gz|zst|xz|bz2)$/;

type Listed = { readonly hex: string; readonly size: number; readonly path: string };

/** Adds nothing where the channel has no APT repository. Throws `upgrade_verification_failed` or `signature_invalid` for what proves nothing. */
export async function collectApt(collecting: Collecting, channel: string, collected: Collected): Promise<void> {
  const root = `apt/${collecting.product}/dists/${channel}`;
  const release = await readRelease(collecting, root, channel);
  if (release === undefined) return;
  const { inRelease, plain, detached } = release;
  await addDocument(collecting, collected, { path: `${root}/InRelease`, bytes: inRelease });
  await addDocument(collecting, collected, { path: `${root}/Release`, bytes: plain });
  await addDocument(collecting, collected, { path: `${root}/Release.gpg`, bytes: detached });
  collected.openers.set(`${root}/InRelease`, sha256Hex(inRelease));
  collected.marks.set(`apt/${collecting.product}/${channel}`, release.dateSeconds);
  const wanted = wantedWords(collecting.selection, "deb");
  for (const variants of indexVariants(release.listed, wanted)) {
    const found = await fetchIndex(collecting, collected, root, variants);
    if (found !== undefined && /(?:^|\/)Packages(?:\.|$)/.test(found.path)) await collectPackages(collecting, collected, found);
  }
}

type Release = {
  readonly inRelease: Buffer;
  readonly plain: Buffer;
  readonly detached: Buffer;
  readonly dateSeconds: number;
  readonly listed: readonly Listed[];
};

async function readRelease(collecting: Collecting, root: string, channel: string): Promise<Release | undefined> {
  const { now, trust } = collecting;
  const inRelease = await readDocument(collecting, `${root}/InRelease`, releaseLimit);
  if (inRelease === undefined) return undefined;
  const plain = await readDocument(collecting, `${root}/Release`, releaseLimit);
  const detached = await readDocument(collecting, `${root}/Release.gpg`, releaseLimit);
  if (plain === undefined || detached === undefined) throw movedError(root);
  if (trust.repository === undefined) throw new Error("bug: apt without a pinned key");
  const verdict = await verifyDetached({ data: plain, signature: detached, keyring: trust.repository, now });
  if (verdict.kind === "bad") throw new SlipwayError("upgrade_verification_failed", `${root}/Release: ${verdict.message}`, { detail: verdict.detail });
  await requireCleartext({ signed: inRelease, plain, keyring: trust.repository });
  return { inRelease, plain, detached, ...readReleaseText(plain.toString("utf8"), { root, channel, now, isLive: collecting.fetching.source.isLive }) };
}

function readReleaseText(
  text: string,
  at: { readonly root: string; readonly channel: string; readonly now: Date; readonly isLive: boolean },
): Pick<Release, "dateSeconds" | "listed"> {
  const place = `${at.root}/Release`;
  const refuse = (message: string, detail: string): never => {
    throw new SlipwayError("upgrade_verification_failed", `${place}: ${message}`, { detail });
  };
  const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, "m").exec(text)?.[1];
  const date = Date.parse(field("Date") ?? "");
  if (Number.isNaN(date)) refuse("it has no date", "release_json_mismatch");
  const validUntil = field("Valid-Until");
  // Somebody holds an old repository before us (TUF's freeze attack): signed, and no longer true. What is carried over an air gap may take
  // longer than a week; there the mirror's marks alone keep it from going back.
  if (at.isLive && validUntil !== undefined && !(Date.parse(validUntil) > at.now.getTime())) refuse(`it was valid until ${validUntil}`, "expired");
  // A signed file of another channel in this one's place.
  if (field("Suite") !== at.channel && field("Codename") !== at.channel) refuse(`it is of the suite ${field("Suite") ?? "(none)"}`, "wrong_suite");
  const listed: Listed[] = [];
  const [, block] = /^SHA256:\n((?: .*\n?)+)/m.exec(text) ?? [];
  for (const line of (block ?? "").split("\n")) {
    if (line.trim() === "") continue;
    const [, hex, size, path] = /^ ([0-9a-f]{64}) +(\d{1,12}) (\S+)$/.exec(line) ?? [];
    if (hex === undefined || size === undefined || path === undefined) return refuse(`it lists ${JSON.stringify(line.slice(0, 100))}`, "release_json_mismatch");
    listed.push({ hex, size: Number(size), path: requirePlainPath(path, place) });
  }
  return { dateSeconds: Math.floor(date / 1000), listed };
}

/** One entry for each index of a wanted architecture: its compressed forms, or the plain one where there is no other; apt wants no more. */
function indexVariants(listed: readonly Listed[], wanted: ReadonlySet<string> | undefined): readonly (readonly Listed[])[] {
  const groups = new Map<string, Listed[]>();
  for (const file of listed) {
    const [, arch] = /(?:^|\/)binary-([a-z0-9-]+)\//.exec(file.path) ?? [];
    if (arch !== undefined && wanted !== undefined && arch !== "all" && !wanted.has(arch)) continue;
    const base = file.path.replace(compressedEnding, "");
    groups.set(base, [...(groups.get(base) ?? []), file]);
  }
  return [...groups.values()].map((forms) => {
    const compressed = forms.filter(({ path }) => compressedEnding.test(path));
    return compressed.length === 0 ? forms : compressed;
  });
}

/** Fetches every form that the source has; not all that are listed need be served. Returns one that can be read. */
async function fetchIndex(
  collecting: Collecting,
  collected: Collected,
  root: string,
  variants: readonly Listed[],
): Promise<(Listed & { readonly codec: "gzip" | "zstd" | "xz" | "none" }) | undefined> {
  const { pool, fetching } = collecting;
  let found: (Listed & { readonly codec: "gzip" | "zstd" | "xz" | "none" }) | undefined;
  for (const variant of variants) {
    const folder = variant.path.split("/").slice(0, -1).join("/");
    const byHash = `${root}/${folder}/by-hash/SHA256/${variant.hex}`;
    const proof = { kind: "sha256", hex: variant.hex } as const;
    try {
      await pool.fetch({ path: byHash, size: variant.size, proof }, fetching);
    } catch (error) {
      if (error instanceof SlipwayError && error.code === "not_found") continue;
      throw error;
    }
    addFile(collected, { path: byHash, source: byHash, size: variant.size, proof, immutable: true });
    addFile(collected, { path: `${root}/${variant.path}`, source: `${root}/${variant.path}`, size: variant.size, proof, immutable: false });
    const [, ending] = compressedEnding.exec(variant.path) ?? [];
    const codec = ending === undefined ? "none" : ({ gz: "gzip", zst: "zstd", xz: "xz", bz2: undefined } as const)[ending as "gz" | "zst" | "xz" | "bz2"];
    if (codec !== undefined) found ??= { ...variant, codec };
  }
  if (found === undefined) throw movedError(`${root}/${variants[0]?.path ?? ""}`);
  return found;
}

async function collectPackages(
  collecting: Collecting,
  collected: Collected,
  index: Listed & { readonly codec: "gzip" | "zstd" | "xz" | "none" },
): Promise<void> {
  const place = `${collecting.product} ${index.path}`;
  for await (const stanza of readStanzas(collecting.pool.pathOf(index.hex), index)) {
    const { filename, size, sha256 } = describeStanza(stanza, place);
    const path = `apt/${collecting.product}/${filename}`;
    addFile(collected, { path, source: path, size, proof: { kind: "sha256", hex: sha256 }, immutable: true });
  }
}

/** Where a package lies and what it weighs, from its stanza. Throws `upgrade_verification_failed`, `path_unsafe`. */
export function describeStanza(stanza: string, place: string): { readonly filename: string; readonly size: number; readonly sha256: string } {
  const field = (name: string): string => new RegExp(`^${name}: (.*)$`, "m").exec(stanza)?.[1] ?? "";
  const [filename, size, sha256] = [field("Filename").replace(/^\.\//, ""), field("Size"), field("SHA256")];
  if (!/^\d{1,12}$/.test(size) || !/^[0-9a-f]{64}$/.test(sha256))
    throw new SlipwayError("upgrade_verification_failed", `${place} lists ${filename.slice(0, 200)} without size or SHA256`, {
      detail: "release_json_mismatch",
    });
  return { filename: requirePlainPath(filename, place), size: Number(size), sha256 };
}

/** The stanzas of an index, one in memory at a time, each with its closing empty line. */
export async function* readStanzas(
  path: string,
  index: { readonly size: number; readonly codec: "gzip" | "zstd" | "xz" | "none"; readonly path: string },
): AsyncGenerator<string> {
  const plain = decompress(fileBytes(path, index.size).open(), { codec: index.codec, limitBytes: indexLimit, name: index.path });
  let lines: string[] = [];
  let size = 0;
  for await (const line of linesOf(plain, { limitBytes: lineLimit, name: index.path })) {
    if (line !== "") {
      lines.push(line);
      size += line.length;
      if (size > lineLimit) throw new SlipwayError("format_limit", `${index.path} has a stanza of more than ${lineLimit} bytes`);
      continue;
    }
    if (lines.length > 0) yield `${lines.join("\n")}\n\n`;
    lines = [];
    size = 0;
  }
  if (lines.length > 0) yield `${lines.join("\n")}\n\n`;
}
