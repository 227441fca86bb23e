/** `slipway channel list|rank` and `slipway release promote|demote|rollout`: which releases are in which channel, and for whom. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { channelSchema } from "../server/grant-wire.ts";
import { releaseSummarySchema } from "../server/wire.ts";
import { type CommandRun, flagOption, type OptionValues, textOption } from "./command.ts";
import { openPlace, releasePath } from "./release-place.ts";
import { noteUnsignedTargets } from "./tuf-targets.ts";

export const runList: CommandRun = async (invocation) => {
  const { output } = invocation;
  const { api, product } = await openPlace(invocation);
  const { channels } = await api.call({ method: "GET", path: ["products", product, "channels"], schema: z.object({ channels: z.array(channelSchema) }) });
  output.result({ product, channels });
  output.table(
    ["CHANNEL", "RANK", "NEWEST", "RELEASES"],
    channels.map((channel) => [channel.name, String(channel.rank), channel.versions[0] ?? "", String(channel.versions.length)]),
  );
  return 0;
};

export const runRank: CommandRun = async (invocation) => {
  const { args, output } = invocation;
  const [name = "", rank = ""] = args;
  if (!/^\d{1,4}$/.test(rank)) throw new SlipwayError("usage", `"${rank}" is no rank: a whole number, higher for what is more stable`);
  const { api, product } = await openPlace(invocation);
  const schema = z.object({ name: z.string(), rank: z.int() });
  const channel = await api.call({ method: "PUT", path: ["products", product, "channels", name], body: { rank: Number(rank) }, schema });
  output.result({ product, ...channel });
  output.line(`the channel ${channel.name} of ${product} has rank ${channel.rank}`);
  return 0;
};

type Summary = z.output<typeof releaseSummarySchema>;

/** `preview, stable (10 %, 25 % of their machines)`. */
export function channelsText(release: Pick<Summary, "channels">): string {
  return release.channels
    .map(({ name, percent, machines, bypass }) => {
      const parts = [...(percent < 100 ? [`${percent} %`] : []), ...(machines < 100 ? [`${machines} % of ${percent < 100 ? "their" : "the"} machines`] : [])];
      return bypass || parts.length === 0 ? name : `${name} (${parts.join(", ")})`;
    })
    .join(", ");
}

export type Reach = { readonly percent?: number; readonly machines?: number; readonly bypass?: boolean };

/** What --percent, --machines and --bypass say, as the API takes it. Throws `usage`. */
export function reachOption(options: OptionValues): Reach {
  const shares = (["percent", "machines"] as const).flatMap((name) => {
    const text = textOption(options, name);
    if (text === undefined) return [];
    if (!/^\d{1,3}(?:\.\d{1,2})?$/.test(text) || Number(text) > 100) throw new SlipwayError("usage", `--${name} ${text}: expected a number from 0 to 100`);
    return [[name, Number(text)] as const];
  });
  return { ...Object.fromEntries(shares), ...(flagOption(options, "bypass") ? { bypass: true } : {}) };
}

export const runPromote: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const channel = textOption(options, "to") ?? "stable";
  const body = { channel, ...reachOption(options) };
  const { api, product } = await openPlace(invocation);
  const path = [...releasePath(product, args[0]), "promote"];
  const release = await api.call({ method: "POST", path, body, schema: releaseSummarySchema });
  output.result(release);
  output.line(`${product} ${release.version} is in ${channelsText(release)}`);
  await noteUnsignedTargets(invocation, { api, product });
  return 0;
};

export const runDemote: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const { api, product } = await openPlace(invocation);
  const body = { channel: textOption(options, "from") ?? "stable" };
  const release = await api.call({ method: "POST", path: [...releasePath(product, args[0]), "demote"], body, schema: releaseSummarySchema });
  output.result(release);
  output.line(`${product} ${release.version} is in ${channelsText(release)}`);
  await noteUnsignedTargets(invocation, { api, product });
  return 0;
};

export const runRollout: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const channel = textOption(options, "channel") ?? "stable";
  const given = reachOption(options);
  const reach: Reach = given.bypass === true ? { percent: 100, ...given } : given;
  const { percent, machines } = reach;
  if (percent === undefined && machines === undefined)
    throw new SlipwayError(
      "usage",
      "how many customers see it: --percent 0 to 100; how many of their machines are offered it: --machines 0 to 100; or --bypass",
    );
  const { api, product } = await openPlace(invocation);
  const path = [...releasePath(product, args[0]), "rollout"];
  const release = await api.call({ method: "POST", path, body: { channel, ...reach }, schema: releaseSummarySchema });
  output.result(release);
  const texts = [
    ...(percent === undefined ? [] : [percent === 0 ? "is halted for customers who do not have it" : `reaches ${percent} % of the customers`]),
    ...(machines === undefined ? [] : [`is offered by their updaters to ${machines} % of the machines`]),
  ];
  output.line(`${product} ${release.version} in ${channel} ${texts.join(" and ")}`);
  return 0;
};
