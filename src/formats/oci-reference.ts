/** Image names as operators write them: `registry.example:5000/team/app:1.2@sha256:…`, with no short forms that mean somebody's default registry. */
import { type Digest, isDigest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { fileVersion, type Version } from "../model/version.ts";

/** OCI distribution-spec 1.1, "Pulling manifests": the grammar of `<name>`. */
const repositoryPattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const hostPattern = /^(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|\[[0-9a-fA-F:]+\]|[A-Za-z0-9-]+(?=:))(?::\d{1,5})?$/;
/** Many clients cap host and repository together at 255. */
const nameLimit = 255;

export type OciReference = {
  /** Host with port where one is given. */
  readonly host: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
};

/** Throws `name_invalid` for what the distribution specification does not allow. */
export function parseRepository(text: string): string {
  if (text.length > nameLimit || !repositoryPattern.test(text)) {
    throw new SlipwayError("name_invalid", `"${text.slice(0, 80)}" is not an image name`, {
      hint: "use lower-case letters and digits, with . _ - between them and / between parts",
    });
  }
  return text;
}

/**
 * The repository on a Slipway server of an image that a release carries as an archive: `<product>` for the archive that is named as the product,
 * `<product>/<name>` for others. `coequal-1.4.0-oci.tar` is `coequal`. Throws `name_invalid`.
 */
export function repositoryOfArchive(product: string, version: Version, file: string): string {
  const [stem = ""] = file.split(`-${fileVersion(version)}`);
  const name = stem.replace(/(?:[-.]oci)?\.tar$/, "").toLowerCase();
  return parseRepository(name === product ? product : `${product}/${name}`);
}

/** Throws `name_invalid` for what the distribution specification does not allow. */
export function parseTag(text: string): string {
  if (!tagPattern.test(text)) {
    throw new SlipwayError("name_invalid", `"${text.slice(0, 140)}" is not an image tag`, {
      hint: "use letters, digits, . _ and -, at most 128; + is not allowed",
    });
  }
  return text;
}

/** Reads `host[:port]/repository[:tag][@sha256:…]`; throws `name_invalid`. Without tag and digest the tag is `latest`, as everywhere. */
export function parseOciReference(text: string): OciReference {
  const refuse = (why: string): never => {
    throw new SlipwayError("name_invalid", `"${text.slice(0, 300)}" is not an image reference: ${why}`, {
      hint: "write host/repository:tag or host/repository@sha256:…, with the registry's host",
    });
  };
  const slash = text.indexOf("/");
  const host = text.slice(0, Math.max(0, slash));
  if (slash < 1 || !hostPattern.test(host)) return refuse("it must begin with the registry's host");
  const [path = "", digest, ...more] = text.slice(slash + 1).split("@");
  if (more.length > 0) return refuse("it has more than one @");
  if (digest !== undefined && !isDigest(digest)) return refuse("after @ stands a sha256 digest");
  const colon = path.lastIndexOf(":");
  const repository = parseRepository(colon === -1 ? path : path.slice(0, colon));
  const tag = colon === -1 ? undefined : parseTag(path.slice(colon + 1));
  if (digest !== undefined) return { host, repository, digest, ...(tag === undefined ? {} : { tag }) };
  return { host, repository, tag: tag ?? "latest" };
}

/** Where images are pushed: a registry, and the part that their names have in common there. */
export type OciDestination = { readonly host: string; readonly namespace?: string };

/** Reads `host[:port][/namespace]`; throws `name_invalid`. */
export function parseOciDestination(text: string): OciDestination {
  const slash = text.indexOf("/");
  const host = slash === -1 ? text : text.slice(0, slash);
  if (!hostPattern.test(host))
    throw new SlipwayError("name_invalid", `"${text.slice(0, 300)}" does not begin with a registry's host`, {
      hint: "write host or host/namespace, without https:// and without a tag",
    });
  return slash === -1 ? { host } : { host, namespace: parseRepository(text.slice(slash + 1)) };
}

/** The repository of an image at a destination; throws `name_invalid` where the two are too long together. */
export function repositoryAt(destination: OciDestination, repository: string): string {
  return parseRepository(destination.namespace === undefined ? repository : `${destination.namespace}/${repository}`);
}

export function formatOciReference(reference: OciReference): string {
  const { host, repository, tag, digest } = reference;
  return `${host}/${repository}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}
