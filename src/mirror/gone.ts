/**
 * What left a mirror because its vendor withdrew or retired it: `sets/<id>.gone.json` beside each set, so that who asks for such a file hears why.
 *
 * The source's list says which versions left and why. Nobody signs that list, so it only explains an absence and takes away: whoever controls the
 * source could leave the versions out as well. Which addresses were a version's is known from the set before, by the digests in its release.json;
 * a mirror of package repositories alone has none, and asks the source for each package that left: its 410 names the version.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { manifestArtifactSchema, manifestName } from "../model/manifest.ts";
import { ociTag, tryParseVersion } from "../model/version.ts";
import type { SetFile, SetManifest } from "./file-set.ts";

export const goneReleaseSchema = z.object({
  version: z.string().max(128),
  state: z.enum(["withdrawn", "retired"]).default("retired"),
  replacement: z.string().max(128).optional(),
  reason: z.string().max(1_000).optional(),
});
/** A version that left, as the vendor's list has it. */
export type GoneRelease = Readonly<z.output<typeof goneReleaseSchema>>;

/** What is read of a release.json that was proven when it came. */
const manifestSchema = z.looseObject({ artifacts: z.array(manifestArtifactSchema.pick({ sha256: true, image: true }).loose()).max(1_000) });

const goneListSchema = z.strictObject({
  schema: z.literal(1),
  products: z.record(z.string().max(63), z.array(goneReleaseSchema).max(10_000)),
  /** Addresses outside `releases/`, with the version that they were of. */
  files: z.array(z.strictObject({ path: z.string().max(1024), product: z.string().max(63), version: z.string().max(128) })).max(2_000_000),
});
type GoneList = z.output<typeof goneListSchema>;
type GoneFile = Readonly<GoneList["files"][number]>;
export type GoneSet = { readonly products: Readonly<Record<string, readonly GoneRelease[]>>; readonly files: readonly GoneFile[] };

export const nothingGone: GoneSet = { products: {}, files: [] };
const goneListLimit = 128 * 1024 * 1024;

const goneListPath = (directory: string, id: string): string => join(directory, "sets", `${id}.gone.json`);

/** Write it before readers are switched to the set. */
export async function writeGone(directory: string, id: string, gone: GoneSet): Promise<void> {
  const path = goneListPath(directory, id);
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await writeFileAtomic(path, `${JSON.stringify({ schema: 1, ...gone })}\n`, { mode: 0o644 });
}

