/**
 * One package as a value, before any format: what the deb, rpm and apk writers are given and what they agree on.
 *
 * Bytes come as sources that can be opened more than once (a format may need a digest pass); nothing here touches the disk.
 */
import type { Architecture } from "../model/target.ts";
import type { Version } from "../model/version.ts";

/**
 * Bytes that can be read from the start as often as needed; `size` is exact and a writer fails with `source_unusable` when it is not.
 * A piece is lent: whoever needs it after asking for the next one, or after ending the reading, must copy it.
 */
export type ByteSource = {
  readonly size: number;
  readonly open: () => AsyncIterable<Uint8Array>;
  /** All of it at once and without waiting, where it is little and lies near: thousands of small files cost a call each, not an iteration. */
  readonly lend?: () => LentBytes;
};

/** Bytes that are the reader's until it calls `giveBack`, which it does exactly once. */
export type LentBytes = { readonly bytes: Uint8Array; readonly giveBack: () => void };

/** `missingok` differs from `replace` in rpm alone: `rpm --verify` does not mind that the file is gone. */
export type ConfigPolicy = "noreplace" | "replace" | "missingok";

type EntryCommon = {
  /** Absolute, normalised, no trailing slash: `/usr/bin/jaco`. */
  readonly path: string;
  readonly owner: string;
  readonly group: string;
};

export type FileEntry = EntryCommon & {
  readonly kind: "file";
  /** Permission bits with setuid, setgid and sticky: 0o755. */
  readonly mode: number;
  readonly source: ByteSource;
  /** Operator's edits survive the upgrade: conffile in deb, %config in rpm, /etc in apk. */
  readonly config?: ConfigPolicy;
  readonly isDoc?: boolean;
  readonly isLicense?: boolean;
};

/** A directory that the package owns; parents that nobody declares are added by deb and apk, and never by rpm. */
export type DirectoryEntry = EntryCommon & { readonly kind: "directory"; readonly mode: number };

export type LinkEntry = EntryCommon & { readonly kind: "symlink"; readonly target: string };

/** rpm %ghost: owned, made at run time, never in the payload; other formats leave it out. */
export type GhostEntry = EntryCommon & { readonly kind: "ghost"; readonly mode: number };

export type PackageEntry = FileEntry | DirectoryEntry | LinkEntry | GhostEntry;

export type DependencyKind = "depends" | "recommends" | "suggests" | "conflicts" | "provides" | "replaces";

/** Also what not every format knows: deb's predepends and breaks, enhances of deb and rpm, rpm's supplements, apk's installIf. */
export type RelationKind = DependencyKind | "predepends" | "breaks" | "enhances" | "supplements" | "installIf";

/** `docker.io (>= 20) | docker-ce`: the alternatives of one dependency; parsed once, printed per format. */
export type Dependency = readonly { readonly name: string; readonly operator?: "<<" | "<=" | "=" | ">=" | ">>"; readonly version?: string }[];

/** The moments at which every format runs a script. */
export type CommonScriptName = "preinstall" | "postinstall" | "preremove" | "postremove";

/**
 * The transaction scripts and `verify` are rpm's alone, the upgrade scripts and `trigger` are apk's, `config` is deb's (debconf-devel(7)); a
 * writer refuses a script that its format does not run.
 */
export type ScriptName = CommonScriptName | "pretransaction" | "posttransaction" | "verify" | "preupgrade" | "postupgrade" | "trigger" | "config";

/** One release in a package's changelog. */
export type ChangelogEntry = {
  readonly version: Version;
  readonly epochSeconds: number;
  /** One change each, one line; empty where nobody wrote any down. */
  readonly changes: readonly string[];
};

/** What a deb waits for or sets off (deb-triggers(5)); the other formats have nothing of the kind and are given none. */
export type DebTriggers = Readonly<Partial<Record<DebTriggerDirective, readonly string[]>>>;
export const debTriggerDirectives = ["interest", "interest-await", "interest-noawait", "activate", "activate-await", "activate-noawait"] as const;
export type DebTriggerDirective = (typeof debTriggerDirectives)[number];

