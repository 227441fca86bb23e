/**
 * An installation as it is now: where its releases come from, and what lies on this machine. Looks only.
 *
 * The way of the installation (its strategy, and what vouches for its source) is loaded here, before anything is done with it: a check needs
 * little more, and an upgrade may replace the very files that it would be loaded from.
 */
import { tryParseVersion, type Version } from "../model/version.ts";
import { emptyState, type InstalledState, readState } from "./installed-state.ts";
import type { Machine } from "./machine.ts";
import { type ReleaseSource, releaseSource } from "./release-source.ts";
import type { SettledInstallation, StrategyName } from "./settle.ts";
import { findStateDirectory, type StateDirectory, stateDirectoryOf } from "./state-directory.ts";
import type { Live, Strategy, StrategyContext } from "./strategy.ts";

export type Present = { readonly directory: StateDirectory; readonly state: InstalledState; readonly live: Live };

export type View = {
  readonly installation: SettledInstallation;
  readonly machine: Machine;
  readonly source: ReleaseSource;
  readonly strategyAt: (directory: StateDirectory) => Strategy;
  /** Reading only: the directory is not made, nothing is locked. */
  readonly present: () => Promise<Present>;
  readonly look: (directory: StateDirectory, state: InstalledState) => Promise<Live>;
};

type OpenStrategy = (context: StrategyContext) => Strategy;

const strategies: Readonly<Record<StrategyName, () => Promise<OpenStrategy>>> = {
  versions: async () => (await import("./versions-strategy.ts")).versionsStrategy,
  inplace: async () => (await import("./inplace-strategy.ts")).inplaceStrategy,
  package: async () => (await import("./package-strategy.ts")).packageStrategy,
  container: async () => (await import("./container-strategy.ts")).containerStrategy,
  manual: async () => (await import("./manual-strategy.ts")).manualStrategy,
};

/** The source of an installation; with `trust.tuf`, one that TUF metadata vouches for. */
async function trustedSource(installation: SettledInstallation, machine: Machine): Promise<ReleaseSource> {
  const source = releaseSource(installation, machine);
  const { tuf } = installation.trust;
  return tuf === undefined ? source : (await import("./tuf-source.ts")).listedSource({ installation, machine, source, tuf });
}

export async function openView(installation: SettledInstallation, machine: Machine): Promise<View> {
  const openStrategy = await strategies[installation.strategy]();
  const strategyAt: View["strategyAt"] = (directory) => openStrategy({ installation, machine, directory });
  const look: View["look"] = (directory, state) => strategyAt(directory).look(state.installed);
  return {
    installation,
    machine,
    source: await trustedSource(installation, machine),
    strategyAt,
    look,
    present: async () => {
      const found = await findStateDirectory(installation.stateDir);
      const directory = found ?? stateDirectoryOf(installation.stateDir);
      const state = found === undefined ? emptyState(installation.product) : await readState(found.state, installation.product);
      return { directory, state, live: await look(directory, state) };
    },
  };
}

export const versionOf = (live: Live): Version | undefined => (live.version === undefined ? undefined : tryParseVersion(live.version));
