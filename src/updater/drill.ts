/**
 * A drill of the rollback, on a copy: the versions and the state are copied aside, the rollback's own code runs on the copy, and its time goes into
 * the history. The live installation is only read.
 *
 * Files alone prove how long going back takes; that the old version comes up with the old state is proven where the installation file says how a copy
 * runs (`drill:`). Otherwise the drill ends INCOMPLETE, and says so. What cannot be copied is not touched: a package manager only rehearses the package of
 * the version before, and an engine is only asked whether it has its image; the report names that.
 */
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { acquireLock } from "../io/lock.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { type StateSection, writtenEpochs } from "../model/upgrade-contract.ts";
import { newTransactionId } from "./acquire.ts";
import { backupPath, createBackup, newBackupId } from "./backup.ts";
import { withAbsoluteFiles } from "./container-section.ts";
import { containerService } from "./container-service.ts";
import { lstatIfThere } from "./file-tree.ts";
import { rollbackOperation } from "./go-back.ts";
import { appendLine } from "./history.ts";
import { type PreviousVersion, writeState } from "./installed-state.ts";
import type { Machine } from "./machine.ts";
import type { DrillReport } from "./operations.ts";
import { sectionsOf } from "./sections.ts";
import { openSession, type Session } from "./session.ts";
import type { SettledInstallation } from "./settle.ts";
import { ensurePrivate, prepareStateDirectory, type StateDirectory, stateDirectoryOf } from "./state-directory.ts";
import { openView } from "./view.ts";

/** What happens to the copy is said as such: a phase `failed`, or a version that is not offered again, would be read as the live installation's. */
function onCopy(machine: Machine): Machine {
  return {
    ...machine,
    observe: (event) => {
      if (event.event === "phase") return;
      machine.observe("text" in event ? { ...event, text: `on the copy: ${event.text}` } : event);
    },
  };
}

/** Throws `version_not_found` without a previous version, `unavailable` for strategy manual, and what the rollback throws; the copy is removed in any case. */
export async function drillRollback(session: Session, options: { readonly folder: string | undefined; readonly signal: AbortSignal }): Promise<DrillReport> {
  const { installation, machine } = session;
  if (installation.strategy === "manual") {
    throw new SlipwayError("unavailable", "strategy manual goes back by hand, so that there is no rollback to drill", {
      hint: "rehearse your own steps on another machine",
    });
  }
  const directory = await prepareStateDirectory(installation.stateDir);
  const lock = await acquireLock(directory.path, "drill", { waitMs: 10_000 });
  const folder = await mkdtemp(join(options.folder ?? directory.path, "drill-"));
  try {
    const { state, live } = await session.present();
    const [previous] = state.previous;
    if (state.installed === undefined || previous === undefined || live.version === undefined)
      throw new SlipwayError("version_not_found", "there is no previous version to go back to", { hint: "a drill needs an upgrade that was made by slipway" });
    const copied = await copyInstallation({
      installation,
      machine,
      sections: sectionsOf(installation, previous.contract, state.installed.contract),
      folder,
      previous,
    });
    const updates = await prepareStateDirectory(copied.stateDir);
    await ensurePrivate(updates.packages);
    for (const [from, to] of [
      [directory.codeBackups(previous.version), updates.codeBackups(previous.version)],
      [packagesOf(directory, previous.version), packagesOf(updates, previous.version)],
    ] as const)
      if ((await lstatIfThere(from)) !== undefined) await cp(from, to, { recursive: true, preserveTimestamps: true });
    const sections = sectionsOf(copied);
    const id = newBackupId();
    const backup =
      sections.length === 0
        ? undefined
        : await createBackup({
            machine,
            product: installation.product,
            version: live.version,
            epochs: writtenEpochs(state.installed.contract?.compat),
            reason: `drill ${live.version} -> ${previous.version}`,
            sections,
            path: backupPath(updates.backups, id),
            onWarning: (text) => machine.observe({ event: "warning", text }),
          });
    const { backup: _, ...rest } = previous;
    const reference = backup === undefined ? {} : { backup: { id, required: true, done: true, sha256: backup.sha256 } };
    await writeState(updates.state, { ...state, previous: [{ ...rest, ...reference }], safetyBackups: [] });
    const rollback = rollbackOperation(openSession(await openView(copied, onCopy(machine))));
    const result = await rollback({ restoreState: backup === undefined ? "never" : "always", signal: options.signal }).catch((error: unknown) => {
      const failure = asSlipwayError(error);
      throw new SlipwayError(failure.code, `the drill failed on its copy: ${failure.message}`, {
        ...(failure.detail === undefined ? {} : { detail: failure.detail }),
        hint: "the live installation was only read; a real rollback would fail in the same way, so mend that first",
        cause: failure,
      });
    });
    const isHealthProven = installation.drill !== undefined;
    await appendLine(directory.history, {
      at: machine.clock.now().getTime(),
      id: newTransactionId(),
      from: result.from,
      to: result.to,
      phase: "drilled",
      rolledBack: true,
      rollbackFailed: false,
      reason: isHealthProven ? "drill" : "drill, health not proven",
      downtimeMs: result.report.rtoMs,
      runbook: result.report.steps.map(({ step, ms }) => ({ step: step as "stop", ms })),
    });
    const { from, to, report } = result;
    const notDone = notDoneBy(installation);
    return { result: isHealthProven ? "PASS" : "INCOMPLETE", from, to, report, stateBytes: backup?.bytes ?? 0, isHealthProven, notDone };
  } finally {
    await rm(folder, { recursive: true, force: true });
    await lock.release();
  }
}

