/** The commands over the audit trail. */
import type { CommandRow, OptionRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

const filters: readonly OptionRow[] = [
  { flags: "--product <name>", text: "only of this product" },
  { flags: "--customer <name>", text: "only of this customer" },
];

const actionFilter: OptionRow = { flags: "--action <action>", text: "only these, as download, login-failed, release.publish" };

export const auditCommands: readonly CommandRow[] = [
  {
    name: "audit",
    summary: "Print the audit trail: who did and downloaded what, when, with which result",
    options: [
      ...filters,
      actionFilter,
      { flags: "--limit <count>", text: "the newest so many; 100 by default" },
      { flags: "--follow", text: "go on printing new events until Ctrl-C" },
      ...serverOptions,
    ],
    examples: ["slipway audit --product coequal --limit 20", "slipway audit --follow --json"],
    load: () => import("./audit.ts"),
  },
  {
    name: "audit export",
    summary: "Write the whole trail, or a part of it, as JSON lines or CSV, oldest first",
    options: [
      { flags: "--format <format>", text: "what to write", choices: ["jsonl", "csv"], default: "jsonl" },
      { flags: "--output <file>", text: "a new file, which appears when it is whole; standard output without it" },
      { flags: "--since <date>", text: "from this day or instant on: 2026-11-01, 2026-11-01T12:00:00Z" },
      { flags: "--until <date>", text: "before this day or instant" },
      ...filters,
      actionFilter,
      ...serverOptions,
    ],
    examples: ["slipway audit export --since 2026-11-01 --format csv --output november.csv", "slipway audit export --customer acme | jq .path"],
    load: () => import("./audit-export.ts"),
  },
  {
    name: "audit verify",
    summary: "Check that no administrative event was changed, taken out or put in",
    description:
      "Every administrative event carries a hash over itself and the one before. The command prints the newest hash: note it somewhere else, and give it back with --expect to prove that the trail up to there is the one of that day. Exit code 20 where the chain is broken.",
    options: [{ flags: "--expect <hash>", text: "a newest hash noted earlier, which the chain must contain" }, ...serverOptions],
    examples: ["slipway audit verify"],
    load: () => import("./audit-verify.ts"),
  },
  {
    name: "audit usage",
    summary: "Who pulled which versions, most recently used first",
    options: [{ flags: "--days <count>", text: "so many days back, today included; 90 by default" }, ...filters, ...serverOptions],
    examples: ["slipway audit usage --product coequal", "slipway audit usage --customer acme --days 30"],
    load: () => import("./audit-usage.ts"),
  },
];
