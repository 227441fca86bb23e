/** Puts the guard on the machine: the shell script's copy in the updater's folder, the systemd units, and what systemd must be told. */
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { builtInShellGuard } from "../io/built-in.ts";
import { requireCommand } from "../io/command.ts";
import { guardProgramPath, keepGuardProgram } from "./guard-program.ts";
import { type GuardUnits, guardUnits } from "./guard-units.ts";
import type { Installation } from "./installation.ts";
import { ensurePrivate, prepareStateDirectory, stateDirectoryOf } from "./state-directory.ts";

export type GuardPlan = {
  readonly shellGuard: string | undefined;
  readonly units: GuardUnits | undefined;
  /** The executable of which the guard gets a copy of its own: the upgrade replaces it. */
  readonly copied: string | undefined;
};

const systemdTimeoutMs = 60_000;

export function planGuard(options: {
  readonly installation: Installation;
  readonly hasSystemd: boolean;
  readonly hasShell: boolean;
  readonly slipway: string;
  /** An upgrade of this installation replaces `slipway`. */
  readonly isReplaced: boolean;
  readonly unitDir: string;
}): GuardPlan {
  const { installation, hasSystemd, hasShell, isReplaced } = options;
  const directory = stateDirectoryOf(installation.stateDir);
  const shellGuard = hasShell ? join(directory.guard, "guard.sh") : undefined;
  const slipway = isReplaced ? guardProgramPath(directory) : options.slipway;
  return { shellGuard, units: hasSystemd ? guardUnits({ ...options, slipway, shellGuard }) : undefined, copied: isReplaced ? options.slipway : undefined };
}

/** Does what the plan says. It may be repeated; an older drop-in is replaced. */
export async function applyGuard(plan: GuardPlan, installation: Installation): Promise<void> {
  // The folder's being there makes the updater keep guard/trial.env.
  const directory = await prepareStateDirectory(installation.stateDir);
  await ensurePrivate(directory.guard);
  if (plan.shellGuard !== undefined) {
    const script = builtInShellGuard ?? (await readFile(new URL("./guard.sh", import.meta.url), "utf8"));
    await writeFileAtomic(plan.shellGuard, script, { mode: 0o755 });
  }
  if (plan.copied !== undefined) await keepGuardProgram(directory, plan.copied);
  if (plan.units === undefined) return;
  for (const { path, text } of plan.units.files) {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeFileAtomic(path, text, { mode: 0o644 });
  }
  await requireCommand(["systemctl", "daemon-reload"], { timeoutMs: systemdTimeoutMs });
  await requireCommand(["systemctl", "enable", "--", plan.units.resumeUnit], { timeoutMs: systemdTimeoutMs });
}
