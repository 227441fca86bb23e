/** How a version's files get onto the live path and off it again: what the strategies have in common. */
import type { FileHandle } from "node:fs/promises";
import type { ManifestArtifact } from "../model/manifest.ts";
import type { Version } from "../model/version.ts";
import type { Machine } from "./machine.ts";
import type { SettledInstallation } from "./settle.ts";
import type { StateDirectory } from "./state-directory.ts";
import type { FileTable, Transaction } from "./transaction.ts";

export type StrategyContext = { readonly installation: SettledInstallation; readonly machine: Machine; readonly directory: StateDirectory };

/** What is live, told by hashes and links: the journal only says what was intended. */
export type Reality = "old" | "new" | "mixed";

export type Live = { readonly version: string | undefined; readonly files: FileTable; readonly ref?: string };

/**
 * A release's artifact on an open descriptor whose hash was just compared with the signed one. Where the strategy fetched it itself, `handle` is what
 * it left in its place, and the strategy proves that.
 */
export type HeldArtifact = { readonly handle: FileHandle; readonly artifact: ManifestArtifact };

export type Adoption = {
  /** Where the new version's files will be. */
  readonly paths: readonly string[];
  /** Fetches another release's artifact, proven, into a private folder under its own name. */
  readonly fetch: (version: Version, folder: string) => Promise<ManifestArtifact>;
};

export type Fetching = {
  readonly artifact: ManifestArtifact;
  readonly version: Version;
  /** Where the artifact's file would be. */
  readonly path: string;
};

export type Strategy = {
  /** May a service start while this is switched, and can the files be finished in the moment before a start? A package manager starts services itself. */
  readonly canFinishBeforeStart: boolean;
  /** Absolute paths that a switch replaces; none of them may belong to a package. */
  readonly livePaths: (files: FileTable) => readonly string[];
  /** The old version as this updater needs it for the way back, where it was not installed by this updater. Idempotent. */
  readonly adopt: (from: Transaction["from"], adoption: Adoption) => Promise<Transaction["from"]>;
  /** Are the files on disk of one version, so that the service may start? */
  readonly isStartable: (transaction: Transaction) => Promise<boolean>;
  /** What is live now. `known` is what state.json says is installed. */
  readonly look: (known: { readonly version: string; readonly files: FileTable } | undefined) => Promise<Live>;
  /** Live path -> signed content for this artifact, and the reference of the new version. Throws `upgrade_verification_failed` where the manifest lists no files. */
  readonly target: (artifact: ManifestArtifact, version: string) => { readonly files: FileTable; readonly ref?: string };
  /** Brings the artifact onto this machine in a way of its own, and says from where; undefined where its file is to be downloaded. Idempotent. */
  readonly fetch?: (fetching: Fetching) => Promise<string | undefined>;
  /** Row 6: everything needed to put the old code back is durable afterwards. Idempotent. */
  readonly backUpCode: (transaction: Transaction) => Promise<void>;
  /** Row 8: the new files lie beside the live ones, complete, compared with the signed list, durable. Idempotent. */
  readonly place: (transaction: Transaction, held: HeldArtifact) => Promise<void>;
  readonly reality: (transaction: Transaction) => Promise<Reality>;
  /** Row 10. Finishes what was begun; a switched installation stays as it is. */
  readonly switchForward: (transaction: Transaction) => Promise<void>;
  /** Row R1. Finishes what was begun; the old version's bytes are compared with the journal before they go live. */
  readonly switchBack: (transaction: Transaction) => Promise<void>;
  /** Rows 14 and R2: removes what no version that is kept needs. `keep` are versions. */
  readonly clean: (transaction: Transaction, keep: ReadonlySet<string>, drop: readonly string[]) => Promise<void>;
};
