/** Carries out the plan of an image: one layer, configuration and manifest for each platform, one index over them, in a layout; and the layout as a tar. */

import { writeOciArchive } from "../formats/oci-archive.ts";
import { type OciImageConfig, renderOciConfig } from "../formats/oci-config.ts";
import { type OciDescriptor, ociPlatform } from "../formats/oci-descriptor.ts";
import { type OciLayerEntry, writeOciLayer } from "../formats/oci-layer.ts";
import type { OciTaggedImage } from "../formats/oci-layout.ts";
import { blobPath, readTaggedImage } from "../formats/oci-layout.ts";
import { asOciLayer, renderOciIndex, renderOciManifest } from "../formats/oci-manifest.ts";
import type { ByteSink, ByteSource, PackageEntry } from "../formats/package.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { formatTarget, type Target } from "../model/target.ts";
import type { ImageBase } from "./image-base.ts";
import { layerEntries } from "./image-files.ts";
import type { ImageLayout } from "./image-layout.ts";
import { imageAnnotations, type PlannedImage } from "./image-plan.ts";

export type ImageBuild = {
  readonly plan: PlannedImage;
  /** The product's files for a target, as packages have them. */
  readonly productEntries: (target: Target) => Promise<readonly PackageEntry[]>;
  /** From `systemEntries`: the same for every platform. */
  readonly systemEntries: readonly OciLayerEntry[];
  /** Absent on scratch. */
  readonly base?: ImageBase;
  readonly layout: ImageLayout;
};

export type BuiltImage = {
  /** Of the image index: what every tag names. */
  readonly descriptor: OciDescriptor;
  /** The bytes of `index.json`. */
  readonly layoutIndex: Buffer;
};

/** Says in `docker history` where a layer came from. */
const createdBy = "slipway";

/**
 * Builds all platforms side by side; the same inputs give the same bytes whatever the number of cores. Throws what its parts throw, and
 * `recipe_invalid` where the entrypoint is not among the files of a scratch image. On failure the layout has no tag of this image.
 */
export async function buildImage(build: ImageBuild): Promise<BuiltImage> {
  const { plan, layout, base } = build;
  // All are awaited before the first failure is thrown: none may go on writing behind the caller's back.
  const outcomes = await Promise.allSettled(plan.targets.map((target) => buildPlatform(build, target)));
  const manifests = outcomes.map((outcome) => {
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  });
  const index = renderOciIndex({ manifests, annotations: imageAnnotations(plan, annotatedBase(base)) });
  await layout.putDocument(index);
  const layoutIndex = await layout.putTags(plan.tags.map((tag) => ({ tag, descriptor: index.descriptor })));
  return { descriptor: index.descriptor, layoutIndex };
}

function annotatedBase(base: ImageBase | undefined): { readonly name: string; readonly digest: Digest } | undefined {
  return base?.name === undefined ? undefined : { name: base.name, digest: base.digest };
}

async function buildPlatform(build: ImageBuild, target: Target): Promise<OciDescriptor> {
  const { plan, layout, base } = build;
  const entries = layerEntries(plan, { product: await build.productEntries(target), system: build.systemEntries });
  if (base === undefined) requireEntrypoint(plan, entries, target);
  const platform = ociPlatform(target);
  const baseImage = base?.imageFor(platform);
  const baseLayers = (baseImage?.manifest.layers ?? []).map(asOciLayer);
  for (const layer of baseLayers) if (base !== undefined) await layout.putVerified(layer, base.source.open(blobPath(layer.digest)));
  const layer = await layout.putStream((sink) =>
    writeOciLayer({ entries, parents: base === undefined ? "declare" : "leave", compression: plan.compression, epochSeconds: plan.epochSeconds }, sink),
  );
  const annotations = imageAnnotations(plan, annotatedBase(base));
  const config = renderOciConfig({
    platform,
    epochSeconds: plan.epochSeconds,
    runtime: { ...plan.runtime, labels: { ...annotations, ...plan.runtime.labels } },
    layers: [{ diffId: layer.diffId, createdBy }],
    ...(baseImage === undefined ? {} : { base: withoutBaseLabels(baseImage.config) }),
  });
  await layout.putDocument(config);
  const manifest = renderOciManifest({ config: config.descriptor, layers: [...baseLayers, layer.descriptor], annotations });
  await layout.putDocument(manifest);
  return { ...manifest.descriptor, platform };
}

/** Labels that say what the base is (its version, its title) would be lies about our image where we say nothing of the kind. */
function withoutBaseLabels(config: OciImageConfig): OciImageConfig {
  const labels = Object.entries(config.runtime.labels ?? {}).filter(([name]) => !name.startsWith("org.opencontainers.image."));
  return { ...config, runtime: { ...config.runtime, labels: Object.fromEntries(labels) } };
}

/** A scratch image whose program is somewhere else fails at its first start, on the customer's machine. */
function requireEntrypoint(plan: PlannedImage, entries: readonly OciLayerEntry[], target: Target): void {
  const [program] = [...(plan.runtime.entrypoint ?? []), ...(plan.runtime.cmd ?? [])];
  if (program === undefined || !program.startsWith("/")) return;
  const found = entries.find((entry) => entry.path === program);
  const isProgram = found !== undefined && (found.kind === "symlink" || (found.kind === "file" && (found.mode & 0o111) !== 0));
  if (!isProgram) {
    throw new SlipwayError(
      "recipe_invalid",
      `the image for ${formatTarget(target)} starts ${program}, which is ${found === undefined ? "not in it" : "no program"}`,
      {
        place: plan.place,
        hint: "correct entrypoint, or add the file to images.files",
      },
    );
  }
}

/** Every blob that a built image needs, its index, manifests and configurations included. */
export async function imageBlobs(
  layout: ImageLayout,
  built: BuiltImage,
): Promise<{ readonly image: OciTaggedImage; readonly blobs: ReadonlyMap<Digest, ByteSource> }> {
  const image = await readTaggedImage(layout.source, built.descriptor);
  const descriptors = [built.descriptor, ...image.images.flatMap(({ descriptor, manifest }) => [descriptor, manifest.config, ...manifest.layers])];
  return { image, blobs: new Map(descriptors.map((descriptor) => [descriptor.digest, layout.blob(descriptor)])) };
}

/** The artifact: the built image's layout as one tar. Returns nothing but the bytes in the sink. */
export async function writeImageArchive(
  layout: ImageLayout,
  built: BuiltImage,
  output: { readonly epochSeconds: number; readonly sink: ByteSink },
): Promise<void> {
  const { blobs } = await imageBlobs(layout, built);
  await writeOciArchive({ index: built.layoutIndex, blobs, epochSeconds: output.epochSeconds }, output.sink);
}
