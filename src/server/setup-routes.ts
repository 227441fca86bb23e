/** What a customer's machine needs once: public keys (for anybody) and the set-up files (behind the pair). */
import { createHash } from "node:crypto";
import { z } from "zod";
import { grantsOfKey } from "../access/grants.ts";
import { requireAccessKey } from "../access/key-owner.ts";
import { mayRead } from "../access/principal.ts";
import { digestFromHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { newestStable } from "../model/version.ts";
import { findProduct, listApkReleaseKeys, readReleaseKeys } from "../releases/products.ts";
import type { FeedPlace } from "../repositories/advisory.ts";
import { apkSetup, aptAuth, aptSources, yumRepo } from "../repositories/setup.ts";
import { offeredFormats } from "../releases/offered-formats.ts";
import { askForSecret, clientsFor, isSetupClient, secretVariable, setupBlocks, setupClients } from "../repositories/setup-clients.ts";
import { readApkPublicKey } from "../trust/apk-signature.ts";
import { exportPublicKeys } from "../trust/openpgp.ts";
import { readCredentials } from "./caller.ts";
import type { ServerContext } from "./context.ts";
import { absent } from "./error-rim.ts";
import { feedPlace } from "./feed-place.ts";
import { productKeys, securityPolicyText } from "./product-keys.ts";
import { publicAddress } from "./public-address.ts";
import { type Call, type RouteRow, route } from "./route.ts";
import { sendBody } from "./send.ts";
import { setupTextSchema } from "./advisory-wire.ts";

/** Exported keyrings by the text they were made from; few, since products are few and their keys rarely change. */
const exportLimit = 1_000;
const exports = new Map<string, Promise<Buffer>>();

/** The repository key first: apt reads only the first block of an `.asc`. rpm wants each key in its own block. */
async function exportKeys(context: ServerContext, releaseKey: string | undefined, format: "gpg" | "asc-blocks"): Promise<Buffer> {
  const texts = [context.repositoryKey.publicText, ...(releaseKey === undefined ? [] : [releaseKey])];
  const key = `${format} ${createHash("sha256").update(texts.join("\n")).digest("hex")}`;
  const known = exports.get(key);
  if (known !== undefined) return known;
  if (exports.size >= exportLimit) exports.clear();
  const made = exportPublicKeys(
    texts.map((text) => Buffer.from(text)),
    format,
  ).then((bytes) => Buffer.from(bytes));
  exports.set(key, made);
  made.catch(() => exports.delete(key));
  return made;
}

/** Throws `not_found` alike for an unknown product and a kind of key that it has not. */
async function readKeyFile(context: ServerContext, name: FeedPlace & { readonly ending: string }): Promise<Buffer> {
  const product = await findProduct(context.store, name.product);
  if (product === undefined) throw absent();
  const keys = await readReleaseKeys(context.store, product.name);
  switch (name.ending) {
    case "asc":
      return exportKeys(context, keys.openpgp, "asc-blocks");
    case "gpg":
      return exportKeys(context, keys.openpgp, "gpg");
    case "minisign.pub":
      if (keys.minisign === undefined) throw absent();
      return Buffer.from(keys.minisign);
    case "json": {
      const listed = (await productKeys(context, product.name)).map(({ path, ...key }) => ({ ...key, url: name.baseUrl + path }));
      return Buffer.from(`${JSON.stringify({ product: product.name, keys: listed }, undefined, 2)}\n`);
    }
    case "txt":
      return Buffer.from(securityPolicyText(name, await productKeys(context, product.name)));
    default:
      throw absent();
  }
}

/** Names in /etc/apk/keys by PEM: a name is a hash of the key itself. */
const apkKeyFiles = new Map<string, string>();

function apkKeyFileOf(pem: string): string {
  const known = apkKeyFiles.get(pem);
  if (known !== undefined) return known;
  if (apkKeyFiles.size >= exportLimit) apkKeyFiles.clear();
  const { keyFile } = readApkPublicKey(pem);
  apkKeyFiles.set(pem, keyFile);
  return keyFile;
}

/** The repository's key, or the release key of a product. Throws `not_found`. */
async function readApkKeyFile(context: ServerContext, keyFile: string): Promise<Buffer> {
  const { apkKey, overlap } = context.repositoryKey;
  if (keyFile === apkKey.keyFile) return Buffer.from(apkKey.publicText);
  if (keyFile === overlap?.apkKey.keyFile) return Buffer.from(overlap.apkKey.publicText);
  const pem = (await listApkReleaseKeys(context.store)).find((text) => apkKeyFileOf(text) === keyFile);
  if (pem === undefined) throw absent();
  return Buffer.from(pem);
}

const keyMedia: Readonly<Record<string, string>> = { gpg: "application/pgp-keys", json: "application/json; charset=utf-8" };

async function sendKey(call: Call, bytes: Buffer, mediaType = "text/plain; charset=utf-8"): Promise<void> {
  await sendBody({
    context: call.context,
    reply: call.reply,
    body: {
      digest: digestFromHex(createHash("sha256").update(bytes).digest("hex")),
      size: bytes.length,
      modifiedAt: new Date(0), // the tag says whether it changed; keys carry their own dates
      mediaType,
      isImmutable: false,
      isPublic: true,
      bytes,
    },
  });
}

const setupEndings = [".sources", ".conf", ".repo"] as const;

/** The pair is in the file where the tool needs it there: the caller has just presented it, and only the caller gets the answer. */
function setupText(call: Call, wanted: { readonly product: string; readonly file: string; readonly channel: string }): string {
  const ending = setupEndings.find((candidate) => wanted.file === `${wanted.product}${candidate}`);
  if (ending === undefined && wanted.file !== "apk.sh") throw absent();
  const credentials = readCredentials(call.request.headers.authorization);
  const pair = credentials.kind === "pair" ? { keyId: credentials.keyId, secret: credentials.secret } : { keyId: "YOUR-KEY-ID" };
  const place = { baseUrl: publicAddress(call), product: wanted.product, channel: wanted.channel };
  if (ending === undefined) return apkSetup(place, pair, call.context.repositoryKey.apkKey);
  if (ending === ".sources") return aptSources(place, call.context.repositoryKey.publicText);
  return ending === ".conf" ? aptAuth(place, pair) : yumRepo(place, pair);
}

async function setupAnswer(
  call: Call,
  id: string,
  wanted: { readonly product?: string | undefined; readonly channel: string; readonly client?: string | undefined },
): Promise<z.output<typeof setupTextSchema>> {
  const { repositoryKey, listings } = call.context;
  const key = await requireAccessKey(call.context.store, id);
  const product = wanted.product ?? (key.products.length === 1 ? key.products[0] : undefined);
  if (product === undefined)
    throw new SlipwayError("usage", `the pair reads several products: ${key.products.join(", ")}`, { hint: "name one with --product" });
  if (!key.products.includes(product)) throw new SlipwayError("not_found", `the pair ${id} does not read ${product.slice(0, 80)}`);
  if (wanted.client !== undefined && !isSetupClient(wanted.client)) {
    throw new SlipwayError("usage", `"${wanted.client}" is none of ${setupClients.join(", ")}`, { hint: "name a client that has a block" });
  }
  const listing = await listings.present(product);
  const version = newestStable((listing?.releases ?? []).filter((release) => release.channel === wanted.channel).map((release) => release.version));
  const input = {
    place: { baseUrl: publicAddress(call), product, channel: wanted.channel },
    pair: { keyId: key.id, secret: `$${secretVariable}` },
    apkKey: repositoryKey.apkKey,
    armoredKey: repositoryKey.publicText,
    version,
  };
  const grant = (await grantsOfKey(call.context.store, id)).get(product);
  const offered = listing === undefined ? undefined : await offeredFormats(call.context.store, listing.productId, grant);
  const blocks = setupBlocks(input, wanted.client !== undefined ? [wanted.client] : offered === undefined ? setupClients : clientsFor(offered));
  return { customer: key.customer, product, ask: askForSecret, blocks: blocks.map((block) => ({ ...block })) };
}

export const setupRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/keys/:file",
    access: "open",
    tag: "setup",
    summary:
      "Public keys: <product>.asc and .gpg (repository and release keys), <product>.minisign.pub; their fingerprints as <product>.json, and as text for a security policy as <product>.txt",
    params: z.object({ file: z.string().max(100) }),
    success: { status: 200, media: "text/plain", text: "The keys" },
    run: async (call) => {
      const match = /^(.+?)\.(asc|gpg|minisign\.pub|json|txt)$/.exec(call.params.file);
      if (match?.[1] === undefined || match[2] === undefined) throw absent();
      const bytes = await readKeyFile(call.context, { ...feedPlace(call, match[1]), ending: match[2] });
      await sendKey(call, bytes, keyMedia[match[2]]);
    },
  }),
  route({
    method: "GET",
    path: "/keys/apk/:file",
    access: "open",
    tag: "setup",
    summary: "A public key for /etc/apk/keys by its name there: the repository's, or the one that signs a product's apks",
    params: z.object({ file: z.string().max(100) }),
    success: { status: 200, media: "text/plain", text: "The key as PEM" },
    run: async (call) => sendKey(call, await readApkKeyFile(call.context, call.params.file)),
  }),
  route({
    method: "GET",
    path: "/yum/:product/:channel/repodata/repomd.xml.key",
    access: "open",
    tag: "setup",
    summary: "The same keys where zypper looks for them",
    params: z.object({ product: z.string().max(64), channel: z.string().max(64) }),
    success: { status: 200, media: "text/plain", text: "The keys" },
    run: async (call) => sendKey(call, await readKeyFile(call.context, { ...feedPlace(call, call.params.product), ending: "asc" })),
  }),
  route({
    method: "GET",
    path: "/setup/:product/:file",
    access: "customer",
    tag: "setup",
    summary: "Set-up files: <product>.sources and .conf (apt), <product>.repo (dnf, yum, zypper), apk.sh (apk, for root's shell)",
    params: z.object({ product: z.string().max(64), file: z.string().max(100) }),
    query: z.object({
      channel: z
        .string()
        .regex(/^[a-z0-9][a-z0-9-]{0,62}$/)
        .default("stable"),
    }),
    success: { status: 200, media: "text/plain", text: "The file, filled for this pair" },
    run: async (call) => {
      const { product, file } = call.params;
      if (call.principal === undefined || !mayRead(call.principal, product)) throw absent();
      if ((await findProduct(call.context.store, product)) === undefined) throw absent();
      const text = setupText(call, { product, file, channel: call.query.channel });
      return call.reply.type("text/plain; charset=utf-8").header("cache-control", "no-store").send(text);
    },
  }),
  route({
    method: "GET",
    path: "/api/v1/keys/:id/setup",
    access: "admin",
    tag: "setup",
    summary: "What a customer pastes into a shell for each client, filled with the pair's id; the shell asks for the secret",
    params: z.object({ id: z.string().max(64) }),
    query: z.object({
      product: z.string().max(64).optional().describe("by default the pair's only one"),
      channel: z
        .string()
        .regex(/^[a-z0-9][a-z0-9-]{0,62}$/)
        .default("stable"),
      client: z.string().max(20).optional().describe("one of them; by default those that find something in the formats of the product"),
    }),
    success: { status: 200, json: setupTextSchema, text: "First the line that asks for the secret, then a block for each client" },
    run: async (call) => setupAnswer(call, call.params.id, call.query),
  }),
];
