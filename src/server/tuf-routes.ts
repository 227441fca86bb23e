/** TUF: metadata and targets for customers' updaters, and the vendor's side of it. */
import { z } from "zod";
import { actorOf, grantHolderOf, mayRead, type Principal } from "../access/principal.ts";
import { digestFromHex } from "../model/digest.ts";
import { rankOf } from "../policy/visibility.ts";
import { tufRepositories } from "../repositories/tuf.ts";
import { readRanks } from "../releases/channels.ts";
import { type Product, requireProduct } from "../releases/products.ts";
import { findTufFile, findTufTarget, newestTargets, publicPart, serverKeys, type StoredTufFile } from "../releases/tuf-files.ts";
import { acceptTuf, makeTufKeys } from "../releases/tuf-publish.ts";
import { digestOf } from "../trust/checksums.ts";
import { answerDownload, answerFile } from "./download-routes.ts";
import { absent } from "./error-rim.ts";
import { productParams } from "./product-routes.ts";
import { adminOf, type Call, type RouteRow, route } from "./route.ts";
import { signedTufSchema, tufStateSchema, type WireTufState } from "./tuf-wire.ts";

const repositoryParams = productParams.extend({ repository: z.enum(tufRepositories) });
const sharedRole = "both";

/** `timestamp.json`, or `<version>.<role>.json`: consistent snapshots, so everything but the timestamp never changes. */
async function answerMetadata(
  call: Call,
  { product: name, repository, file }: { readonly product: string; readonly repository: "online" | "offline"; readonly file: string },
): Promise<void> {
  const { store } = call.context;
  if (call.principal === undefined || !mayRead(call.principal, name)) throw absent();
  const [, version, role] = /^(?:([1-9]\d{0,14})\.)?([a-z0-9][a-z0-9-]{0,130})\.json$/.exec(file) ?? [];
  if (role === undefined || (version === undefined) !== (role === "timestamp")) throw absent();
  const product = await requireProduct(store, name);
  const place = { product, repository: ["root", "snapshot", "timestamp"].includes(role) ? repository : sharedRole, role } as const;
  const found = await findTufFile(store.db, version === undefined ? place : { ...place, version: Number(version) });
  if (found === undefined || !(await mayReadRole(call, product, role))) throw absent();
  const bytes = Buffer.from(found.bytes);
  const body = {
    digest: digestOf(bytes),
    size: bytes.length,
    bytes,
    modifiedAt: found.createdAt,
    mediaType: "application/json",
    isImmutable: version !== undefined,
  };
  await answerFile(call, { product: name, tree: "releases", file: { kind: "file", ...body } });
}

/** What a channel lists is for those who may read the channel: a customer on stable does not learn the names of previews. */
async function mayReadRole(call: Call, product: Product, role: string): Promise<boolean> {
  const least = grantHolderOf(call.principal as Principal, product.name)?.grant.channel; // customer routes have a principal
  const channel = role.startsWith(`${product.name}-`) ? role.slice(product.name.length + 1) : undefined;
  if (least === undefined || channel === undefined) return true;
  const ranks = await readRanks(call.context.store, product.id);
  return rankOf(channel, ranks) >= rankOf(least, ranks);
}

/** `<product>/<channel>/<version>/<sha256>.<name>`, or Sigstore's trusted root: the very bytes that the metadata lists. */
async function answerTarget(call: Call, product: string, path: string): Promise<void> {
  const [, folder = "", root, file = ""] = /^(trust\/sigstore)\/([0-9a-f]{64})\.([^/]+)$/.exec(path) ?? [];
  if (root !== undefined) return answerProductTarget(call, { product, path: `${folder}/${file}`, sha256: root });
  const [, named, version, hex, name] = /^([^/]+)\/[^/]+\/([^/]+)\/([0-9a-f]{64})\.([^/]+)$/.exec(path) ?? [];
  if (named !== product || version === undefined || hex === undefined || name === undefined) throw absent();
  await answerDownload(call, { product, tree: "releases", path: `${version}/${name}`, digest: digestFromHex(hex) });
}

