/** What a package will hold and say, as far as that is known before it is built: the facts that policy judges and packaging gathers. */
import type { Architecture, OperatingSystem, Target } from "./target.ts";
import type { Version } from "./version.ts";

export type PackageFormatWord = "deb" | "rpm" | "apk";

/** A word of the recipe with where it stands: `slipway.yaml:14:5`. */
export type PlacedText = { readonly text: string; readonly place: string };

/** `unknown` is what is not built yet, or was not read. */
export type ContentNature =
  | {
      readonly kind: "program";
      readonly systems: readonly OperatingSystem[];
      readonly arch: Architecture | undefined;
      /** Without a table of symbols for debuggers. */
      readonly isStripped?: boolean;
      /** Without shared libraries. */
      readonly isStatic?: boolean;
    }
  | {
      readonly kind: "script";
      /** The first line behind `#!`, with a CR where there is one. */
      readonly interpreter: string;
      /** What the shell says of its syntax; undefined where it has nothing to say or was not asked. */
      readonly syntaxError?: string;
    }
  | { readonly kind: "other" | "unknown" };

type EntryFacts = {
  /** In the package: `/usr/bin/jaco`. */
  readonly path: string;
  /** As the recipe names it. */
  readonly source: string;
  readonly place: string;
  readonly owner: string;
  readonly group: string;
};
export type FileFacts = EntryFacts & {
  readonly kind: "file";
  readonly mode: number;
  readonly config?: "noreplace" | "replace" | "missingok";
  /** Undefined for a binary that is not built yet. */
  readonly sizeBytes?: number;
  readonly nature: ContentNature;
  /** Where a rule reads it: unit files. */
  readonly text?: string;
};
export type DirectoryFacts = EntryFacts & {
  readonly kind: "directory";
  readonly mode: number /** True where it belongs to the system. */;
  readonly isShared: boolean;
};
export type LinkFacts = EntryFacts & { readonly kind: "symlink"; readonly target: string };
export type PackagedEntry = FileFacts | DirectoryFacts | LinkFacts;

export type MaintainerScript = {
  readonly name: "preinstall" | "postinstall" | "preremove" | "postremove";
  readonly source: string;
  readonly place: string;
  readonly text: string;
  /** What the shell says of its syntax; undefined where it has nothing to say or was not asked. */
  readonly syntaxError?: string;
};

export type SigningKeyFacts = {
  readonly kind: "openpgp" | "minisign" | "apk";
  readonly reference: string;
  readonly place: string;
  /** Why it cannot sign; undefined for a fit key and for one that could not be read here. */
  readonly unfitness?: string;
};

/** One package of a recipe for one target, in all its formats: they get the same files. */
export type PackageFacts = {
  readonly name: string;
  readonly target: Target;
  /** One package for all processors. */
  readonly isForAll?: boolean;
  readonly formats: readonly PackageFormatWord[];
  /** Names of the artifacts: `jaco_0.2.0_amd64.deb`. */
  readonly artifacts: readonly string[];
  /** Undefined where no tag and no --version gave one. */
  readonly version?: Version;
  readonly summary: PlacedText;
  readonly description: PlacedText;
  readonly hasHomepage: boolean;
  readonly hasLicenseFile: boolean;
  readonly license: PlacedText;
  /** Of the list of formats. */
  readonly formatsPlace: string;
  readonly entries: readonly PackagedEntry[];
  readonly scripts: readonly MaintainerScript[];
  /** Names of packages under depends and recommends, in any format. */
  readonly dependsOn: readonly string[];
  readonly keys: readonly SigningKeyFacts[];
  /** Accounts that the package makes by its own declaration. */
  readonly users: readonly string[];
};
