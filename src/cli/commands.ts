/** The table of all commands, by group: help, completion, the reference in docs/ and the tests derive from it. */

import { agentCommands } from "./agent-commands.ts";
import { auditCommands } from "./audit-commands.ts";
import { buildCommands } from "./build-commands.ts";
import type { CommandRow } from "./command.ts";
import { customerCommands } from "./customer-commands.ts";
import { mirrorCommands } from "./mirror-commands.ts";
import { noticeCommands } from "./notice-commands.ts";
import { serverCommands } from "./server-commands.ts";
import { signCommands } from "./sign-commands.ts";
import { toolCommands } from "./tool-commands.ts";
import { tufCommands } from "./tuf-commands.ts";
import { upgradeCommands } from "./upgrade-commands.ts";

export const commandGroups = [
  "Build",
  "Sign",
  "TUF",
  "Serve and publish",
  "Customers",
  "Advisories and notices",
  "Audit",
  "Mirror",
  "Upgrade",
  "Tool",
] as const;
export type CommandGroup = (typeof commandGroups)[number];

const rows: Readonly<Record<CommandGroup, readonly CommandRow[]>> = {
  Build: buildCommands,
  Sign: signCommands,
  TUF: tufCommands,
  "Serve and publish": serverCommands,
  Customers: customerCommands,
  "Advisories and notices": noticeCommands,
  Audit: auditCommands,
  Mirror: mirrorCommands,
  Upgrade: [...upgradeCommands, ...agentCommands],
  Tool: toolCommands,
};

export const commands: readonly (CommandRow & { readonly group: CommandGroup })[] = commandGroups.flatMap((group) =>
  rows[group].map((row) => ({ ...row, group })),
);