async function answerProductTarget(
  call: Call,
  { product: name, path, sha256 }: { readonly product: string; readonly path: string; readonly sha256: string },
): Promise<void> {
  const { store } = call.context;
  if (call.principal === undefined || !mayRead(call.principal, name)) throw absent();
  const found = await findTufTarget(store.db, { product: await requireProduct(store, name), path, sha256 });
  if (found === undefined) throw absent();
  const bytes = Buffer.from(found.bytes);
  const body = { digest: digestFromHex(sha256), size: bytes.length, bytes, modifiedAt: found.createdAt, mediaType: "application/json", isImmutable: true };
  await answerFile(call, { product: name, tree: "releases", file: { kind: "file", ...body } });
}

async function stateOf(call: Call, name: string): Promise<WireTufState> {
  const { store, kek } = call.context;
  const product = await requireProduct(store, name);
  const files: WireTufState["files"] = [];
  const add = (repository: "online" | "offline" | "both", file: StoredTufFile | undefined): void => {
    if (file === undefined) return;
    const content = Buffer.from(file.bytes).toString("utf8");
    const { expires } = z.object({ signed: z.object({ expires: z.string() }) }).parse(JSON.parse(content)).signed;
    files.push({ repository, role: file.role, version: file.version, expires, content });
  };
  const [online] = await serverKeys(store.db, { kek, product, repository: "online" });
  const [offline] = await serverKeys(store.db, { kek, product, repository: "offline" });
  for (const repository of tufRepositories)
    for (const role of ["root", "snapshot", "timestamp"]) add(repository, await findTufFile(store.db, { product, repository, role }));
  for (const file of await newestTargets(store.db, product)) add("both", file);
  const keys = online === undefined || offline === undefined ? null : { online: publicPart(online), offline: publicPart(offline) };
  return { product: product.name, serverKeys: keys, files };
}

export const tufRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/tuf/:product/:repository/metadata/:file",
    access: "customer",
    tag: "downloads",
    summary: "TUF metadata: timestamp.json, and every other role as <version>.<role>.json",
    params: repositoryParams.extend({ file: z.string().max(200) }),
    success: { status: 200, media: "application/json", text: "The signed file" },
    run: async (call) => answerMetadata(call, call.params),
  }),
  route({
    method: "GET",
    path: "/tuf/:product/:repository/targets/*",
    access: "customer",
    tag: "downloads",
    summary: "A TUF target under its consistent name: <product>/<channel>/<version>/<sha256>.<file>, trust/sigstore/<sha256>.trusted_root.json",
    params: repositoryParams.extend({ "*": z.string().max(1024) }),
    success: { status: 200, media: "application/octet-stream", text: "The file, or a part of it (206); 410 for a version that is gone" },
    run: async (call) => answerTarget(call, call.params.product, call.params["*"]),
  }),
  route({
    method: "GET",
    path: "/api/v1/products/:product/tuf",
    access: "admin",
    tag: "products",
    summary: "The product's TUF metadata as it stands, and the server's keys",
    params: productParams,
    success: { status: 200, json: tufStateSchema, text: "The newest version of every role" },
    run: async (call) => stateOf(call, call.params.product),
  }),
  route({
    method: "POST",
    path: "/api/v1/products/:product/tuf/keys",
    access: "admin",
    tag: "products",
    summary: "Make fresh keys of the server for snapshot and timestamp; they sign once a root names them",
    params: productParams,
    success: { status: 200, json: tufStateSchema, text: "The state with the fresh keys" },
    run: async (call) => {
      const { store, kek } = call.context;
      await makeTufKeys(store, { product: call.params.product, kek, actor: actorOf(adminOf(call)) });
      return stateOf(call, call.params.product);
    },
  }),
  route({
    method: "PUT",
    path: "/api/v1/products/:product/tuf",
    access: "admin",
    tag: "products",
    summary: "Take roots, targets and channel roles that the vendor signed, all or nothing",
    params: productParams,
    body: signedTufSchema,
    success: { status: 200, json: tufStateSchema, text: "The state after it" },
    run: async (call) => {
      const { store, kek } = call.context;
      await acceptTuf(store, { product: call.params.product, kek, signed: call.body, actor: actorOf(adminOf(call)) });
      return stateOf(call, call.params.product);
    },
  }),
];
