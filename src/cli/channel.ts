/** `slipway channel list|rank` and `slipway release promote|demote|rollout`: which releases are in which channel, and for whom. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { channelSchema } from "../server/grant-wire.ts";
import { releaseSummarySchema } from "../server/wire.ts";
import { type CommandRun, textOption } from "./command.ts";
import { type Reach, reachOption } from "./reach-option.ts";
import { openPlace, releasePath } from "./release-place.ts";
import { settleTargets } from "./tuf-targets.ts";

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

export const runPromote: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const channel = textOption(options, "to") ?? "stable";
  const reach = reachOption(options);
  const body = { channel, ...reach };
  const place = await openPlace(invocation);
  const { api, product } = place;
  const path = [...releasePath(product, args[0]), "promote"];
  const release = await api.call({ method: "POST", path, body, schema: releaseSummarySchema });
  output.result(release);
  output.line(`${product} ${release.version} is in ${channelsText(release)}`);
  await settleTargets(invocation, place, { version: release.version, channel, reach: { percent: 100, machines: 100, ...reach } });
  return 0;
};

export const runDemote: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const place = await openPlace(invocation);
  const { api, product } = place;
  const body = { channel: textOption(options, "from") ?? "stable" };
  const release = await api.call({ method: "POST", path: [...releasePath(product, args[0]), "demote"], body, schema: releaseSummarySchema });
  output.result(release);
  output.line(`${product} ${release.version} is in ${channelsText(release)}`);
  await settleTargets(invocation, place);
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
  const place = await openPlace(invocation);
  const { api, product } = place;
  const path = [...releasePath(product, args[0]), "rollout"];
  const release = await api.call({ method: "POST", path, body: { channel, ...reach }, schema: releaseSummarySchema });
  output.result(release);
  const texts = [
    ...(percent === undefined ? [] : [percent === 0 ? "is halted for customers who do not have it" : `reaches ${percent} % of the customers`]),
    ...(machines === undefined ? [] : [`is offered by their updaters to ${machines} % of the machines`]),
  ];
  output.line(`${product} ${release.version} in ${channel} ${texts.join(" and ")}`);
  await settleTargets(invocation, place, { version: release.version, channel, reach });
  return 0;
};
