/** Rows of the command table. Customers, their access pairs and what they did. */
import { abuseCommands } from "./abuse-commands.ts";
import type { CommandRow } from "./command.ts";
import { grantCommands } from "./grant-commands.ts";
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
  ...grantCommands,
  {
    name: "key issue",
    summary: "Issue an access pair and print it once, with the customer's set-up",
    arguments: [{ name: "customer", text: "who gets it" }],
    options: [
      { flags: "--product <name>", text: "the product that it may read", isRequired: true },
      { flags: "--channel <name>", text: "the channel in the set-up text; stable by default" },
      { flags: "--expires <days>", text: "the pair ends after so many days" },
      { flags: "--from <networks>", text: "only from these, comma-separated, as 203.0.113.0/24,2001:db8::/32" },
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
    options: [
      { flags: "--overlap <hours>", text: "how long the old secret lives on; 72 by default" },
      { flags: "--force", text: "also while the secret before still lives: it then ends now" },
      ...serverOptions,
    ],
    examples: ["slipway key rotate SLKABCDEFGHIJKLMNOPQRST --overlap 24"],
    load: async () => ({ run: (await import("./key.ts")).runRotate }),
  },
  {
    name: "key restrict",
    summary: "Say from which networks a key may be used; in force within a second",
    description: "Behind a proxy the server must know it (trusted-proxies), else every caller has the proxy's address.",
    arguments: [{ name: "key", text: "key id" }],
    options: [
      { flags: "--from <networks>", text: "comma-separated, as 203.0.113.0/24,2001:db8::/32" },
      { flags: "--anywhere", text: "lift the restriction" },
      ...serverOptions,
    ],
    examples: ["slipway key restrict SLKABCDEFGHIJKLMNOPQRST --from 203.0.113.0/24"],
    load: async () => ({ run: (await import("./key.ts")).runRestrict }),
  },
  ...abuseCommands,
  {
    name: "key revoke",
    summary: "End a key for good, at once",
    arguments: [{ name: "key", text: "key id" }],
    options: [{ flags: "--reason <text>", text: "for the audit trail" }, ...serverOptions],
    examples: ["slipway key revoke SLKABCDEFGHIJKLMNOPQRST"],
    load: async () => ({ run: (await import("./key.ts")).runRevoke }),
  },
];
