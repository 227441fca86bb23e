/** The table of all commands: help, completion, the reference in docs/ and the tests derive from it. */
import type { CommandRow } from "./command.ts";

export const commandGroups = ["Build", "Sign", "Serve and publish", "Customers", "Upgrade", "Tool"] as const;
export type CommandGroup = (typeof commandGroups)[number];

export const commands: readonly (CommandRow & { readonly group: CommandGroup })[] = [
  {
    group: "Tool",
    name: "completion",
    summary: "Print a shell completion script",
    arguments: [{ name: "shell", text: "bash, zsh or fish" }],
    examples: ["slipway completion bash"],
    load: () => import("./completion.ts"),
  },
];
