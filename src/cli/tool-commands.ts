/** Rows of the command table. Slipway itself. */
import type { CommandRow } from "./command.ts";

export const toolCommands: readonly CommandRow[] = [
  {
    name: "completion",
    summary: "Print a shell completion script",
    arguments: [{ name: "shell", text: "bash, zsh or fish" }],
    examples: ["slipway completion bash"],
    load: () => import("./completion.ts"),
  },
];
