/** `slipway image push`: pushes the images of a built release to a registry, with every tag that the recipe gave them. */
import { join, resolve } from "node:path";
import { formatOciReference, type OciDestination, parseOciDestination, repositoryAt } from "../formats/oci-reference.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import type { RegistryCredentials } from "../io/registry-auth.ts";
import { connectRegistry } from "../io/registry-login.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseVersion } from "../model/version.ts";
import { type ImagePublication, type PublishedImage, publishImage } from "../packaging/image-publish.ts";
import { findBuiltFolder, readBuiltRelease, readRecipeIfPresent } from "./built-release.ts";
import { type CommandRun, type Invocation, textOption } from "./command.ts";

const passwordVariable = "SLIPWAY_REGISTRY_PASSWORD";
const passwordLimitBytes = 64 * 1024;

export const runPush: CommandRun = async (invocation) => {
  const { options, output, env, signal } = invocation;
  const recipe = await readRecipeIfPresent(invocation);
  const folder = await findBuiltFolder(invocation);
  const { manifest } = await readBuiltRelease(folder, textOption(options, "sums") ?? recipe?.checksums ?? "SHA256SUMS");
  const version = parseVersion(manifest.version);
  const images = manifest.artifacts.flatMap(({ name, image }) => (image === undefined ? [] : [{ name, image }]));
  if (images.length === 0)
    throw new SlipwayError("source_missing", `${manifest.product} ${version} has no images`, {
      place: folder,
      hint: "add images to the recipe and build again",
    });
  const destination = destinationOf(textOption(options, "to"), recipe?.name === manifest.product ? recipe.publish.oci : undefined);
  const credentials = await readCredentials(invocation);
  const client = await connectRegistry(destination.host, { env, signal, ...(credentials === undefined ? {} : { credentials }) });
  const pushed: unknown[] = [];
  for (const { name, image } of images) {
    signal.throwIfAborted();
    const repository = repositoryAt(destination, image.repository);
    const reference = formatOciReference({ host: destination.host, repository });
    const published = await pushOne(invocation, { reference, request: { client, repository, path: join(folder, name), image, version } });
    for (const tag of published.tags) output.line(`${reference}:${tag}  ${published.digest}${published.movedTags.includes(tag) ? "  (moved)" : ""}`);
    for (const tag of published.keptTags) output.note(`${reference}:${tag} stays as it is: it names a newer release`);
    pushed.push({ name, reference, ...published });
  }
  output.result({ product: manifest.product, version, images: pushed });
  return 0;
};

type Pushing = { readonly reference: string; readonly request: ImagePublication };

async function pushOne({ output }: Invocation, { reference, request }: Pushing): Promise<PublishedImage> {
  let progress: ReturnType<typeof output.progress> | undefined;
  let done = 0;
  try {
    return await publishImage({
      ...request,
      onStart: (totalBytes) => {
        progress = output.progress(`pushing ${reference}`, totalBytes);
      },
      onBlob: ({ digest, size, outcome }) => {
        done += size;
        progress?.update(done, digest);
        output.event({ event: "blob", reference, digest, size, outcome });
      },
    });
  } finally {
    progress?.end();
  }
}

function destinationOf(given: string | undefined, fromRecipe: OciDestination | undefined): OciDestination {
  const destination = given === undefined ? fromRecipe : parseOciDestination(given);
  if (destination !== undefined) return destination;
  throw new SlipwayError("usage", "which registry?", { hint: "name it with --to HOST or --to HOST/NAMESPACE, or in the recipe under publish.oci" });
}

/** Flags and variables; undefined where neither is given, and the machine's own logins are looked at. */
async function readCredentials({ options, env, cwd }: Invocation): Promise<RegistryCredentials | undefined> {
  const username = textOption(options, "username");
  const file = textOption(options, "passwordFile");
  const [line = ""] =
    file === undefined ? [env[passwordVariable]] : (await readFileBounded(resolve(cwd, file), passwordLimitBytes)).toString("utf8").split(/\r?\n/);
  if (username === undefined && line === "") return undefined;
  if (username === undefined || line === "") {
    throw new SlipwayError("usage", `a registry login is a user and a password; there is only ${line === "" ? "a user" : "a password"}`, {
      hint: `give --username, and the password in ${passwordVariable} or in --password-file`,
    });
  }
  return { username, secret: line };
}
