/** Decides, without doing anything: which release is offered, which artifact of it fits, and what an upgrade would do. */
import satisfies from "semver/functions/satisfies.js";
import { SlipwayError } from "../model/errors.ts";
import type { Manifest, ManifestArtifact } from "../model/manifest.ts";
import type { StateSection } from "../model/upgrade-contract.ts";
import { formatTarget } from "../model/target.ts";
import { compareVersions, isStable, tryParseVersion, type Version } from "../model/version.ts";
import type { ReleaseDescription } from "../trust/verify-release.ts";
import { heldBack, rolloutIn } from "./cohort.ts";
import type { InstalledState } from "./installed-state.ts";
import { type GoneRelease, goneRelease, type ReleaseIndex } from "./release-source.ts";
import type { SettledInstallation } from "./settle.ts";
import type { FileTable } from "./transaction.ts";

export type Offer =
  | { readonly kind: "upgrade"; readonly version: Version; readonly skipped: readonly Skipped[] }
  | { readonly kind: "none"; readonly reason: "up_to_date" | "source_is_older" | "no_release"; readonly skipped: readonly Skipped[] };

/** A release that is newer but not offered. */
export type Skipped = { readonly version: string; readonly reason: "preview" | "blocked" | "other_channel" | "pinned" | "cohort" | "not_before" | "halted" };

export type Choice = {
  readonly index: ReleaseIndex;
  readonly channel: string;
  readonly installed: Version | undefined;
  readonly blocked: InstalledState["blocked"];
  /** Only versions of this range: the operator's pin. */
  readonly pin?: string | undefined;
  /** This machine's place in staged rollouts. */
  readonly machineId?: string | undefined;
  readonly now: Date;
  /** A version that the operator named: a preview may be asked for, nothing else is relaxed. */
  readonly requested?: Version | undefined;
};

/**
 * The release to install. SemVer order decides, not the source's word for "latest"; a preview is never offered on stable (K1).
 * Throws `downgrade_refused`, `version_blocked`, `version_withdrawn`, `pinned`, `held`, `version_not_found`, `gone` for a version that was named.
 */
export function chooseRelease(choice: Choice): Offer {
  const { index, channel, installed, blocked, requested, pin, machineId, now } = choice;
  const isPinnedOut = (version: Version): boolean => pin !== undefined && !satisfies(version, pin, { includePrerelease: true });
  const isBlocked = (version: Version): boolean => blocked.some((entry) => entry.version === version);
  const isNewer = (version: Version): boolean => installed === undefined || compareVersions(version, installed) > 0;
  const releases = index.releases.flatMap((release) => {
    const version = tryParseVersion(release.version);
    return version === undefined || release.state !== "published"
      ? []
      : [{ version, channels: release.channels ?? [release.channel], rollout: rolloutIn(channel, release) }];
  });
  if (requested !== undefined) {
    if (installed !== undefined && compareVersions(requested, installed) === 0) return { kind: "none", reason: "up_to_date", skipped: [] };
    if (!isNewer(requested)) throw new SlipwayError("downgrade_refused", `${requested} is older than ${installed ?? ""}, which is installed`);
    if (isBlocked(requested)) {
      const reason = blocked.find((entry) => entry.version === requested)?.reason ?? "";
      throw new SlipwayError("version_blocked", `${requested} failed on this machine before: ${reason}`);
    }
    if (isPinnedOut(requested)) throw new SlipwayError("pinned", `this installation is pinned to ${pin ?? ""}; ${requested} is outside`);
    const gone = goneRelease(index, requested);
    if (gone !== undefined) throw new SlipwayError(gone.state === "withdrawn" ? "version_withdrawn" : "gone", goneText(index.product, gone));
    const listed = releases.find((release) => release.version === requested);
    if (listed === undefined) throw new SlipwayError("version_not_found", `${index.product} ${requested} is not offered`);
    // Who names a version does not wait for its turn; what the vendor halted is halted for everybody.
    if (listed.rollout?.halted === true) throw new SlipwayError("held", `the vendor halted the rollout of ${requested}`, { detail: "halted" });
    return { kind: "upgrade", version: requested, skipped: [] };
  }
  const skipped: Skipped[] = [];
  let best: Version | undefined;
  for (const release of releases) {
    const { version } = release;
    const why = isBlocked(version)
      ? "blocked"
      : !release.channels.includes(channel)
        ? "other_channel"
        : channel === "stable" && !isStable(version)
          ? "preview"
          : isPinnedOut(version)
            ? "pinned"
            : heldBack(release.rollout, machineId ?? "", now);
    if (why !== undefined) {
      if (isNewer(version)) skipped.push({ version, reason: why });
    } else if (best === undefined || compareVersions(version, best) > 0) best = version;
  }
  if (best === undefined) return { kind: "none", reason: installed !== undefined && skipped.length > 0 ? "up_to_date" : "no_release", skipped };
  if (isNewer(best)) return { kind: "upgrade", version: best, skipped };
  const isEqual = installed !== undefined && compareVersions(best, installed) === 0;
  const hasNewer = skipped.some(({ reason }) => reason !== "preview" && reason !== "other_channel");
  return { kind: "none", reason: isEqual || hasNewer ? "up_to_date" : "source_is_older", skipped };
}

