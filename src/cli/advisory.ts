/** `slipway advisory publish|list|show|withdraw|affected`: security advisories, written once and published everywhere. */
import { basename } from "node:path";
import { z } from "zod";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { advisorySizeLimit, readAdvisoryFile } from "../releases/advisory-file.ts";
import { advisoryPublicationSchema, advisorySchema, affectedCustomerSchema, type WireAdvisory } from "../server/advisory-wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import type { Output } from "./output.ts";

async function readFile(invocation: Invocation) {
  const path = invocation.args[0] ?? "";
  let text: string;
  try {
    text = (await readFileBounded(path, advisorySizeLimit)).toString("utf8");
  } catch (error) {
    throw new SlipwayError("advisory_invalid", `cannot read the advisory: ${error instanceof Error ? error.message : String(error)}`, {
      place: path,
      cause: error,
    });
  }
  return readAdvisoryFile(text, basename(path));
}

export const runPublish: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const advisory = await readFile(invocation);
  const isDryRun = flagOption(options, "dryRun");
  const api = await openApi(invocation);
  const body = { advisory, backport: flagOption(options, "backport"), dryRun: isDryRun };
  const made = await api.call({ method: "POST", path: ["advisories"], body, schema: advisoryPublicationSchema });
  output.result(made);
  const { id, product, affectedVersions, fixedIn } = made.advisory;
  if (made.outcome === "unchanged") output.line(`${id} was published before; nothing changed`);
  else {
    const done = isDryRun ? "would be" : "is";
    output.line(`${id} ${done} ${made.outcome}: ${product} ${affectedVersions.join(", ")}, fixed in ${fixedIn}`);
    output.line(made.told.length === 0 ? "no customer has fetched an affected version" : `${isDryRun ? "to be told" : "told"}: ${made.told.join(", ")}`);
  }
  return 0;
};

export const runList: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const api = await openApi(invocation);
  const schema = z.object({ advisories: z.array(advisorySchema) });
  const { advisories } = await api.call({ method: "GET", path: ["advisories"], query: { product: textOption(options, "product") }, schema });
  output.result({ advisories });
  if (advisories.length === 0) output.line("no advisories; publish one with: slipway advisory publish FILE");
  else
    output.table(
      ["ADVISORY", "SEVERITY", "PRODUCT", "AFFECTED", "FIXED IN", "STATE", "TITLE"],
      advisories.map((one) => [one.id, one.severity, one.product, one.affected, one.fixedIn, one.state, one.title]),
    );
  return 0;
};

export const runShow: CommandRun = async (invocation) => {
  const { args, output } = invocation;
  const api = await openApi(invocation);
  const advisory = await api.call({ method: "GET", path: ["advisories", args[0] ?? ""], schema: advisorySchema });
  output.result(advisory);
  printAdvisory(output, advisory);
  return 0;
};

function printAdvisory(output: Output, advisory: WireAdvisory): void {
  output.line(output.colors.bold(`${advisory.id}: ${advisory.title}`));
  const rows = [
    ["product", advisory.product],
    ["state", advisory.state],
    ["severity", [advisory.severity, ...advisory.cves].join(", ")],
    ["affected", `${advisory.affected} (${advisory.affectedVersions.join(", ")})`],
    ["fixed in", advisory.fixedIn],
    ["credits", advisory.credits.join(", ")],
  ] as const;
  for (const [name, value] of rows) if (value !== "") output.line(`  ${name.padEnd(9)} ${value}`);
  for (const revision of advisory.revisions) output.line(`  ${`rev ${revision.number}`.padEnd(9)} ${revision.at} ${revision.summary}`);
  output.line();
  output.line(advisory.text.trimEnd());
  if (advisory.workaround !== null) output.line(`\nUntil the upgrade: ${advisory.workaround.trimEnd()}`);
  for (const reference of advisory.references) output.line(reference);
}

export const runWithdraw: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const reason = textOption(options, "reason");
  const api = await openApi(invocation);
  const path = ["advisories", args[0] ?? "", "withdraw"];
  const advisory = await api.call({ method: "POST", path, body: reason === undefined ? {} : { reason }, schema: advisorySchema });
  output.result(advisory);
  output.line(`${advisory.id} is withdrawn`);
  return 0;
};

export const runAffected: CommandRun = async (invocation) => {
  const { args, output } = invocation;
  const id = args[0] ?? "";
  const api = await openApi(invocation);
  const { customers } = await api.call({
    method: "GET",
    path: ["advisories", id, "customers"],
    schema: z.object({ customers: z.array(affectedCustomerSchema) }),
  });
  output.result({ advisory: id, customers });
  if (customers.length === 0) output.line("no customer has fetched an affected version");
  else
    output.table(
      ["CUSTOMER", "FETCHED", "LAST", "FIX"],
      customers.map((one) => [one.customer, one.versions.join(", "), one.lastPullAt, one.hasFix ? "fetched" : "not yet"]),
    );
  return 0;
};
