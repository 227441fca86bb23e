/** The images of a recipe as artifacts of a plan: one tar per image, with what goes into the layer of each platform. */
import { formatOciReference, parseOciReference } from "../formats/oci-reference.ts";
import type { Target } from "../model/target.ts";
import type { Version } from "../model/version.ts";
import { type FileRule, imageRules, sourceName } from "./file-rules.ts";
import { type PlannedImage, planImage } from "./image-plan.ts";
import type { ImageBaseReference } from "./image-schema.ts";
import type { Recipe } from "./recipe.ts";
import { RecipeError } from "./recipe-error.ts";
import { spellPath } from "./recipe-problems.ts";
import type { TemplateValues } from "./templates.ts";

export type PlannedImageArchive = {
  readonly kind: "image";
  readonly name: string;
  /** The base and the sources of all platforms, as a person would name them. */
  readonly inputs: readonly string[];
  /** Of the image in the recipe. */
  readonly index: number;
  readonly image: PlannedImage;
  readonly layers: readonly PlannedLayer[];
};

/** What goes on top of the base on one platform. */
export type PlannedLayer = { readonly target: Target; readonly rules: readonly FileRule[] };

export type ImagesRequest = {
  readonly recipe: Recipe;
  readonly version: Version;
  readonly epochSeconds: number;
  readonly commit?: string;
  /** Those that are built. */
  readonly targets: readonly Target[];
  readonly valuesFor: (target: Target) => TemplateValues & { readonly target: Target };
};

/**
 * An image none of whose platforms is built is left out. Throws RecipeError (`recipe_invalid`) for what `planImage` refuses, for an owner that
 * the image does not have, and for two images that would be one in a registry.
 */
export function planImages(request: ImagesRequest): readonly PlannedImageArchive[] {
  const planned = request.recipe.images.keys().map((index) => planOne(request, index));
  const wanted = [...planned].filter(({ image }) => image.targets.length > 0);
  refuseSameReferences(wanted, request.recipe);
  return wanted;
}

function planOne({ recipe, valuesFor, ...request }: ImagesRequest, index: number): PlannedImageArchive {
  const entry = recipe.images[index];
  if (entry === undefined) throw new Error(`bug: the recipe has no image ${index}`);
  const { name, summary, license, homepage, vendor, build } = recipe;
  const image = planImage({
    ...request,
    image: entry,
    product: {
      name,
      summary,
      license,
      binaries: build.binaries,
      ...(homepage === undefined ? {} : { homepage }),
      ...(vendor === undefined ? {} : { vendor }),
    },
    recipeTargets: recipe.targets,
    placeOf: (path) => recipe.placeOf(["images", index, ...path]),
  });
  const layers = image.targets.map((target) => ({ target, rules: imageRules(recipe, index, valuesFor(target)) }));
  const rules = layers.flatMap((layer) => layer.rules);
  refuseStrangers(rules, image, spellPath(["images", index, "files"]));
  const inputs = [...baseInputs(image.base), ...new Set(rules.map(sourceName))];
  return { kind: "image", name: image.archiveName, inputs, index, image, layers };
}

function baseInputs(base: ImageBaseReference): readonly string[] {
  switch (base.kind) {
    case "scratch":
      return [];
    case "layout":
      return [base.path];
    case "registry": {
      const { host, repository, tag } = parseOciReference(base.reference);
      return [formatOciReference({ host, repository, ...(tag === undefined ? {} : { tag }) })];
    }
    default:
      return base satisfies never;
  }
}

/** Layers carry numbers for owners, and only the image's own users have known ones. */
function refuseStrangers(rules: readonly FileRule[], image: PlannedImage, subject: string): void {
  const known = new Set(["root", ...image.accounts.map((account) => account.name)]);
  for (const { owner, group, destination, place } of rules) {
    const stranger = [owner, group].find((name) => !known.has(name));
    if (stranger !== undefined)
      throw new RecipeError([{ place, message: `${subject}: ${destination} belongs to ${stranger}, which is not among the image's users` }]);
  }
}

function refuseSameReferences(planned: readonly PlannedImageArchive[], recipe: Recipe): void {
  const owners = new Map<string, number>();
  for (const { image, index } of planned) {
    for (const tag of image.tags) {
      const reference = `${image.repository}:${tag}`;
      const other = owners.get(reference);
      if (other !== undefined)
        throw new RecipeError([{ place: recipe.placeOf(["images", index]), message: `images[${other}] and images[${index}] are both ${reference}` }]);
      owners.set(reference, index);
    }
  }
}
