/**
 * A drill of the rollback, on a copy: the versions and the state are copied aside, the rollback's own code runs on the copy, and its time goes into
 * the history. The live installation is only read.
 *
 * Files alone prove how long going back takes; that the old version comes up with the old state is proven where the installation file says how a copy
 * runs (`drill:`). Otherwise the drill ends INCOMPLETE, and says so.
 */
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { type StateSection, writtenEpochs } from "../model/upgrade-contract.ts";
import { acquireLock } from "../io/lock.ts";
import { newTransactionId } from "./acquire.ts";
import { backupPath, createBackup, newBackupId } from "./backup.ts";
import { lstatIfThere } from "./file-tree.ts";
import { rollbackOperation } from "./go-back.ts";
import { appendLine } from "./history.ts";
import { writeState } from "./installed-state.ts";
import type { DrillReport } from "./operations.ts";
import { sectionsOf } from "./sections.ts";
import { openSession, type Session } from "./session.ts";
import type { SettledInstallation } from "./settle.ts";
import { prepareStateDirectory } from "./state-directory.ts";

/** Throws `version_not_found` without a previous version, `unavailable` for strategies package, container and manual, and what the rollback throws; the copy is removed in any case. */
export async function drillRollback(session: Session, options: { readonly folder: string | undefined; readonly signal: AbortSignal }): Promise<DrillReport> {
  const { installation, machine } = session;
  if (installation.strategy === "package" || installation.strategy === "container" || installation.strategy === "manual") {
    throw new SlipwayError(
      "unavailable",
      `strategy ${installation.strategy} does not lie in files of its own, so its rollback cannot be drilled on a copy of them`,
      {
        hint: "drill it in a container or on another machine: install, then `slipway upgrade rollback`",
      },
    );
  }
  const directory = await prepareStateDirectory(installation.stateDir);
  const lock = await acquireLock(directory.path, "drill", { waitMs: 10_000 });
  const folder = await mkdtemp(join(options.folder ?? directory.path, "drill-"));
  try {
    const { state, live } = await session.present();
    const [previous] = state.previous;
    if (state.installed === undefined || previous === undefined || live.version === undefined)
      throw new SlipwayError("version_not_found", "there is no previous version to go back to", { hint: "a drill needs an upgrade that was made by slipway" });
    const copied = await copyInstallation(installation, sectionsOf(installation, previous.contract, state.installed.contract), folder);
    const updates = await prepareStateDirectory(copied.stateDir);
    const kept = directory.codeBackups(previous.version);
    if ((await lstatIfThere(kept)) !== undefined) await cp(kept, updates.codeBackups(previous.version), { recursive: true, preserveTimestamps: true });
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
    const rollback = rollbackOperation(openSession(copied, machine));
    const result = await rollback({ restoreState: backup === undefined ? "never" : "always", signal: options.signal });
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
    return { result: isHealthProven ? "PASS" : "INCOMPLETE", from, to, report, stateBytes: backup?.bytes ?? 0, isHealthProven };
  } finally {
    await rm(folder, { recursive: true, force: true });
    await lock.release();
  }
}

/** The root and the sections under `folder`, and an installation that knows only them. Dumped sections stay out: a copy has no database of its own. */
async function copyInstallation(installation: SettledInstallation, sections: readonly StateSection[], folder: string): Promise<SettledInstallation> {
  const root = join(folder, "root");
  await cp(installation.root, root, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
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
  const fill = (text: string): string =>
    text
      .replaceAll("{folder}", folder)
      .replaceAll("{root}", root)
      .replace(/\{section:([a-z0-9-]+)\}/g, (whole, name: string) => places.get(name) ?? whole);
  const { drill, service: _service, ...rest } = installation;
  // Without a way to run the copy nothing is proven but its files: that the live link or folder is there again.
  const live = installation.strategy === "versions" ? join(root, "current/.") : root;
  const isThere = { command: { argv: ["test", "-d", live], timeout_seconds: 10 } };
  const health = drill === undefined ? { ...installation.health, checks: [isThere], consecutive: 1, bake_seconds: 0 } : filled(drill.health, fill);
  return {
    ...rest,
    root,
    stateDir: join(folder, "slipway"),
    backup: { ...installation.backup, paths: [], sections: copies, quiesce: undefined, unquiesce: undefined },
    health,
    ...(drill === undefined ? {} : { service: filled(drill.service, fill) }),
  };
}

/** A part of the installation file with the copy's places in all of its texts. */
function filled<T>(value: T, fill: (text: string) => string): T {
  return JSON.parse(JSON.stringify(value), (_, one: unknown) => (typeof one === "string" ? fill(one) : one)) as T;
}
