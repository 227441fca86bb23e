/** Rows of the command table. Grants. */
import type { CommandRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

const customerArgument = { name: "customer", text: "whose grant" } as const;
const requiredProduct = { flags: "--product <name>", text: "of which product", isRequired: true } as const;

export const grantCommands: readonly CommandRow[] = [
  {
    name: "grant set",
    summary: "Say what a customer may read of a product; in force within a second",
    description:
      'Changes what is given and leaves the rest; "any" lifts a limit. What is not granted is in none of the customer\'s indexes. `slipway key issue` makes a grant without limits where there is none.',
    arguments: [customerArgument],
    options: [
      requiredProduct,
      { flags: "--channel <name>", text: "the least stable channel that he reads" },
      { flags: "--formats <list>", text: "some of deb, rpm, apk, oci, files, s3" },
      { flags: "--versions <range>", text: 'as ">=1.0.0 <3.0.0"' },
      { flags: "--until <day>", text: "the entitlement ends with this day (UTC), or at this instant" },
      { flags: "--lapse <mode>", text: "then: keep what was published before (default), or cut everything off", choices: ["keep", "cut"] },
      { flags: "--pin <version>", text: "list nothing newer than this published version, which is kept meanwhile" },
      { flags: "--allow-future", text: "with --pin: the version need not be published yet" },
      { flags: "--pin-until <day>", text: "the pin ends by itself" },
      { flags: "--unpin", text: "end the pin now" },
      ...serverOptions,
    ],
    examples: [
      "slipway grant set acme --product coequal --channel stable --until 2027-11-01",
      "slipway grant set acme --product coequal --pin 1.4.2 --pin-until 2027-01-31",
    ],
    load: async () => ({ run: (await import("./grant.ts")).runSet }),
  },
  {
    name: "grant show",
    summary: "Show what a customer may read of a product",
    arguments: [customerArgument],
    options: [requiredProduct, ...serverOptions],
    examples: ["slipway grant show acme --product coequal"],
    load: async () => ({ run: (await import("./grant.ts")).runShow }),
  },
  {
    name: "grant list",
    summary: "List grants",
    options: [{ flags: "--customer <name>", text: "only his" }, { flags: "--product <name>", text: "only of this product" }, ...serverOptions],
    examples: ["slipway grant list --product coequal"],
    load: async () => ({ run: (await import("./grant.ts")).runList }),
  },
  {
    name: "grant remove",
    summary: "Take a product from a customer; his keys stay for others",
    arguments: [customerArgument],
    options: [requiredProduct, ...serverOptions],
    examples: ["slipway grant remove acme --product coequal"],
    load: async () => ({ run: (await import("./grant.ts")).runRemove }),
  },
];
