/**
 * The image of a release out of the vendor's registry: the one that the source of the releases is, at `/v2/`, with the installation's own pair.
 *
 * Order: the documents of the image, from the signed digest down to the configuration, are read by the updater itself; a wrong byte, an unknown
 * pair or a silent registry ends here, with our own words. Then the engine pulls by that digest (only the layers that it lacks), and must have
 * the very image that the documents describe. No tag is asked for, so where one leads plays no part. The documents stay as a small archive in the staging
 * folder: everything after it works offline.
 */
import { join } from "node:path";
import { bytesSource } from "../formats/byte-source.ts";
import { writeOciArchive } from "../formats/oci-archive.ts";
import { isSamePlatform, type OciDescriptor, type OciPlatform, ociPlatform } from "../formats/oci-descriptor.ts";
import { platformManifests, renderLayoutIndex } from "../formats/oci-layout.ts";
import { isIndexType, ociManifestTypes, parseOciManifest } from "../formats/oci-manifest.ts";
import { repositoryOfArchive } from "../formats/oci-reference.ts";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readStreamBounded } from "../io/bounded-read.ts";
import { displayUrl } from "../io/download.ts";
import { isLoopback } from "../io/registry-auth.ts";
import { createRegistryClient, type RegistryClient } from "../io/registry-client.ts";
import { type Digest, isDigest } from "../model/digest.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { formatTarget } from "../model/target.ts";
import { parseVersion } from "../model/version.ts";
import type { ContainerEngine } from "./container-engine.ts";
import { type Installation, readCredentials } from "./installation.ts";
import type { Machine } from "./machine.ts";
import { withRegistryLogin } from "./registry-login.ts";
import type { StateDirectory } from "./state-directory.ts";

const documentLimitBytes = 4 * 1024 * 1024;
const tries = 3;

export type PullContext = {
  readonly installation: Installation;
  readonly machine: Machine;
  readonly directory: StateDirectory;
  readonly engine: ContainerEngine;
};

export type Pulling = {
  readonly artifact: ManifestArtifact;
  readonly version: string;
  /** Where the documents go. */
  readonly path: string;
  /** The image's name from then on; the registry's own name is taken away again. */
  readonly keptName: string;
};

/** `host/repository@digest` once the engine has the image; undefined where the archive has to be taken. Throws what the registry and the engine answer. */
export async function pullImage(context: PullContext, pulling: Pulling): Promise<string | undefined> {
  const { installation, machine, directory, engine } = context;
  const { artifact, version, keptName } = pulling;
  const digest = artifact.image?.digest;
  const url = new URL(installation.source.url);
  // What was carried here is the archive; and where a bundle over the archive's own bytes is what is trusted, only the archive has those.
  if (!isDigest(digest) || installation.container?.pull === "archive" || installation.bundle !== undefined || installation.trust.sigstore !== undefined)
    return undefined;
  if (!mayBeRegistry(url)) {
    if (installation.container?.pull !== "registry") return undefined;
    throw new SlipwayError("installation_invalid", `container: pull: registry: an engine cannot pull from ${displayUrl(url)}`, {
      place: installation.place,
      hint: "a registry is at the root of its host, by https or on loopback; container: { pull: archive } needs none",
    });
  }
  const credentials = await readCredentials(installation.source, installation, machine.env);
  const registry = createRegistryClient({
    origin: new URL(url.origin),
    fetch: machine.fetch,
    sleep: (ms) => machine.sleep(ms),
    tries,
    ...(credentials === undefined ? {} : { credentials: { username: credentials.keyId, secret: credentials.secret } }),
  });
  const repository = repositoryOfArchive(installation.product, parseVersion(version), artifact.name);
  if (!(await isThere(context, { registry, repository, digest }))) return undefined;
  const platform = ociPlatform(installation.target);
  const documents = await readDocuments(registry, { repository, digest, platform, wanted: formatTarget(installation.target) });
  const reference = `${hostOf(url)}/${repository}@${digest}`;
  const pull = (login: string | undefined): Promise<void> =>
    engine.pull({ reference, platform, login, isPlainHttp: url.protocol === "http:" && isLoopback(url) });
  const dockerFolder = join(machine.env["HOME"] ?? "/root", ".docker");
  if (credentials === undefined) await pull(undefined);
  else await withRegistryLogin(directory, { host: hostOf(url), credentials, dockerFolder }, pull);
  const id = await engine.idOf(reference);
  if (id === undefined || !documents.names.includes(id)) {
    await engine.drop(reference);
    throw new SlipwayError("upgrade_verification_failed", `${engine.name} pulled ${id ?? "nothing"}; signed was one of ${documents.names.join(", ")}`, {
      detail: "hash_mismatch",
    });
  }
  await engine.keep(reference, keptName);
  await engine.drop(reference);
  await writeDocuments(pulling.path, version, documents);
  machine.observe({ event: "step", step: "pull", text: `${engine.name} has ${reference}` });
  return reference;
}

