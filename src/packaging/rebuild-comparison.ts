/**
 * Holds a release against the one that was built again from its tag, file by file, byte for byte.
 *
 * Signatures are the one thing that a rebuild without the keys cannot make. An rpm and an apk are then compared apart from their signature
 * header or segment, and what speaks of their digests (manifest, sums, documents) with the released digests put in: nothing else may differ.
 */
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { readRpm } from "../formats/rpm-read.ts";
import { hashFile } from "../io/hash-file.ts";
import { fileBytes } from "../io/spool.ts";
import { digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, type ManifestArtifact, manifestName, manifestSizeLimit } from "../model/manifest.ts";
import type { Version } from "../model/version.ts";
import { formatChecksums, parseChecksums } from "../trust/checksums.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import { type Difference, findDifference, firstDifference } from "./artifact-difference.ts";
import { provenanceNames } from "./provenance-names.ts";

export type FileVerdict = {
  readonly name: string;
  /** `unsigned`: the same apart from signatures, and from digests of signed packages. `uncompared`: a signature that nobody here can make. */
  readonly result: "identical" | "unsigned" | "uncompared" | "different" | "missing";
  readonly difference?: Difference;
  /** Why it is not simply identical. */
  readonly note?: string;
};

/** What a rebuild without keys cannot know, from the release itself. */
type Known = {
  /** Digests and sizes of files that are the same apart from signatures, by the rebuilt digest. */
  readonly replaced: Map<string, { readonly name: string; readonly sha256: string; readonly size: number }>;
  /** Signatures that only the release has and its manifest lists. */
  readonly signatures: ManifestArtifact[];
};

/** `released` and `rebuilt` are folders; verdicts come in the order of the manifest with documents last, then manifest, sums and their signatures. */
export async function compareReleases(
  released: string,
  rebuilt: string,
  names: { readonly manifest: Manifest; readonly sumsName: string },
): Promise<readonly FileVerdict[]> {
  const { manifest, sumsName } = names;
  const known: Known = { replaced: new Map(), signatures: [] };
  const { envelope } = provenanceNames(manifest.product, manifest.version as Version);
  const compare = (name: string, kind: TextKind): Promise<FileVerdict> =>
    compareFile({ name, kind, left: join(released, name), right: join(rebuilt, name) }, known);
  const verdicts: FileVerdict[] = [];
  for (const artifact of documentsLast(manifest.artifacts)) {
    if (artifact.kind === "delta") {
      verdicts.push({ name: artifact.name, result: "uncompared", note: "made from an earlier release; what it makes is compared when it is used" });
      continue;
    }
    if (artifact.name !== envelope) {
      verdicts.push(await compare(artifact.name, artifact.kind === "sbom" ? "sbom" : "text"));
      continue;
    }
    const verdict = await compareSignature(envelope, { released, rebuilt });
    if (verdict.result === "uncompared") known.signatures.push(artifact);
    verdicts.push(verdict);
  }
  verdicts.push(await compare(manifestName, "manifest"), await compare(sumsName, "sums"));
  for (const suffix of Object.values(signatureSuffixes)) {
    const name = `${sumsName}${suffix}`;
    if (await isThere(join(released, name))) verdicts.push(await compareSignature(name, { released, rebuilt }));
  }
  return verdicts;
}

/** SBOMs speak of artifacts, and the provenance of both. */
function documentsLast(artifacts: readonly ManifestArtifact[]): readonly ManifestArtifact[] {
  const turn = ({ kind }: ManifestArtifact): number => (kind === "sbom" ? 1 : kind === "provenance" ? 2 : 0);
  return artifacts.toSorted((left, right) => turn(left) - turn(right));
}

async function compareSignature(name: string, { released, rebuilt }: { readonly released: string; readonly rebuilt: string }): Promise<FileVerdict> {
  if (!(await isThere(join(rebuilt, name)))) return { name, result: "uncompared", note: "its key is not here; check it with `slipway verify`" };
  const [left, right] = await Promise.all([readFile(join(released, name)), readFile(join(rebuilt, name))]);
  if (left.equals(right)) return { name, result: "identical" };
  return {
    name,
    result: "uncompared",
    note: "made by other keys than those at hand, or over other digests of signed packages; check it with `slipway verify`",
  };
}

type TextKind = "text" | "sbom" | "manifest" | "sums";
type Pair = { readonly name: string; readonly kind: TextKind; readonly left: string; readonly right: string };

