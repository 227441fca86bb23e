/** Rows of the command table. Advisories, notices, and where they go. */
import { setupClients } from "../repositories/setup-clients.ts";
import { noticeKinds } from "../store/outbox.ts";
import type { ArgumentRow, CommandRow, OptionRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

const advisoryArgument: ArgumentRow = { name: "advisory", text: "its id, as ACME-2026-001" };
const webhookArgument: ArgumentRow = { name: "webhook", text: "its id" };
const customerArgument: ArgumentRow = { name: "customer", text: "whose contact" };
const limitOption: OptionRow = { flags: "--limit <count>", text: "the newest so many; 100 by default" };

export const noticeCommands: readonly CommandRow[] = [
  {
    name: "advisory publish",
    summary: "Publish a security advisory from a file, or its corrected form under the same id",
    description:
      "The fix must be published and of the newest minor (C8), and the affected range must end before it. One switch puts the advisory into the YUM repository's updateinfo; OSV, CSAF, Atom and the portal have it at once; customers who fetched an affected version and not the fix are told. The same file again changes nothing.",
    arguments: [{ name: "file", text: "YAML: id, product, title, severity, cves, affected, fixed_in, text, workaround, references, credits" }],
    options: [
      { flags: "--backport", text: "the fix may be of an older line than the newest minor" },
      { flags: "--dry-run", text: "only check, and say who would be told" },
      ...serverOptions,
    ],
    examples: ["slipway advisory publish ACME-2026-001.yaml --dry-run", "slipway advisory publish ACME-2026-001.yaml"],
    load: async () => ({ run: (await import("./advisory.ts")).runPublish }),
  },
  {
    name: "advisory list",
    summary: "List the advisories, withdrawn ones included",
    options: [{ flags: "--product <name>", text: "only of this product" }, ...serverOptions],
    examples: ["slipway advisory list --product coequal"],
    load: async () => ({ run: (await import("./advisory.ts")).runList }),
  },
  {
    name: "advisory show",
    summary: "Show one advisory with its revisions",
    arguments: [advisoryArgument],
    options: serverOptions,
    examples: ["slipway advisory show ACME-2026-001"],
    load: async () => ({ run: (await import("./advisory.ts")).runShow }),
  },
  {
    name: "advisory withdraw",
    summary: "Take an advisory back; the feeds say so",
    arguments: [advisoryArgument],
    options: [{ flags: "--reason <text>", text: "stands in the advisory's history, for everybody to read" }, ...serverOptions],
    examples: ['slipway advisory withdraw ACME-2026-001 --reason "cannot be exploited"'],
    load: async () => ({ run: (await import("./advisory.ts")).runWithdraw }),
  },
  {
    name: "advisory affected",
    summary: "List the customers that fetched an affected version, and whether they have the fix",
    arguments: [advisoryArgument],
    options: serverOptions,
    examples: ["slipway advisory affected ACME-2026-001"],
    load: async () => ({ run: (await import("./advisory.ts")).runAffected }),
  },
  {
    name: "customer set",
    summary: "Set where a customer is told notices by mail",
    arguments: [customerArgument],
    options: [{ flags: "--mail <address>", text: "one plain address" }, { flags: "--no-mail", text: "end its mails" }, ...serverOptions],
    examples: ["slipway customer set acme --mail ops@acme.example"],
    load: async () => ({ run: (await import("./customer-contact.ts")).runSet }),
  },
  {
    name: "customer contact",
    summary: "Show where a customer is told notices, and which it ended",
    arguments: [customerArgument],
    options: serverOptions,
    examples: ["slipway customer contact acme"],
    load: async () => ({ run: (await import("./customer-contact.ts")).runShow }),
  },
  {
    name: "key setup",
    summary: "Print what a customer pastes for its tools, with the pair's id and never its secret",
    arguments: [{ name: "key", text: "key id" }],
    options: [
      { flags: "--for <client>", text: "only this one; all by default", choices: setupClients },
      { flags: "--product <name>", text: "by default the pair's only one" },
      { flags: "--channel <name>", text: "stable by default" },
      ...serverOptions,
    ],
    examples: ["slipway key setup SLKABCDEFGHIJKLMNOPQRST --for apt"],
    load: () => import("./key-setup.ts"),
  },
  {
    name: "notice list",
    summary: "List the notices: what customers and you are told",
    options: [{ flags: "--customer <name>", text: "only to this customer" }, limitOption, ...serverOptions],
    examples: ["slipway notice list --customer acme"],
    load: async () => ({ run: (await import("./notice.ts")).runList }),
  },
  {
    name: "notice log",
    summary: "List the deliveries: mails and webhook calls that wait, were sent, or were given up",
    options: [{ flags: "--to <target>", text: "only to this mail address or webhook id" }, limitOption, ...serverOptions],
    examples: ["slipway notice log --to ops@acme.example"],
    load: async () => ({ run: (await import("./notice.ts")).runLog }),
  },
  {
    name: "notice send",
    summary: "Send what is due now; the server does so by itself within seconds",
    options: [{ flags: "--dry-run", text: "show what would be sent" }, ...serverOptions],
    examples: ["slipway notice send --dry-run"],
    load: async () => ({ run: (await import("./notice.ts")).runSend }),
  },
  {
    name: "webhook add",
    summary: "Add an endpoint of yours that is called for notices; its secret is printed once",
    description:
      "Calls are POSTs in the form of Standard Webhooks, signed, and tried again for a day and a half. Only https into the public Internet is called, and no redirect followed, unless the setting webhook-hosts names the host.",
    arguments: [{ name: "url", text: "https address" }],
    options: [{ flags: "--events <kinds>", text: `comma-separated: ${Object.keys(noticeKinds).join(", ")}; all by default` }, ...serverOptions],
    examples: ["slipway webhook add https://hooks.acme.example/slipway --events advisory,release"],
    load: async () => ({ run: (await import("./webhook.ts")).runAdd }),
  },
  {
    name: "webhook list",
    summary: "List the webhooks",
    options: serverOptions,
    examples: ["slipway webhook list"],
    load: async () => ({ run: (await import("./webhook.ts")).runList }),
  },
  {
    name: "webhook test",
    summary: "Call a webhook now with a test message",
    arguments: [webhookArgument],
    options: serverOptions,
    examples: ["slipway webhook test 01J00000000000000000000000"],
    load: async () => ({ run: (await import("./webhook.ts")).runTest }),
  },
  {
    name: "webhook remove",
    summary: "Remove a webhook; what waits for it is given up",
    arguments: [webhookArgument],
    options: serverOptions,
    examples: ["slipway webhook remove 01J00000000000000000000000"],
    load: async () => ({ run: (await import("./webhook.ts")).runRemove }),
  },
];
