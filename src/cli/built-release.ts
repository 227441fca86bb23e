/** A built release on disk, as `slipway build` left it: found, read, and checked against its own sums before a byte is sent. */
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { runCommand } from "../io/command.ts";
import { readGitFacts } from "../io/git.ts";
import { hashFile } from "../io/hash-file.ts";
import { type Digest, digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import { nearestWord } from "../model/names.ts";
import { loadRecipe, type Recipe, recipeName, recipeSizeLimit } from "../packaging/recipe.ts";
import { type Checksums, parseChecksums, sumsSizeLimit } from "../trust/checksums.ts";
import { isSignatureFile } from "../trust/release-signature.ts";
import { type Invocation, textOption } from "./command.ts";

export type LocalFile = { readonly name: string; readonly path: string; readonly digest: Digest; readonly size: number };

export type BuiltRelease = {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly sumsName: string;
  readonly sumsDigest: Digest;
  /** Everything to upload: what the sums list, the sums, their signatures. */
  readonly files: readonly LocalFile[];
  /** In the folder, but neither listed nor a signature: not uploaded. */
  readonly ignored: readonly string[];
};

/** The recipe named by --recipe, else `slipway.yaml` in the working directory where there is one. Throws `recipe_missing`, `recipe_invalid`. */
export async function readRecipeIfPresent(invocation: Pick<Invocation, "options" | "cwd">): Promise<Recipe | undefined> {
  const named = textOption(invocation.options, "recipe");
  const file = named ?? recipeName;
  try {
    return loadRecipe((await readFileBounded(resolve(invocation.cwd, file), recipeSizeLimit)).toString("utf8"), file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    if (named === undefined) return undefined;
    throw new SlipwayError("recipe_missing", `there is no recipe ${named}`, { cause: error });
  }
}

/** The folder given, else `dist/<--version>`, else the only one under `dist/`, else the one of the tag at HEAD. Throws `usage` with what there is to choose from. */
export async function findBuiltFolder(invocation: Pick<Invocation, "args" | "options" | "cwd">): Promise<string> {
  const [given] = invocation.args;
  if (given !== undefined) return resolve(invocation.cwd, given);
  const dist = resolve(invocation.cwd, "dist");
  const built = await foldersIn(dist);
  const version = textOption(invocation.options, "version")?.replace(/^v/, "");
  if (version !== undefined) {
    if (built.includes(version)) return join(dist, version);
    const near = nearestWord(version, built);
    throw new SlipwayError("source_missing", `there is no dist/${version}${near === undefined ? "" : ` - did you mean dist/${near}?`}`, {
      hint: "run `slipway build` first",
    });
  }
  const [only, ...others] = built;
  if (only === undefined)
    throw new SlipwayError("source_missing", "there is no built release under dist/", { hint: "run `slipway build` first, or name its folder" });
  if (others.length === 0) return join(dist, only);
  const tagged = await builtAtHead(invocation.cwd, built);
  if (tagged !== undefined) return join(dist, tagged);
  throw new SlipwayError("usage", `which one: ${built.map((name) => `dist/${name}`).join(", ")}`, { hint: "name the folder, or use --version" });
}

/** What `slipway build` just made, where the tag at HEAD of a clean tree says its version. */
async function builtAtHead(folder: string, built: readonly string[]): Promise<string | undefined> {
  const facts = await readGitFacts(runCommand, folder);
  const [only, ...others] = (facts?.tagsAtHead ?? []).map((tag) => tag.replace(/^v/, "")).filter((version) => built.includes(version));
  return others.length === 0 ? only : undefined;
}

async function foldersIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/**
 * Reads and hashes everything. Throws `source_missing` for a file that the sums list and that is not there, `sums_invalid` where one differs:
 * a release that was changed after it was signed is not uploaded.
 */
export async function readBuiltRelease(folder: string, sumsName: string): Promise<BuiltRelease> {
  const sums = parseChecksums(await readPiece(folder, sumsName, sumsSizeLimit), sumsName);
  if (!sums.has(manifestName)) throw new SlipwayError("sums_invalid", `${sumsName} does not list ${manifestName}`, { place: join(folder, sumsName) });
  const manifest = await readBuiltManifest(folder);
  const present = (await readdir(folder)).sort();
  const signatures = present.filter((name) => isSignatureFile(name, { name: sumsName, has: (listed) => sums.has(listed) }));
  const names = [...sums.keys(), sumsName, ...signatures];
  const files: LocalFile[] = [];
  for (const name of names) files.push(await readLocalFile(folder, name, sums));
  const sumsFile = files.find((file) => file.name === sumsName);
  if (sumsFile === undefined) throw new Error("the sums file was read and is not in the list");
  return { folder, manifest, sumsName, sumsDigest: sumsFile.digest, files, ignored: present.filter((name) => !names.includes(name)) };
}

/** The manifest of a built or downloaded release; throws `source_missing`, `source_unusable`. */
export async function readBuiltManifest(folder: string): Promise<Manifest> {
  return readManifest(await readPiece(folder, manifestName, manifestSizeLimit), join(folder, manifestName));
}

async function readPiece(folder: string, name: string, limit: number): Promise<Buffer> {
  try {
    return await readFileBounded(join(folder, name), limit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `${basename(folder)} is no built release: there is no ${name}`, {
      place: folder,
      hint: "run `slipway build` first",
      cause: error,
    });
  }
}

function readManifest(bytes: Buffer, place: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new SlipwayError("source_unusable", `${manifestName} is not JSON`, { place, cause: error });
  }
  const parsed = manifestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new SlipwayError("source_unusable", `${manifestName}: ${issue?.path.join(".") ?? ""} ${issue?.message ?? "is invalid"}`, { place });
}

async function readLocalFile(folder: string, name: string, sums: Checksums): Promise<LocalFile> {
  const path = join(folder, name);
  try {
    const { digest, size } = await hashFile(path);
    const listed = sums.get(name);
    if (listed !== undefined && listed !== digestHex(digest)) {
      throw new SlipwayError("sums_invalid", `${name} has SHA-256 ${digestHex(digest)}; the sums say ${listed}`, {
        place: path,
        hint: "build the release again: it changed after its sums were made",
      });
    }
    return { name, path, digest, size };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `the sums list ${name}, which is not there`, { place: folder, cause: error });
  }
}
