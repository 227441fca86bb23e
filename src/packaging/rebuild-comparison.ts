/**
 * Holds a release against the one that was built again from its tag, file by file, byte for byte.
 *
 * Signatures are the one thing that a rebuild without the keys cannot make. An rpm and an apk are then compared apart from their signature
 * header or segment, and what speaks of their digests (manifest, sums, documents) with the released digests put in: nothing else may differ.
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { createReadStream } from "node:fs";
import { readRpm } from "../formats/rpm-read.ts";
import { hashFile } from "../io/hash-file.ts";
import { fileBytes } from "../io/spool.ts";
import { digestHex } from "../model/digest.ts";
import { type Manifest, manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import { type Difference, findDifference, firstDifference } from "./artifact-difference.ts";

export type FileVerdict = {
  readonly name: string;
  /** `unsigned`: the same apart from signatures, and from digests of signed packages. `uncompared`: a signature that nobody here can make. */
  readonly result: "identical" | "unsigned" | "uncompared" | "different" | "missing";
  readonly difference?: Difference;
  /** Why it is not simply identical. */
  readonly note?: string;
};

/** Digests and sizes of packages that are the same apart from their signatures: rebuilt -> released. */
type Replacements = Map<string, { readonly name: string; readonly sha256: string; readonly size: number }>;

/** `released` and `rebuilt` are folders; verdicts come in the order of the manifest, then manifest, sums and signatures. */
export async function compareReleases(
  released: string,
  rebuilt: string,
  names: { readonly manifest: Manifest; readonly sumsName: string },
): Promise<readonly FileVerdict[]> {
  const { manifest, sumsName } = names;
  const replacements: Replacements = new Map();
  const compare = (name: string): Promise<FileVerdict> => compareFile({ name, left: join(released, name), right: join(rebuilt, name) }, replacements);
  const verdicts: FileVerdict[] = [];
  // Documents that speak of other artifacts come after those.
  const speaksOfOthers = (kind: string): boolean => kind === "sbom" || kind === "provenance";
  const ordered = [...manifest.artifacts.filter(({ kind }) => !speaksOfOthers(kind)), ...manifest.artifacts.filter(({ kind }) => speaksOfOthers(kind))];
  for (const { name } of ordered) verdicts.push(await compare(name));
  verdicts.push(await compare(manifestName), await compare(sumsName));
  for (const suffix of Object.values(signatureSuffixes)) {
    const name = `${sumsName}${suffix}`;
    if (!(await isThere(join(released, name)))) continue;
    verdicts.push(await compareSignature(name, { released, rebuilt }));
  }
  return verdicts;
}

async function compareSignature(name: string, { released, rebuilt }: { readonly released: string; readonly rebuilt: string }): Promise<FileVerdict> {
  if (!(await isThere(join(rebuilt, name)))) return { name, result: "uncompared", note: "its key is not here; check it with `slipway verify`" };
  const [left, right] = await Promise.all([readFile(join(released, name)), readFile(join(rebuilt, name))]);
  if (left.equals(right)) return { name, result: "identical" };
  return { name, result: "uncompared", note: "made by another key than the one at hand, or over sums with other digests; check it with `slipway verify`" };
}

type Pair = { readonly name: string; readonly left: string; readonly right: string };

async function compareFile(pair: Pair, replacements: Replacements): Promise<FileVerdict> {
  const { name, left, right } = pair;
  if (!(await isThere(right))) return { name, result: "missing", note: "the recipe at the tag does not make it" };
  if (!(await isThere(left))) return { name, result: "missing", note: "the manifest lists it, and it is not there" };
  const [released, rebuilt] = [await hashFile(left), await hashFile(right)];
  if (released.digest === rebuilt.digest) return { name, result: "identical" };
  const remember = (note: string): FileVerdict => {
    replacements.set(digestHex(rebuilt.digest), { name, sha256: digestHex(released.digest), size: released.size });
    return { name, result: "unsigned", note };
  };
  if (name.endsWith(".rpm") && (await isSameRpmContent(left, right))) return remember("header and payload are the same; the signature header differs");
  if (name.endsWith(".apk") && (await isSameApkContent(pair, { released: released.size, rebuilt: rebuilt.size }))) {
    return remember("control and data are the same; the signature segment differs");
  }
  const text = await comparedText(pair, replacements);
  if (text === "same") return remember("the same apart from digests of signed packages");
  const difference = text ?? (await findDifference(left, right));
  return { name, result: "different", ...(difference === undefined ? {} : { difference }) };
}

/** From the main header on: it covers every byte of the payload by its digest, and its own digests stand in the signature header. */
async function isSameRpmContent(left: string, right: string): Promise<boolean> {
  const content = async (path: string) => {
    const { headerRange } = await readRpm(fileBytes(path, (await stat(path)).size));
    return createReadStream(path, { start: headerRange.start }) as AsyncIterable<Buffer>;
  };
  return (await firstDifference(await content(left), await content(right))) === undefined;
}

/** A signature segment stands in front of everything else: the shorter file is the end of the longer one. */
async function isSameApkContent({ left, right }: Pair, sizes: { readonly released: number; readonly rebuilt: number }): Promise<boolean> {
  const size = Math.min(sizes.released, sizes.rebuilt);
  if (sizes.released === sizes.rebuilt) return false;
  const end = (path: string, whole: number) => createReadStream(path, { start: whole - size }) as AsyncIterable<Buffer>;
  return (await firstDifference(end(left, sizes.released), end(right, sizes.rebuilt))) === undefined;
}

/** Small texts: "same" once the released digests are put in, else the first line that differs; undefined for what is no text. */
async function comparedText({ name, left, right }: Pair, replacements: Replacements): Promise<Difference | "same" | undefined> {
  if ((await stat(left)).size > manifestSizeLimit || (await stat(right)).size > manifestSizeLimit) return undefined;
  const [released, plain] = [await readFile(left), await readFile(right)];
  if (released.includes(0) || plain.includes(0)) return undefined;
  const rebuilt = name === manifestName ? manifestWith(plain.toString("utf8"), replacements) : textWith(plain.toString("utf8"), replacements);
  const [leftLines, rightLines] = [released.toString("utf8").split("\n"), rebuilt.split("\n")];
  const line = leftLines.findIndex((text, index) => text !== rightLines[index]);
  if (line < 0 && leftLines.length === rightLines.length) return "same";
  const at = line < 0 ? leftLines.length : line;
  const offset = Buffer.byteLength(
    leftLines
      .slice(0, at)
      .map((text) => `${text}\n`)
      .join(""),
  );
  return { offset, why: `line ${at + 1} is ${quote(leftLines[at])}; rebuilt ${quote(rightLines[at])}` };
}

function textWith(text: string, replacements: Replacements): string {
  return [...replacements].reduce((result, [rebuilt, { sha256 }]) => result.replaceAll(rebuilt, sha256), text);
}

/** The manifest also says sizes, and a signature has one. It is written by JSON.stringify, so reading and writing it gives the same text. */
function manifestWith(text: string, replacements: Replacements): string {
  const byName = new Map([...replacements.values()].map((one) => [one.name, one]));
  const manifest = JSON.parse(text) as { artifacts: { name: string; sha256: string; size: number }[] };
  for (const artifact of manifest.artifacts) {
    const released = byName.get(artifact.name);
    if (released !== undefined) Object.assign(artifact, { size: released.size, sha256: released.sha256 });
  }
  return textWith(`${JSON.stringify(manifest, null, 2)}\n`, replacements);
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
