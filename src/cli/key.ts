/** `slipway key issue|list|rotate|revoke`: access pairs; a secret is printed once, with what the customer has to do with it. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { type ApkSetupKey, apkSetup, aptAuth, awsSetup, netrcLine, type SetupPair, type SetupPlace, yumRepo } from "../repositories/setup.ts";
import { accessKeySchema, accessPairSchema } from "../server/wire.ts";
import { type ApiClient, openApi } from "./api-client.ts";
import { type CommandRun, textOption } from "./command.ts";
import type { Output } from "./output.ts";

export const runIssue: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const customer = args[0] ?? "";
  const product = textOption(options, "product") ?? "";
  const days = textOption(options, "expires");
  const api = await openApi(invocation);
  const pair = await api.call({
    method: "POST",
    path: ["customers", customer, "keys"],
    body: { product, ...(days === undefined ? {} : { expiresAt: inDays(days).toISOString() }) },
    schema: accessPairSchema,
    isRepeatable: false,
  });
  const place: SetupPlace = { baseUrl: pair.address, product, channel: textOption(options, "channel") ?? "stable" };
  const setup = setupTexts(place, { keyId: pair.id, secret: pair.secret }, pair.apkKey);
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

export const runRotate: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const overlap = textOption(options, "overlap");
  const overlapHours = overlap === undefined ? undefined : hours(overlap);
  const api = await openApi(invocation);
  const pair = await api.call({
    method: "POST",
    path: ["keys", args[0] ?? "", "rotate"],
    body: overlapHours === undefined ? {} : { overlapHours },
    schema: accessPairSchema,
    isRepeatable: false,
  });
  output.result(pair);
  printPair(output, { title: "new secret, shown this once:", ...pair });
  if (pair.previousRetiresAt !== undefined) output.line(`the secret before works until ${pair.previousRetiresAt}`);
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

/** Text to hand over. The secret stands only in files that the customer writes with mode 0600, never in a command's arguments. */
function setupTexts(place: SetupPlace, pair: SetupPair, apkKey: ApkSetupKey): Readonly<Record<string, string>> {
  const { baseUrl, product, channel } = place;
  const intoFile = (path: string, content: string): string => `sudo install -m 600 /dev/stdin ${path} <<'END'\n${content}END\n`;
  const query = channel === "stable" ? "" : `?channel=${channel}`;
  return {
    "apt (Debian, Ubuntu): curl asks for the secret":
      intoFile(`/etc/apt/auth.conf.d/${product}.conf`, aptAuth(place, pair)) +
      `curl -fsS -u ${pair.keyId} '${baseUrl}/setup/${product}/${product}.sources${query}' | sudo tee /etc/apt/sources.list.d/${product}.sources >/dev/null\n` +
      `sudo apt-get update && sudo apt-get install ${product}\n`,
    "dnf (Fedora, RHEL and kin)": `${intoFile(`/etc/yum.repos.d/${product}.repo`, yumRepo(place, pair))}sudo dnf install ${product}\n`,
    "apk (Alpine), in root's shell": `${apkSetup(place, pair, apkKey)}apk add -U ${product}\n`,
    "aws (S3 and ECR commands; AWS CLI 2.13 and later also take AWS_ENDPOINT_URL)": awsSetup(place, pair),
    "curl, wget and scripts: a line for ~/.netrc (mode 0600)": `${netrcLine(place, pair)}curl --fail --remote-name --netrc ${baseUrl}/releases/${product}/latest/SHA256SUMS\n`,
    "slipway upgrade: in the installation file, with the secret in a file of its own (mode 0600)": `source:\n  url: ${baseUrl}\n  key_id: ${pair.keyId}\n  secret: file:/etc/${product}/slipway-secret\n`,
  };
}

function inDays(text: string): Date {
  if (!/^\d{1,5}$/.test(text) || Number(text) === 0) throw new SlipwayError("usage", `--expires ${text}: expected a number of days`);
  return new Date(Date.now() + Number(text) * 86_400_000);
}

function hours(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new SlipwayError("usage", `--overlap ${text}: expected a number of hours`);
  return Number(text);
}
