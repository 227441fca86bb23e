/** Rows of the command table. Channels, promotion and rollout. */
import type { CommandRow, OptionRow } from "./command.ts";
import { serverOptions, tufKeyOptions } from "./shared-options.ts";

const productOption: OptionRow = { flags: "--product <name>", text: "by default the recipe's, else the only one on the server" };
const versionArgument = { name: "version", text: "as v1.4.2" } as const;
const machinesOption: OptionRow = {
  flags: "--machines <number>",
  text: "percent of each customer's machines that `slipway upgrade` offers it to; 100 by default",
};
const bypassOption: OptionRow = { flags: "--bypass", text: "a security release: no percentage holds it back" };

export const channelCommands: readonly CommandRow[] = [
  {
    name: "channel list",
    summary: "List the channels of a product with their newest release",
    options: [productOption, ...serverOptions],
    examples: ["slipway channel list --product coequal"],
    load: async () => ({ run: (await import("./channel.ts")).runList }),
  },
  {
    name: "channel rank",
    summary: "Say how stable a channel is; grants are limited by it",
    description: "stable has 100, preview 0 and any other name 0 until it is ranked. A grant of a channel reads it and all that rank higher.",
    arguments: [
      { name: "channel", text: "its name" },
      { name: "rank", text: "0 to 1000, higher for what is more stable" },
    ],
    options: [productOption, ...serverOptions],
    examples: ["slipway channel rank beta 50"],
    load: async () => ({ run: (await import("./channel.ts")).runRank }),
  },
  {
    name: "release promote",
    summary: "Put a published release into a channel as well, in every format at once",
    description: "Artifacts and their signatures stay as they are: the indexes, image tags and latest follow in one switch. A preview cannot go to stable.",
    arguments: [versionArgument],
    options: [
      { flags: "--to <channel>", text: "the channel; stable by default" },
      { flags: "--percent <number>", text: "how many of the customers see it at first; 100 by default" },
      machinesOption,
      bypassOption,
      ...tufKeyOptions,
      productOption,
      ...serverOptions,
    ],
    examples: ["slipway release promote v1.5.0 --to stable --percent 10"],
    load: async () => ({ run: (await import("./channel.ts")).runPromote }),
  },
  {
    name: "release demote",
    summary: "Take a release out of a channel; it stays in its others",
    arguments: [versionArgument],
    options: [{ flags: "--from <channel>", text: "the channel; stable by default" }, ...tufKeyOptions, productOption, ...serverOptions],
    examples: ["slipway release demote v1.5.0 --from stable"],
    load: async () => ({ run: (await import("./channel.ts")).runDemote }),
  },
  {
    name: "release rollout",
    summary: "Say how many of the customers see a release, and how many of their machines are offered it; 0 halts it",
    description:
      "Which customers come first differs from release to release; who sees it keeps it while the number rises. When it is lowered, those keep it who have pulled it already. All others see the product as if the release were not there.",
    arguments: [versionArgument],
    options: [
      { flags: "--percent <number>", text: "0 to 100; as it is by default" },
      { flags: "--machines <number>", text: "percent of each customer's machines that `slipway upgrade` offers it to; as it is by default" },
      { flags: "--channel <name>", text: "stable by default" },
      bypassOption,
      ...tufKeyOptions,
      productOption,
      ...serverOptions,
    ],
    examples: ["slipway release rollout v1.5.0 --percent 50", "slipway release rollout v1.5.0 --machines 25"],
    load: async () => ({ run: (await import("./channel.ts")).runRollout }),
  },
];