const mayBeRegistry = (url: URL): boolean => url.pathname === "/" && (url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url)));

/** Docker takes a first part without a dot or a port for an account of its own registry. */
function hostOf({ host, hostname }: URL): string {
  return host.includes(".") || host.includes(":") || hostname === "localhost" ? host : `${host}:443`;
}

type Wanted = { readonly registry: RegistryClient; readonly repository: string; readonly digest: Digest };

/**
 * False where the source is no registry, or has not got the image, and the operator leaves the way to us. Who does not answer, or does not know the
 * pair, is not gone round: the same source has just sent the release's description.
 */
async function isThere({ installation, machine }: PullContext, { registry, repository, digest }: Wanted): Promise<boolean> {
  const place = `${registry.host}/${repository}@${digest}`;
  try {
    const found = await registry.findManifest(repository, digest, ociManifestTypes);
    if (found === digest) return true;
    if (found !== undefined) throw otherBytes(`${place}: the registry answers with ${found}`);
    throw new SlipwayError("not_found", `${place} is not there`, { hint: "container: { pull: archive } takes the image out of the release's archive" });
  } catch (error) {
    const failure = asSlipwayError(error);
    const mayAvoid = installation.container?.pull !== "registry" && ["not_found", "forbidden", "conflict", "gone"].includes(failure.code);
    if (!mayAvoid) throw failure;
    machine.observe({ event: "warning", text: `the image comes out of the release's archive: ${failure.message}` });
    return false;
  }
}

const otherBytes = (message: string): SlipwayError => new SlipwayError("upgrade_verification_failed", message, { detail: "hash_mismatch" });

type Documents = {
  readonly top: OciDescriptor;
  readonly blobs: ReadonlyMap<Digest, Buffer>;
  /** What the engine may call the image (image-archive.ts). */
  readonly names: readonly string[];
};

type Reading = { readonly repository: string; readonly digest: Digest; readonly platform: OciPlatform; readonly wanted: string };

/** Every document is asked for by its digest and hashed on arrival. */
async function readDocuments(registry: RegistryClient, { repository, digest, platform, wanted }: Reading): Promise<Documents> {
  const blobs = new Map<Digest, Buffer>();
  const read = async (one: Digest): Promise<{ readonly bytes: Buffer; readonly mediaType: string }> => {
    const document = await registry.getManifest(repository, one, ociManifestTypes);
    blobs.set(one, document.bytes);
    return document;
  };
  try {
    const { bytes, mediaType } = await read(digest);
    const top = { mediaType, digest, size: bytes.length };
    let manifest = parseOciManifest(bytes, mediaType);
    const names = [digest];
    if (manifest.kind === "index") {
      const child = platformManifests(manifest).find((one) => one.platform !== undefined && isSamePlatform(one.platform, platform));
      if (child === undefined || isIndexType(child.mediaType)) throw otherBytes(`${repository}@${digest} has no image for ${wanted}`);
      names.unshift(child.digest);
      manifest = parseOciManifest((await read(child.digest)).bytes, child.mediaType);
    }
    if (manifest.kind !== "manifest") throw otherBytes(`${repository}@${digest} leads to no image`);
    const { config } = manifest;
    await registry.pullBlob(repository, config, async (pieces) => {
      blobs.set(config.digest, await readStreamBounded(pieces, documentLimitBytes, config.digest));
    });
    return { top, blobs, names: [config.digest, ...names] };
  } catch (error) {
    const failure = asSlipwayError(error);
    if (failure.code !== "upload_invalid" && failure.code !== "format_invalid") throw failure;
    throw new SlipwayError("upgrade_verification_failed", failure.message, { detail: failure.detail ?? "hash_mismatch", cause: failure });
  }
}

async function writeDocuments(path: string, version: string, { top, blobs }: Documents): Promise<void> {
  const pieces: Buffer[] = [];
  const index = renderLayoutIndex([{ tag: version.replaceAll("+", "-"), descriptor: top }]);
  const sources = new Map([...blobs].map(([digest, bytes]) => [digest, bytesSource(bytes)]));
  await writeOciArchive({ index, blobs: sources, epochSeconds: 0 }, (piece) => void pieces.push(Buffer.from(piece)));
  await writeFileAtomic(path, Buffer.concat(pieces));
}
