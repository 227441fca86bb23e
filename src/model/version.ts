/**
 * Versions: SemVer 2.0 tags `vX.Y.Z[-pre][+build]`, one comparator for latest, retention and N-1, and their spelling in each format.
 *
 * The comparator differs from SemVer in one point on purpose: digits at the end of a prerelease word count as a number, so that
 * `preview10` comes after `preview9`. dpkg, rpm and apk order them so too, and one product must not have two orders.
 */
// By its own path: the whole of semver costs every start of the program 10 ms.
import parseSemver from "semver/functions/parse.js";
import { SlipwayError } from "./errors.ts";

/** A SemVer string without the leading `v`, made only by parseVersion. */
export type Version = string & { readonly __brand: "Version" };

type Parts = {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  readonly prerelease: readonly string[];
  readonly build: readonly string[];
};

/** Reads `1.2.3`, `v1.2.3-rc.1`; throws `version_invalid`. Length is capped at 128 so that it fits file names. */
export function parseVersion(text: string): Version {
  const bare = text.startsWith("v") ? text.slice(1) : text;
  // semver trims white space; a version with a line feed must not get into an index.
  const parsed = text.length > 128 || /[^0-9A-Za-z.+-]/.test(bare) ? null : parseSemver(bare);
  if (parsed === null) throw new SlipwayError("version_invalid", `"${text.slice(0, 140)}" is not a version`);
  const build = parsed.build.length > 0 ? `+${parsed.build.join(".")}` : "";
  return `${parsed.version}${build}` as Version;
}

/** The version as a value, or undefined where the text is none. */
export function tryParseVersion(text: string): Version | undefined {
  try {
    return parseVersion(text);
  } catch {
    return undefined; // the caller asked whether it is one
  }
}

function partsOf(version: Version): Parts {
  const parsed = parseSemver(version);
  if (parsed === null) throw new SlipwayError("version_invalid", `"${version}" is not a version`);
  return { major: parsed.major, minor: parsed.minor, patch: parsed.patch, prerelease: parsed.prerelease.map(String), build: parsed.build };
}

export function tagOf(version: Version): string {
  return `v${version}`;
}

/** Stable means: no prerelease part. A `git describe` snapshot is not stable. */
export function isStable(version: Version): boolean {
  return partsOf(version).prerelease.length === 0;
}

/** True for what `versionFromDescribe` makes of commits after a tag. */
export function isSnapshot(version: Version): boolean {
  return /(?:^|\.)git\.\d+\.g[0-9a-f]+/.test(prereleaseText(version));
}

/** `1.4` for 1.4.2: the line (vocabulary: all versions of one minor). */
export function lineOf(version: Version): string {
  const parts = partsOf(version);
  return `${parts.major}.${parts.minor}`;
}

/** Digits compared as numbers, the rest as bytes: the pieces of one prerelease word. */
function wordPieces(word: string): readonly (string | bigint)[] {
  return (word.match(/\d+|\D+/g) ?? []).map((piece) => (/^\d+$/.test(piece) ? BigInt(piece) : piece));
}

function compareWords(left: string, right: string): number {
  const leftIsNumber = /^\d+$/.test(left);
  const rightIsNumber = /^\d+$/.test(right);
  if (leftIsNumber !== rightIsNumber) return leftIsNumber ? -1 : 1; // SemVer 11.4.3
  const a = wordPieces(left);
  const b = wordPieces(right);
  for (let index = 0; index < Math.min(a.length, b.length); index += 1) {
    const x = a[index] as string | bigint;
    const y = b[index] as string | bigint;
    if (typeof x !== typeof y) return typeof x === "bigint" ? -1 : 1;
    if (x !== y) return x < y ? -1 : 1;
  }
  return a.length - b.length;
}

/** -1, 0 or 1. Build metadata does not count (SemVer 10). */
export function compareVersions(left: Version, right: Version): -1 | 0 | 1 {
  const a = partsOf(left);
  const b = partsOf(right);
  const core = a.major - b.major || a.minor - b.minor || a.patch - b.patch;
  if (core !== 0) return core < 0 ? -1 : 1;
  if (a.prerelease.length === 0 || b.prerelease.length === 0) {
    if (a.prerelease.length === b.prerelease.length) return 0;
    return a.prerelease.length === 0 ? 1 : -1;
  }
  for (let index = 0; index < Math.max(a.prerelease.length, b.prerelease.length); index += 1) {
    const x = a.prerelease[index];
    const y = b.prerelease[index];
    if (x === undefined) return -1;
    if (y === undefined) return 1;
    const order = compareWords(x, y);
    if (order !== 0) return order < 0 ? -1 : 1;
  }
  return 0;
}