const packagesOf = (directory: StateDirectory, version: string): string => join(directory.packages, version);

function notDoneBy({ packaged, strategy, container }: SettledInstallation): string | null {
  if (packaged !== undefined) return `${packaged.kind} rehearsed the package and installed nothing: unpacking it and its scripts are not in the times above`;
  if (strategy !== "container") return null;
  const place = container?.quadlet === undefined ? "compose file" : "quadlet";
  return `the image of before is on this machine, and a copy of the ${place} was pinned to it; the live container was not touched`;
}

type Copying = {
  readonly installation: SettledInstallation;
  readonly machine: Machine;
  readonly sections: readonly StateSection[];
  readonly folder: string;
  readonly previous: PreviousVersion;
};

/** Files of the product for strategies versions and inplace; for container the file that says which image runs. */
async function copyCode({ installation, machine, folder }: Copying, root: string): Promise<Pick<SettledInstallation, "container">> {
  const { strategy, container, packaged } = installation;
  if (strategy !== "container" && packaged === undefined) {
    await cp(installation.root, root, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    return {};
  }
  await mkdir(root, { mode: 0o700 });
  if (container === undefined || strategy !== "container") return {};
  const { pin } = containerService(installation, machine);
  if ((await lstatIfThere(pin.path)) !== undefined) await cp(pin.path, join(root, basename(pin.path)), { preserveTimestamps: true });
  return { container: withAbsoluteFiles(container, (path) => join(folder, "root", basename(path))) };
}

/** The root and the sections under `folder`, and an installation that knows only them. Dumped sections stay out: a copy has no database of its own. */
async function copyInstallation(copying: Copying): Promise<SettledInstallation> {
  const { installation, sections, folder, previous } = copying;
  const root = join(folder, "root");
  const code = await copyCode(copying, root);
  const places = new Map<string, string>();
  const copies: StateSection[] = [];
  await mkdir(join(folder, "state"), { mode: 0o700 });
  for (const section of sections) {
    if (section.path === undefined) continue;
    const path = join(folder, "state", section.name);
    if ((await lstatIfThere(section.path)) !== undefined) await cp(section.path, path, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    places.set(section.name, path);
    copies.push({ ...section, path });
  }
  const stateDir = join(folder, "slipway");
  const fill = (text: string): string =>
    text
      .replaceAll("{folder}", folder)
      .replaceAll("{root}", root)
      .replaceAll("{image}", installation.strategy === "container" ? (previous.ref ?? "") : "")
      .replaceAll("{package}", join(packagesOf(stateDirectoryOf(stateDir), previous.version), Object.keys(previous.files)[0] ?? ""))
      .replace(/\{section:([a-z0-9-]+)\}/g, (whole, name: string) => places.get(name) ?? whole);
  const { drill, service: _service, ...rest } = installation;
  // Without a way to run the copy nothing is proven but its files: that the live link or folder is there again.
  const live = installation.strategy === "versions" ? join(root, "current/.") : root;
  const isThere = { command: { argv: ["test", "-d", live], timeout_seconds: 10 } };
  const health = drill === undefined ? { ...installation.health, checks: [isThere], consecutive: 1, bake_seconds: 0 } : filled(drill.health, fill);
  return {
    ...rest,
    ...code,
    isCopy: true,
    root,
    stateDir,
    backup: { ...installation.backup, paths: [], sections: copies, quiesce: undefined, unquiesce: undefined },
    health,
    ...(drill === undefined ? {} : { service: filled(drill.service, fill) }),
  };
}

/** A part of the installation file with the copy's places in all of its texts. */
function filled<T>(value: T, fill: (text: string) => string): T {
  return JSON.parse(JSON.stringify(value), (_, one: unknown) => (typeof one === "string" ? fill(one) : one)) as T;
}