/** What only a deb can say (deb-control(5)). */
type DebExtras = {
  readonly predepends?: readonly Dependency[];
  readonly breaks?: readonly Dependency[];
  readonly enhances?: readonly Dependency[];
  /** `optional` by default. */
  readonly priority?: string;
  /** Further fields of `control`, none of those that are written anyway. */
  readonly fields?: Readonly<Record<string, string>>;
  /** Questions of debconf, the member `templates`. */
  readonly templates?: string;
};

/** Which of rpm's scripts a requirement is for. */
export const rpmRequireMoments = ["pre", "post", "preun", "postun", "pretrans", "posttrans", "verify"] as const;
export type RpmRequireMoment = (typeof rpmRequireMoments)[number];

/** What only an rpm can say. */
type RpmExtras = {
  readonly enhances?: readonly Dependency[];
  readonly supplements?: readonly Dependency[];
  /** `Requires(post): systemd`. */
  readonly requires?: Readonly<Partial<Record<RpmRequireMoment, readonly Dependency[]>>>;
  readonly group?: string;
  /** Folders whose files `rpm --relocate` may put elsewhere. */
  readonly prefixes?: readonly string[];
};

/** What only an apk can say (apk-package(5)). */
type ApkExtras = {
  /** Installed by itself once all of these are. */
  readonly installIf?: readonly Dependency[];
  /** Folders whose changes run the script `trigger`. */
  readonly triggers?: readonly string[];
  /** Among packages that provide one name without a version, the highest is taken. */
  readonly providerPriority?: number;
  /** Which of two packages that replace each other's files wins. */
  readonly replacesPriority?: number;
};

export type PackageCompression = { readonly codec: "gzip" | "zstd" | "xz" | "none"; readonly level: number };

export type PackageSpec = {
  readonly name: string;
  readonly version: Version;
  /** rpm Release and Debian revision where set; `1` for rpm by default. */
  readonly release?: string;
  /** `all` for packages without machine code. */
  readonly arch: Architecture | "all";
  readonly summary: string;
  /** Paragraphs, LF. Empty: the summary again. */
  readonly description: string;
  readonly maintainer: string;
  readonly license: string;
  readonly homepage?: string;
  readonly vendor?: string;
  readonly section: string;
  readonly dependencies: Readonly<Partial<Record<DependencyKind, readonly Dependency[]>>>;
  readonly triggers?: DebTriggers;
  readonly deb?: DebExtras;
  readonly rpm?: RpmExtras;
  readonly apk?: ApkExtras;
  /** Newest first, this release's own entry among them; absent: one entry that names the release. */
  readonly changelog?: readonly ChangelogEntry[];
  /** Script bodies, each with its own `#!/bin/sh` line. */
  readonly scripts: Readonly<Partial<Record<ScriptName, string>>>;
  /** Sorted by path in byte order, each path once: the recipe resolver sees to both and the writers assert it. */
  readonly entries: readonly PackageEntry[];
  readonly compression: PackageCompression;
  /** Seconds since 1970: the only time stamp in the package (SOURCE_DATE_EPOCH). */
  readonly epochSeconds: number;
};

/**
 * Where a writer puts bytes: awaited, so that back-pressure holds; positions are never rewritten.
 * A sink that keeps a piece after its promise has resolved must copy it: writers reuse their buffers.
 */
export type ByteSink = (piece: Uint8Array) => Promise<void> | void;

/**
 * Bytes put aside until their size and digest are known: a deb's ar header and an rpm's main header name both before the bytes come.
 * io implements it on disk, so that a writer's memory does not grow with the payload.
 */
export type Spool = {
  readonly write: ByteSink;
  /** Ends the writing; from then on the bytes can be read as often as needed. */
  readonly finish: () => Promise<ByteSource>;
  /** Frees the space; allowed at any time and more than once. */
  readonly remove: () => Promise<void>;
};

/** Takes bytes and hands the compressed ones to the sink that it was made with. */
export type Compressor = { readonly write: ByteSink; readonly end: () => Promise<void> };

/** Node has no xz: whoever may start programs passes a maker in. Without one `xz` is refused. */
export type MakeXzCompressor = (level: number, sink: ByteSink) => Compressor;

/** What every package writer needs besides the spec. */
export type PackageOutput = {
  readonly sink: ByteSink;
  readonly makeSpool: () => Promise<Spool>;
  readonly makeXzCompressor?: MakeXzCompressor;
};
