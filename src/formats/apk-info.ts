/** Reads `.PKGINFO`: lines of `key = value`, comments with `#`; what apk would stop at is refused. */
import { SlipwayError } from "../model/errors.ts";
import { isApkVersion } from "./apk-version.ts";

export type ApkInfo = {
  readonly name: string;
  readonly version: string;
  /** In apk's words: `x86_64`, `noarch`. */
  readonly arch: string;
  readonly description: string;
  readonly url: string;
  readonly license: string;
  readonly origin?: string;
  readonly maintainer?: string;
  readonly commit?: string;
  /** Seconds since 1970. */
  readonly buildTime?: number;
  /** Bytes; apk installs nothing of a package of 0. */
  readonly installedBytes: number;
  readonly depends: readonly string[];
  readonly provides: readonly string[];
  readonly replaces: readonly string[];
  readonly installIf: readonly string[];
  readonly triggers: readonly string[];
  readonly providerPriority?: number;
  /** SHA-256 of the data member as compressed, in hex. */
  readonly dataSha256: string;
};

const listKeys = new Set(["depend", "provides", "replaces", "install_if", "triggers"]);
/** apk 2 prints all single fields of a package into 2,048 bytes for its database, and fails the installation where they do not fit. */
const headerLimit = 1_900;

/** Throws `format_invalid`. `text` is the whole member, already bounded. */
export function parseApkInfo(text: string): ApkInfo {
  const { single, lists } = parseLines(text);
  const value = (key: string): string => single.get(key) ?? "";
  const required = (key: string, pattern: RegExp): string => {
    const found = value(key);
    if (!pattern.test(found)) throw damaged(`the ${key} ${JSON.stringify(found.slice(0, 100))}, which is not allowed`);
    return found;
  };
  const count = (key: string): number => Number(required(key, /^\d{1,15}$/));
  const version = value("pkgver");
  if (!isApkVersion(version)) throw damaged(`the pkgver ${JSON.stringify(version.slice(0, 100))}, which apk cannot compare`);
  const optional = <Key extends string>(key: string, name: Key): { readonly [name in Key]?: string } =>
    (value(key) === "" ? {} : { [name]: value(key) }) as { readonly [name in Key]?: string };
  const size = [...single.values()].reduce((sum, one) => sum + Buffer.byteLength(one), 0);
  if (size > headerLimit) throw new SlipwayError("format_limit", `the apk's .PKGINFO has fields of ${size} bytes; apk holds ${headerLimit}`);
  const list = (key: string): readonly string[] => lists.get(key) ?? [];
  return {
    name: required("pkgname", /^[a-zA-Z0-9][a-zA-Z0-9+._-]{0,127}$/),
    version,
    arch: required("arch", /^[a-z0-9][a-z0-9_]{0,31}$/),
    description: value("pkgdesc"),
    url: value("url"),
    license: value("license"),
    ...optional("origin", "origin"),
    ...optional("maintainer", "maintainer"),
    ...optional("commit", "commit"),
    ...(single.has("builddate") ? { buildTime: count("builddate") } : {}),
    installedBytes: count("size"),
    depends: list("depend").map(checkRelation),
    provides: list("provides").map(checkRelation),
    replaces: list("replaces").map(checkRelation),
    installIf: list("install_if").map(checkRelation),
    triggers: list("triggers"),
    ...(single.has("provider_priority") ? { providerPriority: count("provider_priority") } : {}),
    dataSha256: required("datahash", /^[0-9a-f]{64}$/),
  };
}

function parseLines(text: string): { readonly single: ReadonlyMap<string, string>; readonly lists: ReadonlyMap<string, readonly string[]> } {
  const single = new Map<string, string>();
  const lists = new Map<string, string[]>();
  for (const line of text.replace(/\n$/, "").split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const [, key, value] = /^([a-z][a-z0-9_]*) = ([^\p{Cc}\ufffd]*)$/u.exec(line) ?? [];
    if (key === undefined || value === undefined) throw damaged(`a bad line: ${JSON.stringify(line.slice(0, 100))}`);
    if (listKeys.has(key)) lists.set(key, [...(lists.get(key) ?? []), ...value.split(/ +/).filter((word) => word !== "")]);
    else if (single.has(key)) throw damaged(`${key} twice`);
    else single.set(key, value);
  }
  return { single, lists };
}

/** One bad version in one dependency makes apk refuse the whole package or index. */
function checkRelation(text: string): string {
  const [, name, version] = /^!?([^\s<>=~!@]+)(?:[<>=~]{1,2}([^\s<>=~@]+))?$/.exec(text) ?? [];
  if (name === undefined || (version !== undefined && !isApkVersion(version))) {
    throw damaged(`the relation ${JSON.stringify(text.slice(0, 100))}, which apk cannot read`);
  }
  return text;
}

function damaged(what: string): SlipwayError {
  return new SlipwayError("format_invalid", `the apk's .PKGINFO has ${what}`);
}
