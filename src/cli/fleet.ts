/** `slipway fleet upgrade`: words and printing, no rules of its own. */
import { resolve } from "node:path";
import { type FleetReport, type HostState, planFleet, upgradeFleet } from "../agent/fleet.ts";
import { loadFleet } from "../agent/fleet-file.ts";
import { runCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import { thisMachine } from "../updater/machine.ts";
import { type CommandRun, flagOption, type Invocation } from "./command.ts";
import { versionOption } from "./open-updater.ts";
import type { Output } from "./output.ts";

export const run: CommandRun = async (invocation) => {
  const { args, output, signal, cwd, env } = invocation;
  const file = resolve(cwd, args[0] ?? "");
  const fleet = await loadFleet(file, env);
  const { sleep } = thisMachine(() => undefined);
  const surroundings = {
    fleet,
    runCommand,
    sleep,
    signal,
    observe: (event: Parameters<Parameters<typeof planFleet>[0]["observe"]>[0]) => {
      output.event(event);
      output.note(`${output.colors.dim(`${event.host}:`)} ${event.step} ${event.text}`);
    },
  };
  const plan = await planFleet(surroundings, versionOption(invocation, "version"));
  if (flagOption(invocation.options, "dryRun")) {
    output.result({ product: fleet.product, version: plan.version, hosts: plan.hosts.map(({ host, from, isDone }) => ({ host: host.name, from, isDone })) });
    output.table(
      ["host", "runs", "then"],
      plan.hosts.map(({ host, from, isDone }) => [
        host.name,
        from ?? "nothing",
        isDone ? "stays" : `${host.drain === undefined ? "" : "drain, "}install ${plan.version}`,
      ]),
    );
    return 0;
  }
  return printReport(invocation, await upgradeFleet(surroundings, plan, `${file}.record.json`));
};

const stateTexts: Readonly<Record<HostState, string>> = {
  upgraded: "upgraded",
  already: "had it already",
  rolled_back: "rolled back, healthy on its old version",
  failed: "failed",
  waits: "stays as it is",
};

function printReport({ output, signal }: Invocation, { product, version, isHalted, hosts }: FleetReport): number {
  const failed = hosts.find(({ error }) => error !== undefined)?.error;
  output.result({
    product,
    version,
    isHalted,
    hosts: hosts.map(({ error, ...host }) => ({ ...host, ...(error === undefined ? {} : { error: error.toJSON() }) })),
  });
  output.table(
    ["host", "ran", "now", "took", "why"],
    hosts.map(({ host, from, state, isDrained, seconds, error }) => [
      host,
      from ?? "nothing",
      `${stateTexts[state]}${isDrained ? ", out of service" : ""}`,
      seconds === 0 ? "-" : `${seconds} s`,
      error === undefined ? "" : `${error.code}: ${error.message.split("\n")[0] ?? ""}`,
    ]),
  );
  return sayEnd(output, { failed, isInterrupted: signal.aborted });
}

function sayEnd(output: Output, end: { readonly failed: SlipwayError | undefined; readonly isInterrupted: boolean }): number {
  if (end.failed !== undefined) {
    output.note("the rollout is halted; the same command goes on where it ended, once the cause is gone");
    return end.failed.exitCode;
  }
  if (end.isInterrupted)
    throw new SlipwayError("interrupted", "interrupted; what an agent has begun goes on there", { hint: "the same command goes on where it ended" });
  return 0;
}
