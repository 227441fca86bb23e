/** Keeps a build from quietly replacing a complete release by less than it was. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import { fileVersion } from "../model/version.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import type { Plan } from "./plan.ts";

/**
 * Throws `usage` where `<outFolder>/<version>` holds everything that the recipe makes and the plan would leave a part of it, or would take its
 * signatures away. A preview of a part, and a folder that is no release, are replaced without a question: building again is how they are made.
 */
export async function refuseLoss(outFolder: string, { plan, fullPlan }: { readonly plan: Plan; readonly fullPlan: Plan }): Promise<void> {
  const folder = join(outFolder, fileVersion(plan.version));
  const present = await namesIn(folder);
  const manifest = present.includes(manifestName) ? await readManifest(folder) : undefined;
  if (manifest === undefined) return;
  const held = new Set(manifest.artifacts.map(({ name }) => name));
  if (!fullPlan.artifacts.every(({ name }) => held.has(name))) return;
  const made = new Set([...plan.artifacts, ...plan.records].map(({ name }) => name));
  // No plan knows deltas; they are made again, or missed by nobody.
  const lost = manifest.artifacts.filter(({ name, kind }) => kind !== "delta" && !made.has(name)).length;
  const isSignature = (name: string): boolean => Object.values(signatureSuffixes).some((suffix) => name.endsWith(suffix));
  const unsigned = present.filter((name) => isSignature(name) && !made.has(name));
  if (lost === 0 && unsigned.length === 0) return;
  const what = [
    ...(lost === 0 ? [] : [`${lost} of its ${manifest.artifacts.length} files`]),
    ...(unsigned.length === 0 ? [] : [`its ${unsigned.length === 1 ? "signature" : "signatures"} ${unsigned.join(", ")}`]),
  ];
  throw new SlipwayError("usage", `${folder} holds the complete release ${plan.version}, and this build would take away ${what.join(" and ")}`, {
    hint: "put the part somewhere else with --out preview, or say --replace",
  });
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}

/** Undefined for what no build of ours has left. */
async function readManifest(folder: string): Promise<Manifest | undefined> {
  const text = (await readFileBounded(join(folder, manifestName), manifestSizeLimit)).toString("utf8");
  try {
    return manifestSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined; // not JSON
  }
}
