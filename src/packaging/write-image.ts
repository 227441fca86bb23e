/** Writes one planned image as an artifact: gets its base, builds its layout aside, puts the layout into one tar. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ociPlatform } from "../formats/oci-descriptor.ts";
import { parseOciReference } from "../formats/oci-reference.ts";
import type { ByteSink, PackageEntry } from "../formats/package.ts";
import type { ConnectRegistry } from "../io/registry-client.ts";
import { safeJoin } from "../io/safe-path.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { assertNotInterrupted } from "./build-binaries.ts";
import type { PlannedImageArchive, PlannedLayer } from "./image-artifacts.ts";
import { type ImageBase, openLayoutBase, pullBase } from "./image-base.ts";
import { buildImage, writeImageArchive } from "./image-build.ts";
import { systemEntries } from "./image-files.ts";
import { createImageLayout, type ImageLayout } from "./image-layout.ts";
import type { Recipe } from "./recipe.ts";

export type ImageContext = {
  readonly recipe: Recipe;
  /** The recipe's folder, absolute. */
  readonly folder: string;
  /** Where the layout may lie meanwhile. */
  readonly workFolder: string;
  /** The product's files for a platform, looked up on disk. */
  readonly entriesOf: (layer: PlannedLayer) => Promise<readonly PackageEntry[]>;
  readonly connectRegistry: ConnectRegistry;
  readonly signal?: AbortSignal;
};

/**
 * Writes the tar into `sink` and returns what the manifest says of the image. The layout is gone afterwards, also on failure. Throws
 * `source_missing`, `source_unusable`, `recipe_invalid`, and for a base in a registry what the registry client throws, with the recipe's line.
 */
export async function writeImage(planned: PlannedImageArchive, context: ImageContext, sink: ByteSink): Promise<NonNullable<ManifestArtifact["image"]>> {
  const { image: plan, layers } = planned;
  const layoutFolder = join(context.workFolder, `${planned.name}.layout`);
  try {
    const layout = await createImageLayout(layoutFolder);
    const base = await openBase(planned, context, layout);
    const built = await buildImage({
      plan,
      layout,
      ...(base === undefined ? {} : { base }),
      systemEntries: await systemEntries(plan, { folder: context.folder }),
      productEntries: async (target) => {
        assertNotInterrupted(context.signal);
        const layer = layers.find((candidate) => candidate.target === target);
        if (layer === undefined) throw new Error("bug: the image has a platform without a layer");
        return context.entriesOf(layer);
      },
    });
    await writeImageArchive(layout, built, { epochSeconds: plan.epochSeconds, sink });
    return { repository: plan.repository, tags: [...plan.tags], digest: built.descriptor.digest };
  } finally {
    await rm(layoutFolder, { recursive: true, force: true });
  }
}

/** A base from a registry is pulled into the layout itself: its layers belong there. Undefined on scratch. */
async function openBase(planned: PlannedImageArchive, context: ImageContext, layout: ImageLayout): Promise<ImageBase | undefined> {
  const { base, targets } = planned.image;
  try {
    switch (base.kind) {
      case "scratch":
        return undefined;
      case "layout":
        return await openLayoutBase(safeJoin(context.folder, base.path), base.tag);
      case "registry": {
        const reference = parseOciReference(base.reference);
        const client = await context.connectRegistry(reference.host);
        return await pullBase({ client, reference, platforms: targets.map(ociPlatform), layout });
      }
      default:
        return base satisfies never;
    }
  } catch (error) {
    assertNotInterrupted(context.signal);
    if (!(error instanceof SlipwayError)) throw error;
    const place = context.recipe.placeOf(["images", planned.index, "base"]);
    throw new SlipwayError(error.code, `the base: ${error.message}`, { place, hint: error.hint, cause: error });
  }
}
