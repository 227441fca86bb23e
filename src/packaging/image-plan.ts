/** The plan of one image: its names, platforms and settings, from the recipe and a version alone, before anything is built. Pure. */
import { type OciRelease, releaseAnnotations } from "../formats/oci-annotations.ts";
import type { OciRuntime } from "../formats/oci-config.ts";
import type { OciAnnotations } from "../formats/oci-descriptor.ts";
import type { OciLayerCompression } from "../formats/oci-layer.ts";
import { parseRepository, parseTag } from "../formats/oci-reference.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseFileName } from "../model/names.ts";
import { formatTarget, type Target } from "../model/target.ts";
import { fileVersion, isStable, ociTag, type Version } from "../model/version.ts";
import { defaultBinaryFolder } from "./file-rules.ts";
import type { ImageBaseReference, ImageRecipe } from "./image-schema.ts";
import { RecipeError } from "./recipe-error.ts";
import type { RecipePath } from "./recipe-problems.ts";
import { expandTemplate, parseTemplate, usesPlaceholder } from "./templates.ts";

export type ImageAccount = { readonly name: string; readonly uid: number; readonly gid: number; readonly home: string; readonly shell: string };

/** Files that every system has and scratch has not; each only where it was asked for. `system` is the build machine's. */
export type ImageSystemFiles = {
  readonly caBundle?: { readonly kind: "system" } | { readonly kind: "recipe"; readonly path: string };
  readonly timeZones?: { readonly kind: "system" } | { readonly kind: "recipe"; readonly path: string };
  readonly hasNsswitch: boolean;
};

export type PlannedImage = {
  /** Name of the repository in a registry. */
  readonly repository: string;
  readonly tags: readonly string[];
  /** The artifact: the layout in one tar. */
  readonly archiveName: string;
  readonly targets: readonly Target[];
  readonly base: ImageBaseReference;
  readonly runtime: OciRuntime;
  /** Standard ones of the release, without the base, which is known only when it has been read. */
  readonly release: OciRelease;
  readonly annotations: OciAnnotations;
  readonly accounts: readonly ImageAccount[];
  readonly systemFiles: ImageSystemFiles;
  readonly compression: OciLayerCompression;
  readonly epochSeconds: number;
  /** `slipway.yaml:40:5` of the image, for messages of the build. */
  readonly place: string;
};

export type ImageRequest = {
  readonly image: ImageRecipe;
  readonly product: {
    readonly name: string;
    readonly summary: string;
    readonly license: string;
    readonly binaries: readonly string[];
    readonly homepage?: string;
    readonly vendor?: string;
    /** Address of the source repository. */
    readonly source?: string;
  };
  readonly version: Version;
  readonly commit?: string;
  readonly epochSeconds: number;
  /** The recipe's. */
  readonly recipeTargets: readonly Target[];
  /** Those of them that are built this time. */
  readonly targets: readonly Target[];
  /** `slipway.yaml:40:5` of what stands at a path below the image; of the image itself for the empty path. */
  readonly placeOf: (path: RecipePath) => string;
};

type Refuse = (message: string, path: RecipePath) => never;

/**
 * The image's `targets` are those of the targets being built that it wants, perhaps none. Throws RecipeError (`recipe_invalid`) for what cannot
 * work on the chosen base, impossible names, and targets that the recipe does not have.
 */
export function planImage(request: ImageRequest): PlannedImage {
  const { image, product, version, epochSeconds, placeOf } = request;
  const refuse: Refuse = (message, path) => {
    throw new RecipeError([{ place: placeOf(path), message: `images: ${message}` }]);
  };
  const isScratch = image.base.kind === "scratch";
  if (!isScratch && Object.keys(image.users).length > 0) refuse("users would replace the base's own; name a user of the base, or numbers, in user", ["users"]);
  if (!isScratch && image.nsswitch) refuse("nsswitch would replace the base's own", ["nsswitch"]);
  const entrypoint = image.entrypoint ?? defaultEntrypoint(request);
  if (isScratch && entrypoint === undefined && (image.cmd ?? []).length === 0) refuse("needs an entrypoint: there is more than one binary", []);
  if (isScratch && entrypoint !== undefined && !(entrypoint[0] ?? "").startsWith("/"))
    refuse(`the entrypoint ${entrypoint[0]} must be an absolute path`, ["entrypoint"]);
  const accounts = accountsOf(image);
  const user = image.user === undefined ? undefined : isScratch ? numericUser(image.user, accounts, refuse) : image.user;
  const release: OciRelease = {
    title: product.name,
    description: product.summary,
    version,
    licenses: product.license,
    epochSeconds,
    ...optional("revision", request.commit),
    ...optional("source", product.source),
    ...optional("url", product.homepage),
    ...optional("vendor", product.vendor),
  };
  const repository = image.name ?? named(() => parseRepository(product.name), placeOf([]));
  return {
    repository,
    tags: tagsOf(request, refuse),
    archiveName: named(() => parseFileName(archiveNameOf(request, repository)), placeOf(["archive"])),
    targets: targetsOf(request, refuse),
    base: image.base,
    release,
    annotations: image.annotations,
    accounts,
    systemFiles: {
      ...optional("caBundle", fromMachine(image.caBundle)),
      ...optional("timeZones", fromMachine(image.timeZones)),
      hasNsswitch: image.nsswitch,
    },
    runtime: {
      ...optional("user", user),
      ...optional("entrypoint", entrypoint),
      ...optional("cmd", image.cmd),
      ...optional("workingDir", image.workingDir),
      ...optional("stopSignal", image.stopSignal),
      env: image.env,
      ports: image.ports,
      volumes: image.volumes,
      labels: image.labels,
    },
    compression: image.compression,
    epochSeconds,
    place: placeOf([]),
  };
}

