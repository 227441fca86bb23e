/** `slipway upgrade pin|unpin|hold|unhold|unblock|confirm|cancel|gc`: what an operator tells the updater between upgrades. */
import { SlipwayError } from "../model/errors.ts";
import { parseVersion } from "../model/version.ts";
import type { Control } from "../updater/control.ts";
import { type CommandRun, type Invocation, textOption } from "./command.ts";
import { updaterFor } from "./open-updater.ts";
import { formatBytes } from "./output.ts";
import { printInstalled } from "./upgrade.ts";

async function control(invocation: Invocation, change: Control, text: string): Promise<number> {
  const { pin, hold, blocked } = await (await updaterFor(invocation)).control(change);
  invocation.output.result({ pin: pin?.range ?? null, hold: hold ?? null, blocked });
  invocation.output.line(text);
  return 0;
}

export const runPin: CommandRun = (invocation) => {
  const [range = ""] = invocation.args;
  return control(invocation, { kind: "pin", range }, `only ${range} is installed from now on`);
};

export const runUnpin: CommandRun = (invocation) => control(invocation, { kind: "unpin" }, "every version of the channel is offered again");

export const runHold: CommandRun = (invocation) => {
  const reason = textOption(invocation.options, "reason") ?? "an operator holds them";
  const until = textOption(invocation.options, "until");
  const date = until === undefined ? undefined : new Date(until);
  if (date !== undefined && Number.isNaN(date.getTime())) throw new SlipwayError("usage", `${until ?? ""} is no date, as 2026-12-01 or 2026-12-01T08:00:00Z`);
  return control(invocation, { kind: "hold", reason, until: date }, `upgrades are held${date === undefined ? "" : ` until ${date.toISOString()}`}: ${reason}`);
};

export const runUnhold: CommandRun = (invocation) => control(invocation, { kind: "unhold" }, "upgrades are possible again");

export const runUnblock: CommandRun = (invocation) => {
  const version = parseVersion(invocation.args[0] ?? "");
  return control(invocation, { kind: "unblock", version }, `${version} is offered again`);
};

export const runConfirm: CommandRun = async (invocation) =>
  printInstalled(invocation, await (await updaterFor(invocation)).confirm({ signal: invocation.signal }));

export const runCancel: CommandRun = async (invocation) => {
  const { version } = await (await updaterFor(invocation)).cancel();
  invocation.output.result({ cancelled: version });
  invocation.output.line(`the upgrade to ${version} is given up; nothing that runs was changed`);
  return 0;
};

export const runGc: CommandRun = async (invocation) => {
  const { removedBytes } = await (await updaterFor(invocation)).gc();
  invocation.output.result({ removedBytes });
  invocation.output.line(removedBytes === 0 ? "there was nothing to remove" : `${formatBytes(removedBytes)} removed`);
  return 0;
};
