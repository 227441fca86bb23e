/** `slipway release retain` and `slipway product retention`: the plan, carrying it out, and the policy behind it. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { retentionPlanSchema, retentionPolicySchema, type WireRetentionPlan } from "../server/retention-wire.ts";
import { type CommandRun, flagOption, type OptionValues, textOption } from "./command.ts";
import { formatBytes, type Output } from "./output.ts";
import { openPlace } from "./release-place.ts";

/** Without --apply the plan is printed; with it the very same plan is sent back by its basis, and refused where anything changed since. */
export const runRetain: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const isDry = flagOption(options, "dryRun") || flagOption(options, "plan");
  if (flagOption(options, "apply") && isDry) throw new SlipwayError("usage", "--apply and --dry-run exclude each other");
  const { api, product } = await openPlace(invocation);
  const path = ["products", product, "retention"];
  const plan = await api.call({ method: "GET", path, schema: retentionPlanSchema });
  const basis = textOption(options, "basis");
  if (basis !== undefined && basis !== plan.basis) {
    throw new SlipwayError("plan_stale", `the plan with basis ${basis.slice(0, 12)} is not the one of now (${plan.basis.slice(0, 12)})`);
  }
  printPlan(output, plan);
  const isAnythingDue = plan.restores.length > 0 || plan.steps.some((step) => step.isDue);
  if (!flagOption(options, "apply")) {
    output.result({ plan, applied: false });
    if (isAnythingDue) output.line(`nothing was done; carry it out with: slipway release retain --product ${product} --apply --basis ${plan.basis}`);
    return 0;
  }
  const schema = z.object({ plan: retentionPlanSchema, quarantinedBytes: z.int() });
  const outcome = await api.call({ method: "POST", path, body: { basis: plan.basis }, schema, isRepeatable: false });
  output.result({ plan: outcome.plan, applied: true, quarantinedBytes: outcome.quarantinedBytes });
  const done = outcome.plan.steps.filter((step) => step.isDue);
  const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`;
  output.line(
    `${count(done.length, "step")} done, ${count(outcome.plan.retires.length, "release")} retired, ${formatBytes(outcome.quarantinedBytes)} will be freed`,
  );
  return 0;
};

function printPlan(output: Output, plan: WireRetentionPlan): void {
  output.line(`retention of ${plan.product}: keep ${plan.keep}; basis ${plan.basis}`);
  output.line(`stays: ${plan.keeps.length === 0 ? "nothing" : plan.keeps.join(", ")}`);
  for (const { version, blockedBy } of plan.blocked)
    output.line(`stays although it is old: ${version} (${blockedBy.map(({ kind, text }) => `${kind}: ${text}`).join("; ")})`);
  for (const version of plan.restores) output.line(`is listed again: ${version}`);
  if (plan.steps.length === 0) {
    output.line("leaves: nothing");
    return;
  }
  output.table(
    ["LEAVES", "NEXT", "WHEN", "FILES", "SIZE", "REPLACED BY", "WHY"],
    plan.steps.map((one) => [
      one.version,
      one.step,
      one.isDue ? "now" : (one.dueAt ?? ""),
      String(one.files),
      formatBytes(one.bytes),
      one.replacement ?? "",
      one.why,
    ]),
  );
}

function daysOption(options: OptionValues, name: string, flag: string): number | undefined {
  const text = textOption(options, name);
  if (text === undefined) return undefined;
  if (!/^\d{1,4}$/.test(text)) throw new SlipwayError("usage", `${flag} ${text}: expected a whole number`);
  return Number(text);
}

/** Shows the policy; with options, changes it first. */
export const runPolicy: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const pulled = textOption(options, "keepIfPulled");
  const automatic = textOption(options, "automatic");
  if (automatic !== undefined && automatic !== "on" && automatic !== "off") throw new SlipwayError("usage", `--automatic ${automatic}: expected on or off`);
  const change = {
    keep: daysOption(options, "keep", "--keep"),
    announceDays: daysOption(options, "announce", "--announce"),
    unlistDays: daysOption(options, "unlist", "--unlist"),
    graceDays: daysOption(options, "grace", "--grace"),
    keepIfPulledDays: pulled === "never" ? null : daysOption(options, "keepIfPulled", "--keep-if-pulled"),
    automatic: automatic === undefined ? undefined : automatic === "on",
  };
  if (change.keep === 0) throw new SlipwayError("usage", "--keep 0: expected 1 or more; the newest stable version always stays");
  const { api, product } = await openPlace(invocation);
  const path = ["products", product, "retention-policy"];
  const isChange = Object.values(change).some((value) => value !== undefined);
  const policy = await api.call({ method: isChange ? "PUT" : "GET", path, ...(isChange ? { body: change } : {}), schema: retentionPolicySchema });
  output.result({ product, ...policy });
  const { keep, announceDays, unlistDays, graceDays, keepIfPulledDays } = policy;
  output.line(`${product} keeps the newest ${keep} versions${keepIfPulledDays === null ? "" : `, and what was pulled in the last ${keepIfPulledDays} days`}`);
  output.line(`a version that leaves: announced ${announceDays} days before, then unlisted for ${unlistDays}; its bytes stay ${graceDays} days longer`);
  output.line(policy.automatic ? "the server does this by itself" : "`slipway release retain --apply` does it");
  return 0;
};
