/** Rows of the command table. Customers, their access pairs and what they did. */
import type { CommandRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

export const customerCommands: readonly CommandRow[] = [
  {
    name: "customer add",
    summary: "Add a customer",
    arguments: [{ name: "name", text: "lower-case letters, digits and dashes" }],
    options: serverOptions,
    examples: ["slipway customer add acme"],
    load: async () => ({ run: (await import("./customer.ts")).runAdd }),
  },
  {
    name: "customer list",
    summary: "List the customers",
    options: serverOptions,
    examples: ["slipway customer list"],
    load: async () => ({ run: (await import("./customer.ts")).runList }),
  },
  {
    name: "key issue",
    summary: "Issue an access pair and print it once, with the customer's set-up",
    arguments: [{ name: "customer", text: "who gets it" }],
    options: [
      { flags: "--product <name>", text: "the product that it may read", isRequired: true },
      { flags: "--channel <name>", text: "the channel in the set-up text; stable by default" },
      { flags: "--expires <days>", text: "the pair ends after so many days" },
      ...serverOptions,
    ],
    examples: ["slipway key issue acme --product coequal"],
    load: async () => ({ run: (await import("./key.ts")).runIssue }),
  },
  {
    name: "key list",
    summary: "List a customer's access keys, without secrets",
    arguments: [{ name: "customer", text: "whose keys" }],
    options: serverOptions,
    examples: ["slipway key list acme"],
    load: async () => ({ run: (await import("./key.ts")).runList }),
  },
  {
    name: "key rotate",
    summary: "Give a key a second secret; the old one works on for a while",
    arguments: [{ name: "key", text: "key id" }],
    options: [{ flags: "--overlap <hours>", text: "how long the old secret lives on; 72 by default" }, ...serverOptions],
    examples: ["slipway key rotate SLKABCDEFGHIJKLMNOPQRST --overlap 24"],
    load: async () => ({ run: (await import("./key.ts")).runRotate }),
  },
  {
    name: "key revoke",
    summary: "End a key for good, at once",
    arguments: [{ name: "key", text: "key id" }],
    options: [{ flags: "--reason <text>", text: "for the audit trail" }, ...serverOptions],
    examples: ["slipway key revoke SLKABCDEFGHIJKLMNOPQRST"],
    load: async () => ({ run: (await import("./key.ts")).runRevoke }),
  },
  {
    name: "audit",
    summary: "Print the audit trail: who did and downloaded what, when, with which result",
    options: [
      { flags: "--product <name>", text: "only of this product" },
      { flags: "--customer <name>", text: "only of this customer" },
      { flags: "--action <action>", text: "only these, as download, login-failed, release.publish" },
      { flags: "--limit <count>", text: "the newest so many; 100 by default" },
      { flags: "--follow", text: "go on printing new events until Ctrl-C" },
      ...serverOptions,
    ],
    examples: ["slipway audit --product coequal --limit 20", "slipway audit --follow --json"],
    load: () => import("./audit.ts"),
  },
];
