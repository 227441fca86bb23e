/** Rows of the command table. The repository key of the server. */
import type { CommandRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

export const repositoryKeyCommands: readonly CommandRow[] = [
  {
    name: "repository-key status",
    summary: "List the keys that sign, or signed, the server's indexes",
    options: serverOptions,
    examples: ["slipway repository-key status"],
    load: async () => ({ run: (await import("./repository-key.ts")).runStatus }),
  },
  {
    name: "repository-key rotate",
    summary: "Make a new repository key; old and new sign every index until `repository-key finish`",
    description:
      "No customer has to do anything before the overlap ends; dnf and zypper fetch the new key by themselves, apt and apk need the new set-up text until then. A stolen key gets no overlap: --revoke-old ends it at once, and apt and apk refuse the indexes until they have the new one.",
    options: [{ flags: "--revoke-old <reason>", text: "the old key was stolen: it signs no more from now on" }, ...serverOptions],
    examples: ["slipway repository-key rotate", 'slipway repository-key rotate --revoke-old "copied from a backup"'],
    load: async () => ({ run: (await import("./repository-key.ts")).runRotate }),
  },
  {
    name: "repository-key finish",
    summary: "End the overlap: the new key signs alone, the old one's private half is deleted",
    description:
      "Customers of apt and apk who have the old key alone are refused from then on, and keep what is installed. An overlap of less than 7 days is ended with --force alone.",
    options: [{ flags: "--force", text: "end it although it was short" }, ...serverOptions],
    examples: ["slipway repository-key finish"],
    load: async () => ({ run: (await import("./repository-key.ts")).runFinish }),
  },
];
