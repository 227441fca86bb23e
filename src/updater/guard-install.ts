/** Puts the guard on the machine: the shell script's copy in the updater's folder, the systemd units, and what systemd must be told. */
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { builtInShellGuard } from "../io/built-in.ts";
import { requireCommand } from "../io/command.ts";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { type GuardUnits, guardUnits } from "./guard-units.ts";
import type { Installation } from "./installation.ts";
import { ensurePrivate, prepareStateDirectory, stateDirectoryOf } from "./state-directory.ts";

export type GuardPlan = {
  readonly shellGuard: string | undefined;
  readonly units: GuardUnits | undefined;
};

const systemdTimeoutMs = 60_000;

export function planGuard(options: {
  readonly installation: Installation;
  readonly hasSystemd: boolean;
  readonly hasShell: boolean;
  readonly slipway: string;
  readonly unitDir: string;
}): GuardPlan {
  const { installation, hasSystemd, hasShell } = options;
  const shellGuard = hasShell ? join(stateDirectoryOf(installation.stateDir).guard, "guard.sh") : undefined;
  return { shellGuard, units: hasSystemd ? guardUnits({ ...options, shellGuard }) : undefined };
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
  if (plan.units === undefined) return;
  for (const { path, text } of plan.units.files) {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeFileAtomic(path, text, { mode: 0o644 });
  }
  await requireCommand(["systemctl", "daemon-reload"], { timeoutMs: systemdTimeoutMs });
  await requireCommand(["systemctl", "enable", "--", plan.units.resumeUnit], { timeoutMs: systemdTimeoutMs });
}
