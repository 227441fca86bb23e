/** Rows of the command table. Retention. */
import type { CommandRow, OptionRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

const productOption: OptionRow = { flags: "--product <name>", text: "by default the recipe's, else the only one on the server" };

export const retentionCommands: readonly CommandRow[] = [
  {
    name: "release retain",
    summary: "Print the retention plan, or apply it",
    description:
      "Without --apply nothing is done. The plan is named by its basis; --apply carries out exactly the plan that is printed, and with --basis only if it is still the one that you looked at. Versions that customers are pinned to, waypoints, the only way of an older version and the fix of an advisory stay.",
    options: [
      productOption,
      { flags: "--plan", text: "print the plan only (the default)" },
      { flags: "--dry-run", text: "the same" },
      { flags: "--apply", text: "do what is due" },
      { flags: "--basis <hex>", text: "refuse unless the plan of now has this basis" },
      { flags: "--recipe <file>", text: "the recipe; by default slipway.yaml in this folder, where there is one" },
      ...serverOptions,
    ],
    examples: ["slipway release retain --dry-run", "slipway release retain --apply"],
    load: async () => ({ run: (await import("./retention.ts")).runRetain }),
  },
  {
    name: "product retention",
    summary: "Show or change how versions of a product leave",
    description: "Stages of 0 days are passed over. Customers who pulled a version are told at every stage.",
    options: [
      productOption,
      { flags: "--keep <count>", text: "newest stable versions that stay, and as many previews" },
      { flags: "--announce <days>", text: "from the announcement to leaving the indexes" },
      { flags: "--unlist <days>", text: "from there to the answer 410" },
      { flags: "--grace <days>", text: "that the bytes stay after that" },
      { flags: "--keep-if-pulled <days>", text: 'a version that was pulled in so many days stays; "never" ends this' },
      { flags: "--automatic <on|off>", text: "the server does what is due by itself, every hour and after each publication" },
      ...serverOptions,
    ],
    examples: ["slipway product retention --product coequal", "slipway product retention --announce 30 --unlist 14 --grace 30 --automatic on"],
    load: async () => ({ run: (await import("./retention.ts")).runPolicy }),
  },
];