/** All annotations of the image's manifests and index; the recipe's own win. */
export function imageAnnotations(plan: PlannedImage, base?: OciRelease["base"]): OciAnnotations {
  return { ...releaseAnnotations({ ...plan.release, ...(base === undefined ? {} : { base }) }), ...plan.annotations };
}

function optional<Key extends string, Value>(key: Key, value: Value | undefined): { readonly [name in Key]?: Value } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [name in Key]: Value });
}

function fromMachine(text: string | undefined): ImageSystemFiles["caBundle"] {
  if (text === undefined) return undefined;
  return text === "system" ? { kind: "system" } : { kind: "recipe", path: text };
}

function defaultEntrypoint({ image, product }: ImageRequest): readonly string[] | undefined {
  const [binary, ...others] = product.binaries;
  return image.base.kind === "scratch" && binary !== undefined && others.length === 0 && image.cmd === undefined
    ? [`${defaultBinaryFolder}/${binary}`]
    : undefined;
}

/** A tag without the version, as `latest`, goes from release to release; no preview gets it, as none is on the channel stable (K1). */
function tagsOf({ image, product, version, placeOf }: ImageRequest, refuse: Refuse): readonly string[] {
  const values = { name: product.name, version: ociTag(version), tag: `v${ociTag(version)}` };
  const tags = image.tags.flatMap((template, index) => {
    const isOfVersion = usesPlaceholder(template, "version") || usesPlaceholder(template, "tag");
    return isOfVersion || isStable(version) ? [named(() => parseTag(expandTemplate(template, values)), placeOf(["tags", index]))] : [];
  });
  const twice = tags.find((tag, index) => tags.indexOf(tag) !== index);
  if (twice !== undefined) refuse(`the tag ${twice} stands there twice`, ["tags"]);
  return tags.length === 0 ? refuse(`no tag is left for the preview ${version}: add "{version}"`, ["tags"]) : tags;
}

const defaultArchive = parseTemplate("{name}-{version}-oci.tar", ["name", "version"]);

/** A repository of several parts gives its last one to the file. */
function archiveNameOf({ image, version }: ImageRequest, repository: string): string {
  const name = repository.split("/").at(-1) ?? repository;
  return expandTemplate(image.archive ?? defaultArchive, { name, version: fileVersion(version), tag: `v${fileVersion(version)}` });
}

function targetsOf({ image, recipeTargets, targets }: ImageRequest, refuse: Refuse): readonly Target[] {
  const isSame = (one: Target) => (other: Target) => formatTarget(one) === formatTarget(other);
  if (!recipeTargets.some((target) => target.os === "linux")) refuse("an image needs a linux target", []);
  for (const [index, target] of (image.targets ?? []).entries()) {
    if (target.os !== "linux") refuse(`${formatTarget(target)} is not linux`, ["targets", index]);
    if (!recipeTargets.some(isSame(target))) refuse(`${formatTarget(target)} is not among the targets of the recipe`, ["targets", index]);
  }
  return targets.filter((target) => target.os === "linux" && (image.targets === undefined || image.targets.some(isSame(target))));
}

function accountsOf(image: ImageRecipe): readonly ImageAccount[] {
  return Object.entries(image.users).map(([name, { uid, gid, home, shell }]) => ({ name, uid, gid: gid ?? uid, home, shell }));
}

/** Numbers on scratch: an orchestrator can only prove that a number is not root, and a name needs a passwd that may not be there. */
function numericUser(user: string, accounts: readonly ImageAccount[], refuse: Refuse): string {
  const [who = "", group] = user.split(":");
  const find = (name: string): ImageAccount =>
    accounts.find((account) => account.name === name) ??
    (name === "root" ? { name, uid: 0, gid: 0, home: "/root", shell: "/sbin/nologin" } : refuse(`the user ${name} is not among users`, ["user"]));
  const uid = /^\d+$/.test(who) ? Number(who) : find(who).uid;
  const gid = group === undefined ? (accounts.find((account) => account.uid === uid)?.gid ?? uid) : /^\d+$/.test(group) ? Number(group) : find(group).gid;
  return `${uid}:${gid}`;
}

/** A name that the recipe implies and a format refuses, with the recipe's line. */
function named<Value>(make: () => Value, place: string): Value {
  try {
    return make();
  } catch (error) {
    if (error instanceof SlipwayError) throw new RecipeError([{ place, message: error.message }]);
    throw error;
  }
}
