/** A vendor with a server, a customer's pair, the vendor's public keys in a folder of the customer's, and a `mirror.yaml` beside them. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandEnd, createVendor, demoRecipe, runSlipway, type Vendor } from "../support/vendor.ts";

export type Customer = {
  /** Holds mirror.yaml, the keys, and `mirror/`. */
  readonly folder: string;
  /** `<folder>/mirror` */
  readonly directory: string;
  readonly env: Record<string, string>;
  /** The real command at the customer. */
  readonly run: (words: readonly string[]) => Promise<CommandEnd>;
  /** Runs with --json, demands exit 0, returns the result. */
  readonly result: (words: readonly string[]) => Promise<Record<string, unknown>>;
  readonly writeSettings: (extra?: SettingsText) => Promise<void>;
};

export type SettingsText = { readonly selection?: readonly string[]; readonly apkKey?: string };

/** A server with published versions of the product acme: deb, rpm, archives; its keys and a pair. */
export async function createMirroredVendor(
  t: TestContext,
  versions: readonly string[],
  recipe: string = demoRecipe,
  prepare: (vendor: Vendor) => Promise<void> = async () => undefined,
): Promise<{ vendor: Vendor; customer: Customer }> {
  const vendor = await createVendor(t, recipe);
  await vendor.makeKeys();
  await prepare(vendor);
  await vendor.serve();
  await vendor.release("1.4.0");
  for (const version of versions) await vendor.release(version);
  return { vendor, customer: await createCustomer(t, vendor) };
}

export async function createCustomer(t: TestContext, vendor: Vendor, name = "acme-corp"): Promise<Customer> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-customer-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const pair = await vendor.pair(name);
  await mkdir(join(folder, "mirror"));
  await writeFile(join(folder, "secret"), `${pair.secret}\n`, { mode: 0o600 });
  for (const file of ["acme.asc", "acme.minisign.pub"]) {
    const answer = await fetch(`${vendor.url}/keys/${file}`);
    await writeFile(join(folder, file), Buffer.from(await answer.arrayBuffer()));
  }
  const env: Record<string, string> = { SLIPWAY_KEYS_DIR: join(folder, "keys"), SLIPWAY_KEY_PASSPHRASE: "customer passphrase" };
  const run = (words: readonly string[]): Promise<CommandEnd> => runSlipway(words, { cwd: folder, env });
  const customer: Customer = {
    folder,
    directory: join(folder, "mirror"),
    env,
    run,
    result: async (words) => {
      const end = await run([...words, "--json"]);
      if (end.exitCode !== 0) throw new Error(`slipway ${words.join(" ")}: exit ${end.exitCode}\n${end.stdout}\n${end.stderr}`);
      return JSON.parse(end.stdout.trim().split("\n").at(-1) ?? "{}") as Record<string, unknown>;
    },
    writeSettings: async ({ selection = ["formats: [apt, yum, files]"], apkKey } = {}) => {
      const lines = [
        `source: ${vendor.url}`,
        `pair: { key_id: ${pair.id}, secret: "file:secret" }`,
        "directory: mirror",
        "products:",
        "  acme:",
        ...selection.map((line) => `    ${line}`),
        `    keys: { openpgp: acme.asc, minisign: acme.minisign.pub${apkKey === undefined ? "" : `, apk: ${apkKey}`} }`,
        "",
      ];
      await writeFile(join(folder, "mirror.yaml"), lines.join("\n"));
    },
  };
  await customer.writeSettings();
  return customer;
}

/** A file of the tree that readers see. */
export function readTree(customer: Customer, path: string): Promise<Buffer> {
  return readFile(join(customer.directory, "current", path));
}
