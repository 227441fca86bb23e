/** Rows of the command table. Access pairs that look abused. */
import type { CommandRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

const keyArgument = { name: "key", text: "key id" } as const;

export const abuseCommands: readonly CommandRow[] = [
  {
    name: "key suspicious",
    summary: "List pairs that look passed on or stolen, with the reasons",
    description: "The server scores each pair's last 24 hours every five minutes: docs/abuse.md has the signals and the thresholds.",
    options: serverOptions,
    examples: ["slipway key suspicious"],
    load: async () => ({ run: (await import("./abuse.ts")).runSuspicious }),
  },
  {
    name: "key show",
    summary: "Show the score of one pair and its reasons",
    arguments: [keyArgument],
    options: serverOptions,
    examples: ["slipway key show SLKABCDEFGHIJKLMNOPQRST"],
    load: async () => ({ run: (await import("./abuse.ts")).runShow }),
  },
  {
    name: "key resume",
    summary: "Let a suspended pair work again",
    arguments: [keyArgument],
    options: serverOptions,
    examples: ["slipway key resume SLKABCDEFGHIJKLMNOPQRST"],
    load: async () => ({ run: (await import("./abuse.ts")).runResume }),
  },
  {
    name: "key exempt",
    summary: "Say that a pair's way of working is fine, as for a fleet of build machines",
    description: "It is scored as before; nobody is told, and it is neither slowed down nor suspended.",
    arguments: [keyArgument],
    options: [{ flags: "--end", text: "the exemption ends" }, ...serverOptions],
    examples: ["slipway key exempt SLKABCDEFGHIJKLMNOPQRST"],
    load: async () => ({ run: (await import("./abuse.ts")).runExempt }),
  },
];
