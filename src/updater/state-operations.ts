/** Backups and restores that an operator asks for, and the proofs of outcomes: the updater's operations beside the upgrade itself. */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { type StateSection, writtenEpochs } from "../model/upgrade-contract.ts";
import { backupPath, createBackup, hashedHostId, newBackupId, uncoveredEntries } from "./backup.ts";
import { type BackupManifest, verifyBackup } from "./backup-archive.ts";
import { type InstalledState, writeState } from "./installed-state.ts";
import { outcomesOf, proveOutcomes } from "./prove-outcomes.ts";
import type { BackupSummary, Updater } from "./operations.ts";
import { planRestore, restoreByHand } from "./restore-by-hand.ts";
import { sectionsOf } from "./sections.ts";
import { runHook } from "./service.ts";
import type { Session } from "./session.ts";
import { isSwitching } from "./transaction.ts";

export function stateOperations(session: Session): Pick<Updater, "backup" | "verifyBackup" | "backups" | "planRestore" | "restore" | "prove"> {
  const { installation, machine } = session;

  const sectionsNow = (state: InstalledState): readonly StateSection[] => {
    const sections = sectionsOf(installation, state.installed?.contract);
    if (sections.length > 0) return sections;
    throw new SlipwayError("installation_invalid", "nobody says what the state of this installation is", {
      place: installation.place,
      hint: "name it under backup: { paths: [...] } or { sections: [...] } in the installation file",
    });
  };

  return {
    backup: ({ output, isGzipped = false }) =>
      session.locked("backup", async (directory) => {
        const { state, live } = await session.present();
        const id = output === undefined ? newBackupId() : null;
        const path = output ?? backupPath(directory.backups, id ?? "");
        const { quiesce, unquiesce, timeout_seconds: timeoutSeconds } = installation.backup;
        const sections = sectionsNow(state);
        if (quiesce !== undefined) await runHook(machine, quiesce, { what: "quiesce", timeoutSeconds });
        try {
          const made = await createBackup({
            machine,
            product: installation.product,
            version: live.version,
            epochs: writtenEpochs(state.installed?.contract?.compat),
            reason: `by hand, ${live.version ?? "nothing installed"}`,
            sections,
            path,
            isGzipped,
            onWarning: (text) => machine.observe({ event: "warning", text }),
          });
          if (id !== null) await writeState(directory.state, { ...state, safetyBackups: [...state.safetyBackups, id] }); // nobody removes it but the operator
          return summaryOf(made.manifest, { id, path, sha256: made.sha256 });
        } finally {
          if (unquiesce !== undefined) await runHook(machine, unquiesce, { what: "unquiesce", timeoutSeconds });
        }
      }),

    verifyBackup: async ({ path }) => {
      const { manifest, sha256 } = await verifyBackup(path);
      const { state } = await session.present();
      const sections = sectionsOf(installation, state.installed?.contract);
      const saved = new Set(manifest.sections.map(({ name }) => name));
      const host = await hashedHostId();
      const warnings = [
        ...(manifest.product === installation.product ? [] : [`it is of ${manifest.product}, not of ${installation.product}`]),
        ...(manifest.hostIdHash === undefined || manifest.hostIdHash === host ? [] : ["it was made on another machine"]),
        ...sections.filter(({ name }) => !saved.has(name)).map(({ name }) => `the section ${name} is not in it`),
        ...(await uncoveredEntries(installation.stateDir, sections)).map((entry) => `${entry} belongs to no section, so no backup holds it`),
      ];
      return { ...summaryOf(manifest, { id: null, path, sha256 }), warnings };
    },

    backups: async () => {
      const { directory } = await session.present();
      const names = await readdir(directory.backups).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
        throw error;
      });
      const list: BackupSummary[] = [];
      for (const name of names.filter((one) => one.endsWith(".rbk")).sort()) {
        const path = join(directory.backups, name);
        const { manifest, sha256 } = await verifyBackup(path).catch((error: unknown) => {
          machine.observe({ event: "warning", text: error instanceof Error ? error.message : String(error) });
          return { manifest: undefined, sha256: "" };
        });
        if (manifest !== undefined) list.push(summaryOf(manifest, { id: name.slice(0, -".rbk".length), path, sha256 }));
      }
      return list.toSorted((left, right) => (left.createdAt < right.createdAt ? 1 : -1));
    },

    planRestore: async ({ path, isForced = false }) => {
      const { directory } = await session.present();
      await requireArchive(path);
      return (await planRestore({ installation, machine, directory }, { path, isForced })).plan;
    },

    restore: ({ path, isForced = false }) =>
      session.locked("restore", async (directory) => {
        await requireArchive(path);
        const unfinished = await session.journaled(directory);
        if (unfinished !== undefined && isSwitching(unfinished))
          throw new SlipwayError("conflict", `the upgrade to ${unfinished.to.version} is unfinished`, { hint: "`slipway upgrade resume` first" });
        return restoreByHand({ installation, machine, directory }, { path, isForced });
      }),

    prove: async ({ name, signal }) => {
      const { state, live } = await session.present();
      const outcomes = outcomesOf(installation, state.installed?.contract);
      return proveOutcomes({ machine, outcomes, name, version: live.version, signal });
    },
  };
}

function summaryOf(manifest: BackupManifest, at: { readonly id: string | null; readonly path: string; readonly sha256: string }): BackupSummary {
  const { product, version = null, createdAt, archiveOf, sections, totals } = manifest;
  return { ...at, product, version, createdAt, archiveOf, sections: sections.map(({ name }) => name), files: totals.files, bytes: totals.bytes };
}

async function requireArchive(path: string): Promise<void> {
  const stat = await lstat(path).catch(() => undefined);
  if (stat?.isFile() !== true)
    throw new SlipwayError("backup_failed", `there is no backup ${path}`, {
      detail: "no_file",
      hint: "`slipway backup list` shows those of this installation",
    });
}
