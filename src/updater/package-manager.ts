/** The system's package manager as the updater drives it: who owns a file, which version of a package is there, and one verified local file installed. */
import type { ByteSource } from "../formats/package.ts";
import type { Version } from "../model/version.ts";

export const packageManagerKinds = ["dpkg", "rpm", "apk"] as const;
export type PackageManagerKind = (typeof packageManagerKinds)[number];

export type InstalledPackage = {
  /** Upstream version in the manager's spelling: without epoch, revision and release. */
  readonly version: string;
  /** Unpacked, configured, and no transaction was cut in its middle. */
  readonly isWhole: boolean;
  /** The files on disk are of one version, although a script may still have to run. */
  readonly areFilesWhole: boolean;
};

export type InstallOptions = {
  /** Of the package in the file. */
  readonly name: string;
  /** Than what is there. */
  readonly isOlder: boolean;
  /** A run was cut: what is there is not whole. */
  readonly isRepair: boolean;
};

export type PackageManager = {
  readonly kind: PackageManagerKind;
  readonly artifactKind: "deb" | "rpm" | "apk";
  /** The package that owns each path; paths that nobody owns are left out. */
  readonly owners: (paths: readonly string[]) => Promise<ReadonlyMap<string, string>>;
  readonly installed: (name: string) => Promise<InstalledPackage | undefined>;
  /** What a package file says of itself; `version` as in InstalledPackage. */
  readonly identify: (source: ByteSource) => Promise<{ readonly name: string; readonly version: string }>;
  /** The manager's spelling of a version. */
  readonly spell: (version: Version) => string;
  /** Would this file go in, and is nobody else at work? Changes nothing. Throws `lock_held`, `conflict`. */
  readonly rehearse: (file: string, options: Pick<InstallOptions, "isOlder">) => Promise<void>;
  /**
   * Installs a verified local file, asking nobody; a configuration file that the operator changed stays. What an interrupted run left is
   * finished first. Throws `lock_held` where another one is at work, `command_failed` with the manager's last words.
   */
  readonly install: (file: string, options: InstallOptions) => Promise<void>;
  /** Takes the package away; its configuration stays where the manager keeps such. */
  readonly remove: (name: string) => Promise<void>;
};