/** The newest stable version, which `latest` follows (C3); undefined where there is none. */
export function newestStable(versions: Iterable<Version>): Version | undefined {
  let newest: Version | undefined;
  for (const version of versions) {
    if (isStable(version) && (newest === undefined || compareVersions(version, newest) > 0)) newest = version;
  }
  return newest;
}

/** `1.2.0-5-gabc1234`, from git describe: commits after a tag. */
const describePattern = /^(\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?)-(\d+)-g([0-9a-f]{4,40})(-dirty)?$/;

/** Reads `git describe --tags --long?` output (`v1.2.0`, `v1.2.0-5-gabc1234`, with `-dirty`) into a version whose order is after the tag's. */
export function versionFromDescribe(text: string): Version {
  const described = describePattern.exec(text.startsWith("v") ? text.slice(1) : text);
  if (described === null) return parseVersion(text);
  const [, base, commits, hash, dirty] = described as unknown as [string, string, string, string, string | undefined];
  const core = parseVersion(base);
  const parts = partsOf(core);
  // A snapshot comes after its tag and before the next patch: 1.2.0-5-gabc -> 1.2.1-git.5.gabc.
  const next = parts.prerelease.length > 0 ? `${base}.` : `${parts.major}.${parts.minor}.${parts.patch + 1}-`;
  return parseVersion(`${next}git.${commits}.g${hash}${dirty === undefined ? "" : ".dirty"}`);
}

const prereleaseText = (version: Version): string => partsOf(version).prerelease.join(".");
const coreText = (version: Version): string => {
  const { major, minor, patch } = partsOf(version);
  return `${major}.${minor}.${patch}`;
};

/** Debian's upstream version (deb-version(7)): `~` sorts before the end; `-` would start a Debian revision, so it becomes a dot. */
export function debVersion(version: Version): string {
  const pre = prereleaseText(version).replaceAll("-", ".");
  return pre === "" ? coreText(version) : `${coreText(version)}~${pre}`;
}

/** rpm's Version tag; `-` is illegal there. Release is always `1`. */
export function rpmVersion(version: Version): string {
  const pre = prereleaseText(version).replaceAll("-", ".");
  return pre === "" ? coreText(version) : `${coreText(version)}~${pre}`;
}

const apkWords: Readonly<Record<string, string>> = {
  a: "alpha",
  alpha: "alpha",
  dev: "alpha",
  next: "alpha",
  nightly: "alpha",
  snapshot: "alpha",
  git: "alpha",
  b: "beta",
  beta: "beta",
  pre: "pre",
  preview: "pre",
  rc: "rc",
};

/** apk's pkgver (apk-tools version.c): only known words have a place in its order, so an unknown one throws `version_invalid` instead of guessing. */
export function apkVersion(version: Version): string {
  const pre = prereleaseText(version);
  if (pre === "") return coreText(version);
  const known = /^([a-z]+)[.-]?(\d*)(?:\.git\.(\d+))?(?:\.g[0-9a-f]+)?(?:\.dirty)?$/.exec(pre);
  const word = known?.[1] === undefined ? undefined : apkWords[known[1]];
  if (known === null || word === undefined) {
    throw new SlipwayError("version_invalid", `prerelease "${pre}" has no apk form`, {
      hint: "use alpha|beta|preview|rc with an optional number, or leave apk out of packages.formats",
    });
  }
  // Commits after a preview's tag (git describe) come after it and before the next preview.
  const commits = known[3] === undefined ? "" : `_git${known[3]}`;
  return `${coreText(version)}_${word}${known[2] ?? ""}${commits}`;
}

/** The tag of an OCI image: `+` is not allowed there. */
export function ociTag(version: Version): string {
  return version.replaceAll("+", "-");
}

/** The version inside artifact names: `~` and `+` never appear in one. */
export function fileVersion(version: Version): string {
  return version.replaceAll("+", "-");
}
