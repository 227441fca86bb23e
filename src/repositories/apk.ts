/**
 * An APK repository: published apks become `<arch>/APKINDEX.tar.gz`, with the packages beside it as `<arch>/<name>-<version>.apk`.
 *
 * Parties and order: apk fetches the index of its own architecture, checks its signature with a key of /etc/apk/keys, then asks for packages
 * by a path that it makes itself from name and version (the index has no file names), and takes them under the identity that the index
 * gives: the SHA-1 of the control member, which names the SHA-256 of the data. So one signature covers every byte.
 *
 * Sources: apk-v2(5), apk-repositories(5), apk-tools package.c `apk_pkg_write_index_header`, measured with 2.14.10 and 3.0.6. apk trusts an
 * index by any one signature, so for a change of keys it is signed with the old one and the new one for a while.
 */
import { z } from "zod";
import { writeApkIndex } from "../formats/apk-index.ts";
import type { ApkPackage } from "../formats/apk-read.ts";
import type { ApkSignature } from "../formats/apk-segment.ts";
import { SlipwayError } from "../model/errors.ts";
import { type FileOfBytes, fileOfBytes } from "./repository-file.ts";

/** What one apk adds to the channel: `arch` in apk's words (`x86_64`, `noarch`), `stanza` from apkStanza. */
export type ApkEntry = { readonly arch: string; readonly stanza: string };

export const apkStateSchema = z.strictObject({
  schema: z.literal(1),
  /** By apk's architecture word, in the order of adding. `noarch` is the seed of an architecture that joins later. */
  indexes: z.record(z.string().regex(/^[a-z0-9][a-z0-9_]*$/), z.array(z.string())),
});
/** One channel's indexes between two publications: unlike APT's and YUM's, the texts themselves, because each index is written as a whole. */
export type ApkState = { readonly schema: 1; readonly indexes: Readonly<Record<string, readonly string[]>> };

const anyArchitecture = "noarch";

/** A channel before its first apk. The architectures named are served at once, empty: `apk update` then works before the first release. */
export function emptyApk(architectures: readonly string[] = []): ApkState {
  return { schema: 1, indexes: Object.fromEntries(architectures.map((arch) => [arch, []])) };
}

/**
 * The channel after a release came or went. Removals take the very text that was added and come first; throws `internal` for one that is
 * not there, and `conflict` for two packages that apk would ask for by the same path.
 */
export function updateApk(before: ApkState, change: { readonly add: readonly ApkEntry[]; readonly remove?: readonly ApkEntry[] }): ApkState {
  const remove = change.remove ?? [];
  const known = new Set([...Object.keys(before.indexes), ...[...change.add, ...remove].map(({ arch }) => arch)]);
  const indexes: Record<string, readonly string[]> = {};
  for (const arch of [...known].sort()) {
    const mine = (entries: readonly ApkEntry[]): readonly string[] =>
      entries.filter((entry) => entry.arch === arch || entry.arch === anyArchitecture).map(({ stanza }) => stanzaFor(arch, stanza));
    const stanzas = [...(before.indexes[arch] ?? (before.indexes[anyArchitecture] ?? []).map((stanza) => stanzaFor(arch, stanza)))];
    for (const stanza of mine(remove)) {
      const place = stanzas.indexOf(stanza);
      if (place === -1) throw new SlipwayError("internal", `the apk index of ${arch} does not hold a package that is to leave it`);
      stanzas.splice(place, 1);
    }
    indexes[arch] = [...stanzas, ...mine(change.add)];
    if (change.add.length > 0) requireDistinctNames(arch, indexes[arch] ?? []);
  }
  return { schema: 1, indexes };
}

function requireDistinctNames(arch: string, stanzas: readonly string[]): void {
  const names = new Set<string>();
  for (const stanza of stanzas) {
    const [, name, version] = /(?:^|\n)P:(.*)\nV:(.*)\n/.exec(stanza) ?? [];
    if (names.has(`${name}-${version}`)) throw new SlipwayError("conflict", `the apk index of ${arch} would hold two packages ${name}-${version}`);
    names.add(`${name}-${version}`);
  }
}

/** apk makes the folder of a package from `A:`, so one of no architecture says in each index that it is of that one (abuild's `--rewrite-arch`). */
function stanzaFor(arch: string, stanza: string): string {
  return stanza.replace(`\nA:${anyArchitecture}\n`, `\nA:${arch}\n`);
}

/** Where a package lies, relative to the channel's root. One of no architecture is asked for in every architecture's folder. */
export function apkPath(apk: Pick<ApkPackage, "info">, arch: string): string {
  return `${arch}/${apk.info.name}-${apk.info.version}.apk`;
}

/** Where the package lies that apk asks for by this path, relative to the channel's root: there, or with those of no architecture. */
export function apkStoredPaths(path: string): readonly string[] {
  const [arch, file, ...rest] = path.split("/");
  return arch === anyArchitecture || file === undefined || rest.length > 0 ? [path] : [path, `${anyArchitecture}/${file}`];
}

/** The index entry of one apk, made once at upload. Throws `format_invalid` for a field that would break out of its entry. */
export function apkStanza(apk: Pick<ApkPackage, "info" | "identity" | "sizes">): ApkEntry {
  const { info, identity, sizes } = apk;
  const number = (value: number | undefined): string | undefined => (value === undefined || value === 0 ? undefined : String(value));
  const list = (values: readonly string[]): string | undefined => (values.length === 0 ? undefined : values.join(" "));
  // In the order in which apk itself writes them. T, U and L are always there: apk 2 takes them for granted.
  const fields: readonly (readonly [string, string | undefined])[] = [
    ["C", identity],
    ["P", info.name],
    ["V", info.version],
    ["A", info.arch],
    ["S", String(sizes.packageBytes)],
    ["I", String(sizes.installedBytes)],
    ["T", info.description],
    ["U", info.url],
    ["L", info.license],
    ["o", info.origin],
    ["m", info.maintainer],
    ["t", number(info.buildTime)],
    ["c", info.commit],
    ["k", number(info.providerPriority)],
    ["D", list(info.depends)],
    ["p", list(info.provides)],
    ["i", list(info.installIf)],
  ];
  const lines = fields.flatMap(([key, value]) => {
    if (value === undefined) return [];
    if (/\p{Cc}/u.test(value)) throw new SlipwayError("format_invalid", `the apk's field ${key} has control characters`);
    return [`${key}:${value}\n`];
  });
  return { arch: info.arch, stanza: `${lines.join("")}\n` };
}

export type ApkView = {
  readonly state: ApkState;
  readonly product: string;
  readonly channel: string;
  readonly now: Date;
  /** Signs with each repository key that clients may have: first the one that is to stay. */
  readonly sign: (index: Uint8Array) => Promise<readonly ApkSignature[]>;
};

/** The index of every architecture, paths relative to `/apk/<product>/<channel>/`. */
export async function renderApk(view: ApkView): Promise<readonly FileOfBytes[]> {
  const description = `${view.product} ${view.channel}`;
  const epochSeconds = Math.floor(view.now.getTime() / 1000);
  const files: FileOfBytes[] = [];
  for (const [arch, stanzas] of Object.entries(view.state.indexes).sort(([left], [right]) => (left < right ? -1 : 1))) {
    if (arch === anyArchitecture) continue;
    const bytes = await writeApkIndex({ stanzas, description, epochSeconds }, view.sign);
    files.push(fileOfBytes(`${arch}/APKINDEX.tar.gz`, bytes, "application/gzip"));
  }
  return files;
}
