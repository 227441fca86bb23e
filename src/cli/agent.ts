/** `slipway agent`, `slipway agent token`, `slipway agent unit`: words and printing, no rules of their own. */
import { dirname, resolve } from "node:path";
import { addToken, removeToken, type Role, roles } from "../agent/roles.ts";
import { serveAgent } from "../agent/serve.ts";
import { agentUnit } from "../agent/unit.ts";
import { ownProgram } from "../io/built-in.ts";
import { SlipwayError } from "../model/errors.ts";
import { findInstallation, type Installation, loadInstallation } from "../updater/installation.ts";
import { thisMachine } from "../updater/machine.ts";
import { type CommandRun, flagOption, type Invocation, listOption, textOption } from "./command.ts";
import { watchUpdater } from "./open-updater.ts";
import { untilStopped } from "./until-stopped.ts";

async function installationOf({ options, cwd }: Invocation): Promise<Installation> {
  return loadInstallation(await findInstallation(textOption(options, "installation"), cwd));
}

export const runAgent: CommandRun = async (invocation) => {
  const { output, signal, env } = invocation;
  const installation = await installationOf(invocation);
  const show = watchUpdater(output);
  const running = await serveAgent({
    installation,
    machine: { ...thisMachine(show), env },
    onEvent: (event) => {
      if (event.event === "update.progress") show(event.data);
      else if (event.event === "update.operation") {
        const { id, kind, by, outcome } = event.subject;
        const error = outcome?.kind === "failed" ? outcome.error.toJSON() : undefined;
        output.event({ event: "operation", id, kind, by, state: outcome?.kind ?? "running", ...(error === undefined ? {} : { error }) });
        output.note(`${kind} for ${by}: ${outcome === undefined ? "begins" : outcome.kind === "done" ? "done" : outcome.error.message}`);
      } else output.event({ event: "offer", ...event.check });
    },
    onFailure: (error) => {
      output.event({ event: "schedule_failed", error: error.toJSON() });
      output.note(`${output.colors.yellow("warning:")} ${error.message}`);
    },
  });
  try {
    output.event({ event: "started", product: installation.product, addresses: running.addresses });
    output.line(`upgrades of ${installation.product} are controlled at ${running.addresses.join(" and ")}`);
    await untilStopped(signal);
    output.note("stopping; an upgrade that has switched is brought to its end first");
  } finally {
    await running.stop();
  }
  output.result({ event: "stopped" });
  return 0;
};

function tokenFile({ agent, place }: Installation): string {
  if (agent.tokens === undefined)
    throw new SlipwayError("installation_invalid", "agent: { tokens: … } names no file", {
      place,
      hint: "name one that only its owner may write, as agent: { tokens: /etc/slipway/tokens.json }",
    });
  return resolve(dirname(place), agent.tokens);
}

const isRole = (text: string): text is Role => roles.some((role) => role === text);

export const runToken: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const file = tokenFile(await installationOf(invocation));
  const [name = ""] = args;
  if (flagOption(options, "revoke")) {
    await removeToken(file, name);
    output.result({ revoked: name });
    output.line(`the token ${name} is taken back`);
    return 0;
  }
  const granted = listOption(options, "role") ?? ["read"];
  if (granted.length === 0 || !granted.every(isRole)) throw new SlipwayError("usage", `--role knows ${roles.join(", ")}`, { place: "--role" });
  const token = await addToken(file, name, granted);
  output.result({ name, roles: granted, token });
  output.note(`the token of ${name} (${granted.join(", ")}), shown this one time:`);
  output.line(token);
  return 0;
};

export const runUnit: CommandRun = async (invocation) => {
  const { options, output, cwd } = invocation;
  const unit = agentUnit(await installationOf(invocation), resolve(cwd, textOption(options, "slipway") ?? ownProgram()));
  output.result(unit);
  output.line(unit.text.trimEnd());
  output.note(`write it to /etc/systemd/system/${unit.name}, then: systemctl daemon-reload && systemctl enable --now ${unit.name}`);
  return 0;
};
