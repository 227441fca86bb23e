/** `slipway key issue|list|rotate|restrict|revoke`: access pairs; a secret is printed once, with what the customer has to do with it. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import type { SetupPlace } from "../repositories/setup.ts";
import { isSetupClient, type SetupClient, setupBlocks, setupClients } from "../repositories/setup-clients.ts";
import { setupTextSchema } from "../server/advisory-wire.ts";
import { accessKeySchema, accessPairSchema } from "../server/wire.ts";
import { type ApiClient, openApi } from "./api-client.ts";
import { type CommandRun, flagOption, listOption, textOption } from "./command.ts";
import type { Output } from "./output.ts";

export const runIssue: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const customer = args[0] ?? "";
  const product = textOption(options, "product") ?? "";
  const days = textOption(options, "expires");
  const allowedFrom = listOption(options, "from");
  const api = await openApi(invocation);
  const pair = await api.call({
    method: "POST",
    path: ["customers", customer, "keys"],
    body: { product, ...(days === undefined ? {} : { expiresAt: inDays(days).toISOString() }), ...(allowedFrom === undefined ? {} : { allowedFrom }) },
    schema: accessPairSchema,
    isRepeatable: false,
  });
  const place: SetupPlace = { baseUrl: pair.address, product, channel: textOption(options, "channel") ?? "stable" };
  const input = { place, pair: { keyId: pair.id, secret: pair.secret }, apkKey: pair.apkKey, armoredKey: undefined, version: undefined };
  const clients = await usefulClients(api, pair.id, product);
  const setup = Object.fromEntries(setupBlocks(input, clients).map(({ title, text }) => [title, text]));
  output.result({ customer, product, ...pair, setup });
  printPair(output, { title: `access pair of ${customer} for ${product}, shown this once:`, ...pair });
  output.line();
  output.line("What the customer runs, one of these:");
  for (const [title, text] of Object.entries(setup)) {
    output.line();
    output.line(output.colors.bold(`# ${title}`));
    output.line(text.trimEnd());
  }
  return 0;
};

/** Those that find something in the formats of the product, as the server knows it. */
async function usefulClients(api: ApiClient, id: string, product: string): Promise<readonly SetupClient[]> {
  try {
    const { blocks } = await api.call({ method: "GET", path: ["keys", id, "setup"], query: { product }, schema: setupTextSchema });
    return blocks.flatMap(({ client }) => (isSetupClient(client) ? [client] : []));
  } catch {
    return setupClients; // the pair is issued and its secret is shown nowhere else: it must be printed, with a block too many rather than not at all
  }
}

export const runRotate: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const overlap = textOption(options, "overlap");
  const overlapHours = overlap === undefined ? undefined : hours(overlap);
  const api = await openApi(invocation);
  const pair = await api.call({
    method: "POST",
    path: ["keys", args[0] ?? "", "rotate"],
    body: { ...(overlapHours === undefined ? {} : { overlapHours }), ...(flagOption(options, "force") ? { force: true } : {}) },
    schema: accessPairSchema,
    isRepeatable: false,
  });
  output.result(pair);
  printPair(output, { title: "new secret, shown this once:", ...pair });
  if (pair.previousRetiresAt !== undefined) output.line(`the secret before works until ${pair.previousRetiresAt}`);
  return 0;
};

export const runRestrict: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const networks = listOption(options, "from");
  if ((networks === undefined) === !flagOption(options, "anywhere")) throw new SlipwayError("usage", "expected one of --from NETWORKS and --anywhere");
  const api = await openApi(invocation);
  const key = await api.call({
    method: "PUT",
    path: ["keys", args[0] ?? "", "allowed-from"],
    body: { networks: networks ?? null },
    schema: z.object({ id: z.string(), allowedFrom: z.array(z.string()).nullable() }),
  });
  output.result(key);
  output.line(`${key.id} may be used from ${key.allowedFrom?.join(", ") ?? "anywhere"}`);
  return 0;
};

export const runRevoke: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const reason = textOption(options, "reason");
  const api = await openApi(invocation);
  const revoked = await api.call({
    method: "POST",
    path: ["keys", args[0] ?? "", "revoke"],
    body: reason === undefined ? {} : { reason },
    schema: z.object({ id: z.string(), state: z.literal("revoked") }),
  });
  output.result(revoked);
  output.line(`${revoked.id} is revoked`);
  return 0;
};

export const runList: CommandRun = async (invocation) => {
  const { args, output } = invocation;
  const customer = args[0] ?? "";
  const api = await openApi(invocation);
  const keys = await listKeys(api, customer);
  output.result({ customer, keys });
  if (keys.length === 0) output.line(`${customer} has no access keys; issue one with: slipway key issue ${customer} --product PRODUCT`);
  else
    output.table(
      ["KEY", "PRODUCTS", "STATE", "SINCE"],
      keys.map((key) => [key.id, key.products.join(", "), stateOf(key), key.createdAt]),
    );
  return 0;
};

async function listKeys(api: ApiClient, customer: string): Promise<readonly z.output<typeof accessKeySchema>[]> {
  return (await api.call({ method: "GET", path: ["customers", customer, "keys"], schema: z.object({ keys: z.array(accessKeySchema) }) })).keys;
}

function stateOf(key: z.output<typeof accessKeySchema>): string {
  if (key.revokedAt !== null) return `revoked ${key.revokedAt}`;
  const overlap = key.secrets.find((secret) => secret.retiresAt !== null && Date.parse(secret.retiresAt) > Date.now());
  const ends = key.expiresAt === null ? "" : `, expires ${key.expiresAt}`;
  return overlap === undefined ? `live${ends}` : `live, old secret until ${overlap.retiresAt}${ends}`;
}

function printPair(output: Output, pair: { readonly title: string; readonly id: string; readonly secret: string }): void {
  output.line(pair.title);
  output.line(`  key id  ${pair.id}`);
  output.line(`  secret  ${pair.secret}`);
}

function inDays(text: string): Date {
  if (!/^\d{1,5}$/.test(text) || Number(text) === 0) throw new SlipwayError("usage", `--expires ${text}: expected a number of days`);
  return new Date(Date.now() + Number(text) * 86_400_000);
}

function hours(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new SlipwayError("usage", `--overlap ${text}: expected a number of hours`);
  return Number(text);
}