/** `toy 1.4.0 was withdrawn by the vendor (loses data); its replacement is 1.4.1`. */
export function goneText(product: string, { version, state, replacement, reason }: GoneRelease): string {
  const what = state === "withdrawn" ? "was withdrawn by the vendor" : "left retention";
  return `${product} ${version} ${what}${reason === undefined ? "" : ` (${reason})`}${replacement === undefined ? "" : `; its replacement is ${replacement}`}`;
}

/** What the vendor says of the version that is installed, where that is not simply that it is supported (C18). */
export type Standing = {
  readonly kind: "withdrawn" | "retired" | "leaving";
  /** Leaving: when. */
  readonly retiresAt: string | null;
  readonly reason: string | null;
  readonly replacement: string | null;
  /** `replacement` is older than what is installed: it is reached by going back. */
  readonly isBack: boolean;
};

export function standingOf(index: ReleaseIndex, installed: Version | undefined): Standing | undefined {
  if (installed === undefined) return undefined;
  const gone = goneRelease(index, installed);
  if (gone === undefined) {
    const retiresAt = index.releases.find((release) => tryParseVersion(release.version) === installed)?.retiresAt;
    return retiresAt === undefined ? undefined : { kind: "leaving", retiresAt, reason: null, replacement: null, isBack: false };
  }
  const replacement = tryParseVersion(gone.replacement ?? "");
  const isBack = replacement !== undefined && compareVersions(replacement, installed) < 0;
  return { kind: gone.state, retiresAt: null, reason: gone.reason ?? null, replacement: replacement ?? null, isBack };
}

/** Throws `metadata_rollback` where a release is older, in the vendor's own order, than one that this machine has already seen. */
export function requireProgress(description: ReleaseDescription, state: InstalledState): void {
  const seen = state.highWater;
  if (seen !== undefined && description.sequence < seen.seq) {
    throw new SlipwayError(
      "metadata_rollback",
      `${description.version} has sequence ${description.sequence}; this machine has seen ${seen.seq} (${seen.version}), which was made later`,
    );
  }
}

/** The artifact's file as an operator installs it: for strategy manual, which names no other kind. */
const manualKinds = ["archive", "binary"] as const;
const packageKinds = { dpkg: "deb", rpm: "rpm", apk: "apk" } as const;

/** The kinds of artifact that a strategy can use, the better one first. */
function artifactKindsFor({ strategy, artifact, packaged }: SettledInstallation): readonly ManifestArtifact["kind"][] {
  if (packaged !== undefined) return [packageKinds[packaged.kind]];
  if (strategy === "container") return ["image"];
  if (artifact.kind !== undefined) return [artifact.kind];
  if (strategy === "manual") return manualKinds;
  return strategy === "versions" ? ["archive", "binary"] : ["binary", "archive"];
}

/** The artifact for this machine; throws `installation_invalid` where several fit and `version_not_found` where none does. */
export function chooseArtifact(manifest: Manifest, installation: SettledInstallation): ManifestArtifact {
  const { target, artifact: wish } = installation;
  const kinds = artifactKindsFor(installation);
  for (const kind of kinds) {
    const fitting = manifest.artifacts.filter(
      (artifact) =>
        artifact.kind === kind &&
        (artifact.os === target.os || (artifact.os === undefined && kind === "image")) &&
        (artifact.arch === target.arch || (artifact.arch === undefined && kind !== "archive" && kind !== "binary")) &&
        (kind !== "archive" || /\.(tar|tgz|tar\.(gz|zst|xz))$/.test(artifact.name)) &&
        (wish.name_contains === undefined || artifact.name.includes(wish.name_contains)),
    );
    const [only, ...others] = fitting;
    if (only === undefined) continue;
    if (others.length > 0) {
      throw new SlipwayError("installation_invalid", `several artifacts fit: ${fitting.map(({ name }) => name).join(", ")}`, {
        place: installation.place,
        hint: "name one of them with artifact: { name_contains: … }",
      });
    }
    return only;
  }
  throw new SlipwayError("version_not_found", `${manifest.product} ${manifest.version} has no ${kinds.join(" and no ")} for ${formatTarget(target)}`, {
    hint: "nothing was changed; look at target:, strategy: and artifact: of the installation file, or ask the vendor for this machine's kind",
  });
}

