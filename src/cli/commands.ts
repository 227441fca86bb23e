/** The table of all commands, by group: help, completion, the reference in docs/ and the tests derive from it. */

import { buildCommands } from "./build-commands.ts";
import type { CommandRow } from "./command.ts";
import { customerCommands } from "./customer-commands.ts";
import { serverCommands } from "./server-commands.ts";
import { signCommands } from "./sign-commands.ts";
import { toolCommands } from "./tool-commands.ts";
import { upgradeCommands } from "./upgrade-commands.ts";

export const commandGroups = ["Build", "Sign", "Serve and publish", "Customers", "Upgrade", "Tool"] as const;
export type CommandGroup = (typeof commandGroups)[number];

const rows: Readonly<Record<CommandGroup, readonly CommandRow[]>> = {
  Build: buildCommands,
  Sign: signCommands,
  "Serve and publish": serverCommands,
  Customers: customerCommands,
  Upgrade: upgradeCommands,
  Tool: toolCommands,
};

export const commands: readonly (CommandRow & { readonly group: CommandGroup })[] = commandGroups.flatMap((group) =>
  rows[group].map((row) => ({ ...row, group })),
);