async function compareFile(pair: Pair, known: Known): Promise<FileVerdict> {
  const { name, left, right } = pair;
  if (!(await isThere(right))) return { name, result: "missing", note: "the recipe at the tag does not make it" };
  if (!(await isThere(left))) return { name, result: "missing", note: "the manifest lists it, and it is not there" };
  const [released, rebuilt] = [await hashFile(left), await hashFile(right)];
  if (released.digest === rebuilt.digest) return { name, result: "identical" };
  const remember = (note: string): FileVerdict => {
    known.replaced.set(digestHex(rebuilt.digest), { name, sha256: digestHex(released.digest), size: released.size });
    return { name, result: "unsigned", note };
  };
  if (name.endsWith(".rpm") && (await isSameRpmContent(left, right))) return remember("header and payload are the same; the signature header differs");
  if (name.endsWith(".apk") && (await isSameApkContent(pair, { released: released.size, rebuilt: rebuilt.size }))) {
    return remember("control and data are the same; the signature segment differs");
  }
  const text = await comparedText(pair, known);
  if (text === "same") return remember("the same apart from what names signed packages");
  const difference = text ?? (await findDifference(left, right));
  return { name, result: "different", ...(difference === undefined ? {} : { difference }) };
}

/** From the main header on: it covers every byte of the payload by its digest, and its own digests stand in the signature header. */
async function isSameRpmContent(left: string, right: string): Promise<boolean> {
  const content = async (path: string) => {
    const { headerRange } = await readRpm(fileBytes(path, (await stat(path)).size));
    return createReadStream(path, { start: headerRange.start }) as AsyncIterable<Buffer>;
  };
  try {
    return (await firstDifference(await content(left), await content(right))) === undefined;
  } catch (error) {
    if (error instanceof SlipwayError) return false; // damaged: the caller says where
    throw error;
  }
}

/** A signature segment stands in front of everything else: the shorter file is the end of the longer one. */
async function isSameApkContent({ left, right }: Pair, sizes: { readonly released: number; readonly rebuilt: number }): Promise<boolean> {
  const size = Math.min(sizes.released, sizes.rebuilt);
  if (sizes.released === sizes.rebuilt) return false;
  const end = (path: string, whole: number) => createReadStream(path, { start: whole - size }) as AsyncIterable<Buffer>;
  return (await firstDifference(end(left, sizes.released), end(right, sizes.rebuilt))) === undefined;
}

/** Small texts: "same" once what only the release knows is put in, else the first line that differs; undefined for what is no text. */
async function comparedText({ kind, left, right }: Pair, known: Known): Promise<Difference | "same" | undefined> {
  if ((await stat(left)).size > manifestSizeLimit || (await stat(right)).size > manifestSizeLimit) return undefined;
  const [released, rebuilt] = [await readFile(left), await readFile(right)];
  if (released.includes(0) || rebuilt.includes(0)) return undefined;
  const expected = released.toString("utf8");
  const actual = completed[kind](rebuilt.toString("utf8"), known, expected);
  const offset = await firstDifference(piece(released), piece(Buffer.from(actual)));
  if (offset === undefined) return "same";
  const line = released.subarray(0, offset).toString("utf8").split("\n").length - 1;
  return { offset, why: `line ${line + 1} is ${quote(expected.split("\n")[line])}; rebuilt ${quote(actual.split("\n")[line])}` };
}

async function* piece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

const uuidPattern = /urn:uuid:[0-9a-f-]{36}/;

/** The rebuilt text with what only the release can know. */
const completed: Readonly<Record<TextKind, (rebuilt: string, known: Known, released: string) => string>> = {
  text: withDigests,
  // The name of an SBOM is made from its content, the digest of what it describes included.
  sbom: (rebuilt, known, released) => {
    const text = withDigests(rebuilt, known);
    return text === rebuilt ? text : text.replace(uuidPattern, uuidPattern.exec(released)?.[0] ?? "");
  },
  // A signature has a size. The manifest is written by JSON.stringify, so reading and writing it gives the same text.
  manifest: (rebuilt, known) => {
    const byName = new Map([...known.replaced.values()].map((one) => [one.name, one]));
    const manifest = JSON.parse(rebuilt) as { artifacts: ManifestArtifact[] };
    for (const artifact of manifest.artifacts) {
      const { size, sha256 } = byName.get(artifact.name) ?? artifact;
      Object.assign(artifact, { size, sha256 });
    }
    manifest.artifacts = [...manifest.artifacts, ...missing(manifest.artifacts, known)].sort((left, right) => (left.name < right.name ? -1 : 1));
    return withDigests(`${JSON.stringify(manifest, null, 2)}\n`, known);
  },
  sums: (rebuilt, known) => {
    const entries = [...parseChecksums(Buffer.from(withDigests(rebuilt, known)))];
    const listed = entries.map(([name]) => ({ name }));
    return formatChecksums([...entries, ...missing(listed, known).map(({ name, sha256 }) => [name, sha256] as const)]);
  },
};

function missing(listed: readonly { readonly name: string }[], { signatures }: Known): readonly ManifestArtifact[] {
  return signatures.filter(({ name }) => !listed.some((one) => one.name === name));
}

function withDigests(text: string, { replaced }: Known): string {
  return [...replaced].reduce((result, [rebuilt, { sha256 }]) => result.replaceAll(rebuilt, sha256), text);
}

function quote(text: string | undefined): string {
  return text === undefined ? "the end" : JSON.stringify(text.trim().slice(0, 120));
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