export type UpgradePlan = {
  readonly product: string;
  readonly strategy: SettledInstallation["strategy"];
  readonly strategyReason: string;
  readonly root: string;
  readonly from: string | null;
  readonly to: string;
  /** The versions on the way to the one that is wanted, each installed and proven; `to` is the first. */
  readonly path: readonly string[];
  readonly sequence: number;
  readonly artifact: { readonly name: string; readonly size: number; readonly sha256: string };
  readonly signatures: readonly { readonly kind: string; readonly keyId: string }[];
  readonly files: { readonly added: readonly string[]; readonly changed: readonly string[]; readonly removed: readonly string[]; readonly unchanged: number };
  readonly backup: readonly string[];
  /** What the release on this hop promises about running beside the one before. */
  readonly mixedWith: readonly string[] | null;
  readonly isContractPhase: boolean;
  /** What the operator reads first (C15): the release's own summary, and the file of its notes beside the sums that list it. */
  readonly summary: string | null;
  readonly notes: string | null;
  readonly steps: readonly string[];
};

function strategyWords(
  { strategy, packaged }: SettledInstallation,
  to: { version: string; files: number },
): { readonly place: string; readonly replace: string } {
  const manager = packaged?.kind ?? "";
  const words = {
    versions: { place: `unpack into versions/${to.version}`, replace: `lead current to versions/${to.version}` },
    inplace: { place: `put ${to.files} new files beside the live ones`, replace: `rename ${to.files} files over the live ones` },
    package: { place: `let ${manager} rehearse the package`, replace: `let ${manager} install the package; changed configuration stays` },
    container: {
      place: "have the image on this machine, as the verified release lists it",
      replace: `pin the service to the image of ${to.version} by its digest`,
    },
    manual: { place: "print the commands that install it", replace: "wait for you to run them; `slipway upgrade resume` then records it" },
  } as const;
  return words[strategy];
}

/** How the old version's files stay for the way back. */
function keptWords(strategy: SettledInstallation["strategy"], from: { readonly version: string; readonly files: number }): readonly string[] {
  const words = {
    versions: [],
    inplace: [`keep a copy of ${from.files} files of ${from.version}`],
    package: [`keep the package of ${from.version}, fetched where it is not kept yet`],
    container: [`keep the image of ${from.version} under a name of its own`],
    manual: [],
  } as const;
  return words[strategy];
}

/** What an upgrade would do, in the order in which it would do it. */
export function describePlan(options: {
  readonly installation: SettledInstallation;
  readonly live: { readonly version: string | undefined; readonly files: FileTable };
  readonly description: ReleaseDescription;
  readonly artifact: ManifestArtifact;
  readonly files: FileTable;
  readonly route: readonly Version[];
  readonly sections: readonly StateSection[];
}): UpgradePlan {
  const { installation, live, description, artifact, files, route, sections } = options;
  const paths = Object.keys(files);
  const { health, service, strategy, strategyReason } = installation;
  const kept = sections.map((section) => section.path ?? `${section.name} (${section.dump?.[0] ?? ""})`);
  const words = strategyWords(installation, { version: description.version, files: paths.length });
  const isByHand = strategy === "manual";
  const stop = service === undefined || isByHand ? [] : ["stop the service"];
  const start = service === undefined || isByHand ? [] : ["start the service"];
  return {
    product: installation.product,
    strategy,
    strategyReason,
    root: installation.root,
    from: live.version ?? null,
    to: description.version,
    path: route,
    sequence: description.sequence,
    artifact: { name: artifact.name, size: artifact.size, sha256: artifact.sha256 },
    signatures: description.signatures,
    files: {
      added: paths.filter((path) => live.files[path] === undefined),
      changed: paths.filter((path) => live.files[path] !== undefined && live.files[path].sha256 !== files[path]?.sha256),
      removed: Object.keys(live.files).filter((path) => files[path] === undefined),
      unchanged: paths.filter((path) => live.files[path]?.sha256 === files[path]?.sha256).length,
    },
    backup: kept,
    mixedWith: description.manifest.compat?.mixedWith ?? null,
    isContractPhase: description.manifest.migration?.contractPhase === true,
    summary: description.manifest.summary ?? null,
    notes: description.manifest.artifacts.find(({ kind }) => kind === "notes")?.name ?? null,
    steps: [
      `${strategy === "container" && artifact.image !== undefined ? `pull the image ${artifact.image.digest} from the vendor's registry, or ` : ""}download ${artifact.name} (${artifact.size} bytes)`,
      `verify the signature over the sums (${description.signatures.map(({ kind }) => kind).join(", ")}), then the SHA-256 of the artifact`,
      ...(live.version === undefined ? [] : keptWords(strategy, { version: live.version, files: Object.keys(live.files).length })),
      ...(isByHand ? [] : kept.map((one) => `back up ${one}`)),
      words.place,
      ...stop,
      words.replace,
      ...start,
      `wait at most ${health.deadline_seconds} s until ${counted(health.checks.length, "check is", "checks are")} good ${counted(health.consecutive, "time", "times")} in a row and report ${description.version}, then watch for ${health.bake_seconds} s`,
      isByHand
        ? "record it"
        : live.version === undefined
          ? "keep it, or take it away again"
          : `keep it, or go back to ${live.version} and prove that it is healthy`,
    ],
  };
}

const counted = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;
