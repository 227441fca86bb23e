/** `slipway guard install` and `slipway guard exec`: words and printing, no rules of their own. */
import { resolve } from "node:path";
import { builtInVersion, ownProgram } from "../io/built-in.ts";
import { SlipwayError } from "../model/errors.ts";
import { applyGuard, planGuard } from "../updater/guard-install.ts";
import { replacesProgram } from "../updater/guard-program.ts";
import { findInstallation, type Installation, loadInstallation } from "../updater/installation.ts";
import { thisMachine } from "../updater/machine.ts";
import { supervise } from "../updater/supervisor.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { watchUpdater } from "./open-updater.ts";

async function installationOf({ options, cwd }: Invocation): Promise<Installation> {
  return loadInstallation(await findInstallation(textOption(options, "installation"), cwd));
}

export const runGuardInstall: CommandRun = async (invocation) => {
  const { options, output, cwd, env } = invocation;
  const [hasSystemd, hasShell] = [flagOption(options, "systemd"), flagOption(options, "shell")];
  if (!hasSystemd && !hasShell) throw new SlipwayError("usage", "name --systemd, --shell or both");
  const installation = await installationOf(invocation);
  const named = textOption(options, "slipway");
  const slipway = resolve(cwd, named ?? ownProgram());
  const plan = planGuard({
    installation,
    hasSystemd,
    hasShell,
    slipway,
    // Who names a program has his reasons; what runs from source is many files.
    isReplaced: named === undefined && builtInVersion !== undefined && (await replacesProgram(installation, { ...thisMachine(() => undefined), env }, slipway)),
    unitDir: resolve(cwd, textOption(options, "unitDir") ?? "/etc/systemd/system"),
  });
  const isDry = flagOption(options, "dryRun");
  if (!isDry) await applyGuard(plan, installation);
  output.result({ shellGuard: plan.shellGuard ?? null, copied: plan.copied ?? null, files: plan.units?.files ?? [], isApplied: !isDry });
  for (const { path, text } of plan.units?.files ?? []) output.line(isDry ? `# ${path}\n${text}` : `wrote ${path}`);
  if (plan.copied !== undefined) output.line(`${isDry ? "# would keep" : "keeps"} a copy of ${plan.copied} for the guard: the upgrade replaces it`);
  if (plan.shellGuard !== undefined) output.line(`${isDry ? "# would copy" : "copied"} the shell guard to ${plan.shellGuard}`);
  return 0;
};

export const runGuardExec: CommandRun = async (invocation) => {
  const { args, output, signal, env } = invocation;
  const installation = await installationOf(invocation);
  if (installation.service?.supervisor !== true) {
    throw new SlipwayError("installation_invalid", "guard exec needs service: { supervisor: true }", { place: installation.place });
  }
  const exitCode = await supervise({ installation, machine: { ...thisMachine(watchUpdater(output)), env }, argv: args, signal });
  // A trial that is being finished in this process stops where it is, as in a power cut: the next start goes on.
  process.exit(exitCode);
};