/** Of a set that has none, nothing. Throws `format_invalid` for a damaged one. */
export async function readGone(directory: string, id: string): Promise<GoneSet> {
  const place = goneListPath(directory, id);
  let bytes: Buffer;
  try {
    bytes = await readFileBounded(place, goneListLimit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return nothingGone;
    throw error;
  }
  const parsed = goneListSchema.safeParse(parseJson(bytes));
  if (!parsed.success) throw new SlipwayError("format_invalid", `${place} is no list of what left a mirror`, { place });
  return parsed.data;
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
}

type GoneInput = {
  readonly last: SetManifest | undefined;
  readonly lastGone: GoneSet;
  /** By product, as this run read it; products that it did not read keep what they had, where the set keeps them. */
  readonly retired: ReadonlyMap<string, readonly GoneRelease[]>;
  /** Names of the products in the next set. */
  readonly products: ReadonlySet<string>;
  /** What the source has now. */
  readonly next: readonly SetFile[];
  /** A document of the last set. */
  readonly read: (path: string) => Promise<Buffer | undefined>;
  /** What the source says of an address that it had: the version that is gone. */
  readonly ask: (path: string) => Promise<string | undefined>;
};

/** Packages that leave with one version are a handful; a source that answers thousands of times is not worth the time. */
const askLimit = 1_000;
const packagePattern = /^(?:apt\/([^/]+)\/pool\/.+\.deb|(?:yum|apk)\/([^/]+)\/.+\.(?:rpm|apk))$/;

/** What is gone from the next set on. */
export async function findGone({ last, lastGone, retired, products, next, read, ask }: GoneInput): Promise<GoneSet> {
  const present = new Set(next.map(({ path }) => path));
  const listed = new Map([...products].map((name) => [name, retired.get(name) ?? lastGone.products[name] ?? []] as const));
  const isStillGone = ({ path, product, version }: GoneFile): boolean =>
    !present.has(path) && listed.get(product)?.some((release) => release.version === version) === true;
  const files = new Map(lastGone.files.filter(isStillGone).map((file) => [file.path, file]));
  const left = (last?.files ?? []).filter(({ path }) => !present.has(path) && !path.startsWith("releases/"));
  if (left.length > 0) {
    for (const [product, releases] of retired) {
      for (const { version } of releases) {
        const digests = await digestsOf(read, product, version);
        if (digests.size === 0) continue;
        for (const { path, sha256 } of left) if (digests.has(sha256)) files.set(path, { path, product, version });
      }
    }
    const unexplained = left.map(({ path }) => path).filter((path) => !files.has(path));
    for (const file of await askedOf(unexplained, { retired, ask })) files.set(file.path, file);
  }
  return { products: Object.fromEntries(listed), files: [...files.values()].sort((one, other) => (one.path < other.path ? -1 : 1)) };
}

/** Only of versions that the source's own list says have left. */
async function askedOf(paths: readonly string[], { retired, ask }: Pick<GoneInput, "retired" | "ask">): Promise<readonly GoneFile[]> {
  const found: GoneFile[] = [];
  const packages = paths.flatMap((path) => {
    const [, deb, other] = packagePattern.exec(path) ?? [];
    const product = deb ?? other;
    const releases = product === undefined ? undefined : retired.get(product);
    return product === undefined || releases === undefined || releases.length === 0 ? [] : [{ path, product, releases }];
  });
  for (const { path, product, releases } of packages.slice(0, askLimit)) {
    const version = await ask(path);
    if (version !== undefined && releases.some((release) => release.version === version)) found.push({ path, product, version });
  }
  return found;
}

/** Of the packages and images of a version that the last set has. */
async function digestsOf(read: GoneInput["read"], product: string, version: string): Promise<ReadonlySet<string>> {
  const bytes = await read(`releases/${product}/${version}/${manifestName}`);
  const parsed = bytes === undefined ? undefined : manifestSchema.safeParse(parseJson(bytes));
  if (parsed?.success !== true) return new Set();
  return new Set(parsed.data.artifacts.flatMap(({ sha256, image }) => [sha256, ...(image === undefined ? [] : [image.digest.slice("sha256:".length)])]));
}

/** True for a file that must not stay for readers of the old index: its vendor took it back. What was retired may end its hours. */
export function isWithdrawnIn(gone: GoneSet): (path: string) => boolean {
  const isWithdrawn = (product: string, version: string): boolean =>
    gone.products[product]?.some((release) => release.version === version && release.state === "withdrawn") === true;
  const paths = new Set(gone.files.filter(({ product, version }) => isWithdrawn(product, version)).map(({ path }) => path));
  return (path) => {
    const [tree, product = "", version = ""] = path.split("/");
    return paths.has(path) || (tree === "releases" && isWithdrawn(product, version));
  };
}

export type Gone = GoneRelease & { readonly product: string };

/** Which version an address was of that is no more: below `releases/` by its name, else by the list. */
export function whyGone(gone: GoneSet, path: string): Gone | undefined {
  const [tree, product = "", version = ""] = path.split("/");
  if (tree === "releases") return goneVersion(gone, product, version);
  const file = gone.files.find((one) => one.path === path);
  return file === undefined ? undefined : goneVersion(gone, file.product, file.version);
}

/** Which version an image tag was of: `1.4.2`, `v1.4.2`. */
export function whyTagGone(gone: GoneSet, repository: string, tag: string): Gone | undefined {
  const [product = ""] = repository.split("/");
  const releases = Object.hasOwn(gone.products, product) ? (gone.products[product] ?? []) : [];
  const release = releases.find(({ version }) => {
    const parsed = tryParseVersion(version);
    return parsed !== undefined && [ociTag(parsed), `v${ociTag(parsed)}`].includes(tag);
  });
  return release === undefined ? undefined : { ...release, product };
}

function goneVersion(gone: GoneSet, product: string, version: string): Gone | undefined {
  const release = Object.hasOwn(gone.products, product) ? gone.products[product]?.find((one) => one.version === version) : undefined;
  return release === undefined ? undefined : { ...release, product };
}
