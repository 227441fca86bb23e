/** Package URLs (purl, ECMA-427): the name under which every scanner and every advisory knows a component. */
import { PackageURL } from "packageurl-js";
import { SlipwayError } from "../model/errors.ts";

export type Ecosystem = "cargo" | "composer" | "gem" | "generic" | "golang" | "npm" | "oci" | "pypi";

export type PackageUrlParts = {
  readonly ecosystem: Ecosystem;
  /** As the ecosystem writes it, namespace included: `@scope/name`, `github.com/owner/module`, `vendor/package`. */
  readonly name: string;
  readonly version?: string;
  readonly qualifiers?: Readonly<Record<string, string>>;
};

/** Ecosystems whose names hold a namespace before the last slash. */
const namespaced: ReadonlySet<Ecosystem> = new Set(["composer", "golang", "npm"]);

/** Throws `format_invalid` for a name that cannot stand in a package URL. */
export function packageUrl({ ecosystem, name, version, qualifiers }: PackageUrlParts): string {
  const slash = namespaced.has(ecosystem) ? name.lastIndexOf("/") : -1;
  try {
    return new PackageURL(
      ecosystem,
      slash < 0 ? undefined : name.slice(0, slash),
      name.slice(slash + 1),
      version,
      qualifiers === undefined ? undefined : { ...qualifiers },
      undefined,
    ).toString();
  } catch (error) {
    throw new SlipwayError("format_invalid", `${JSON.stringify(name.slice(0, 200))} cannot be the name of a ${ecosystem} package`, { cause: error });
  }
}

/**
 * `git+https://host/path@commit` for the qualifier `vcs_url`, from a URL or git's short form `git@host:path`.
 * Credentials, which some lock files hold, are left out. Undefined for what names no host.
 */
export function vcsUrl(text: string, commit?: string): string | undefined {
  let url: URL;
  try {
    url = new URL(text.replace(/^git\+/, "").replace(/^(?:[\w.-]+@)?([\w.-]+\.[\w-]+):(?!\/\/|\d+\/)/, "ssh://$1/"));
  } catch {
    return undefined; // a folder, for which there is no URL to give
  }
  if (!["https:", "http:", "ssh:", "git:"].includes(url.protocol)) return undefined;
  url.username = "";
  url.password = "";
  url.search = "";
  url.hash = "";
  return `git+${url.href}${commit === undefined ? "" : `@${commit}`}`;
}
