/**
 * Serves a mirror's tree over HTTP: read-only, with ranges and conditional requests, images at `/v2`, behind pairs of its own or none.
 *
 * It asks no database: a path of the address is a path of the tree, which holds regular files and folders only (file-set.ts). A reader that took
 * `repomd.xml` or `InRelease` stays with that set for two minutes, so that the signature that it asks for next is of the same set.
 */
import { createServer, type Server as HttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { currentTree, isThere } from "../mirror/file-set.ts";
import { isPairKnown, type MirrorPairs } from "../mirror/pairs.ts";
import { goneVersionHeader } from "../io/download.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { tryParseVersion } from "../model/version.ts";
import { mediaTypeOf } from "../releases/media-type.ts";
import { reasonPhrase } from "./error-rim.ts";
import { createGoneFinder, type GoneFinder } from "./mirror-gone.ts";
import { answerMirrorImages } from "./mirror-images.ts";
import { MirrorRefusal, type MirrorRequest, sendTreeFile, status } from "./mirror-tree.ts";
import { goneText } from "./refusal-text.ts";

export type MirrorServerOptions = {
  /** The mirror's folder: holds `current`. */
  readonly directory: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** Undefined: anybody who reaches the address may read. */
  readonly pairs: MirrorPairs | undefined;
  /** Called once per answer. */
  readonly log?: (line: { readonly method: string; readonly path: string; readonly status: number; readonly address: string }) => void;
};

export type MirrorServer = {
  /** `http://127.0.0.1:8420` */
  readonly address: string;
  /** Lets running downloads end for ten seconds, then cuts them. */
  readonly stop: () => Promise<void>;
};

const leaseMs = 120_000;
const leaseLimit = 10_000;
const stopLimitMs = 10_000;

/** Resolves when it listens. Throws `source_missing` for a folder without a set. */
export async function serveMirror(options: MirrorServerOptions): Promise<MirrorServer> {
  if ((await currentTree(options.directory)) === undefined) {
    throw new SlipwayError("source_missing", `${options.directory} holds no mirror`, {
      place: options.directory,
      hint: "run `slipway mirror sync` or `slipway mirror import` first",
    });
  }
  const serving: Serving = { ...options, leases: createTreeLeases(), gone: createGoneFinder(options.directory) };
  const server = createServer({ headersTimeout: 30_000, requestTimeout: 60_000 }, (request, response) => {
    response.on("close", () => {
      const path = (request.url ?? "").split("?")[0] ?? "";
      options.log?.({ method: request.method ?? "", path: path.slice(0, 500), status: response.statusCode, address: request.socket.remoteAddress ?? "" });
    });
    answer(serving, request, response).catch((error: unknown) => answerFailure(response, error));
  });
  server.maxHeadersCount = 100;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.listen.port, options.listen.host, resolve);
  });
  const { address, family, port } = server.address() as AddressInfo;
  return { address: `http://${family === "IPv6" ? `[${address}]` : address}:${port}`, stop: () => stop(server) };
}

function stop(server: HttpServer): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), stopLimitMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

type Serving = MirrorServerOptions & { readonly leases: TreeLeases; readonly gone: GoneFinder };

async function answer({ directory, pairs, leases, gone }: Serving, request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader("X-Content-Type-Options", "nosniff");
  if (request.method !== "GET" && request.method !== "HEAD") throw status(405, "a mirror is read-only");
  const url = URL.parse(request.url ?? "/", "http://mirror");
  if (url === null) throw status(400, "no address");
  // The address as it was sent: URL would resolve `..` away, and a client that sends one is no client of ours.
  const path = decode((request.url ?? "/").split("?")[0] ?? "/");
  if (path === "healthz") {
    response.setHeader("Content-Type", "text/plain; charset=utf-8").end("ok\n");
    return;
  }
  const isImages = path === "v2" || path.startsWith("v2/");
  if (pairs !== undefined && !path.startsWith("keys/") && !isPairKnown(pairs, request.headers.authorization)) {
    response.setHeader("WWW-Authenticate", 'Basic realm="slipway mirror", charset="UTF-8"');
    throw status(401, "this mirror needs a pair", isImages ? "UNAUTHORIZED" : undefined);
  }
  const current = await currentTree(directory);
  if (current === undefined) throw status(503, "the mirror holds nothing");
  const tree = await leases.treeFor(`${request.socket.remoteAddress ?? ""} ${request.headers.authorization ?? ""}`, path, current);
  const wanted: MirrorRequest = { request, response, path, tree, query: url.searchParams };
  try {
    if (isImages) {
      await answerMirrorImages(wanted);
      return;
    }
    if (path === "" || path.endsWith("/")) throw status(404, "there is no such file");
    await sendTreeFile(wanted, { path, mediaType: mediaTypeOf(path), isImmutable: isImmutablePath(path) });
  } catch (error) {
    if (!(error instanceof MirrorRefusal) || error.status !== 404) throw error;
    const why = await gone.find(tree, path);
    if (why === undefined) throw error;
    const text = goneText(why.product, why);
    // The list is the vendor's: what is no version is no header either.
    if (tryParseVersion(why.version) !== undefined) response.setHeader(goneVersionHeader, why.version);
    // The registry's answers know no 410.
    throw isImages ? status(404, text, "MANIFEST_UNKNOWN") : status(410, `Gone - ${text}`);
  }
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path).replace(/^\/+/, "");
  } catch {
    throw status(400, "the address is no valid encoding");
  }
}

/** A path that names its content: it may be kept for ever. */
function isImmutablePath(path: string): boolean {
  return /^apt\/[^/]+\/pool\/|\/by-hash\/SHA256\/|\/repodata\/[0-9a-f]{64}-|^yum\/.*\.rpm$|^apk\/.*\.apk$|^releases\/[^/]+\/\d|^tuf\/.*\/(?:targets\/|\d+\.[^/]+\.json$)/.test(
    path,
  );
}

function answerFailure(response: ServerResponse, thrown: unknown): void {
  if (response.headersSent) {
    response.destroy(); // a part must not look like the whole
    return;
  }
  const refusal = thrown instanceof MirrorRefusal ? thrown : undefined;
  const error = refusal === undefined ? asSlipwayError(thrown) : undefined;
  const code = refusal?.status ?? (error?.code === "path_unsafe" || error?.code === "name_invalid" ? 404 : 500);
  const message = refusal?.message ?? (code === 404 ? "there is no such file" : "the mirror cannot read its files");
  const body = refusal?.ociCode === undefined ? { error: { message } } : { errors: [{ code: refusal.ociCode, message }] };
  for (const name of ["ETag", "Last-Modified", "Content-Length", "Cache-Control"]) response.removeHeader(name);
  const bytes = Buffer.from(JSON.stringify(body));
  // What apt prints; a client's own words in it may be any characters.
  response.writeHead(code, reasonPhrase(message), { "Content-Type": "application/json", "Content-Length": bytes.length });
  response.end(bytes);
}

type TreeLeases = { readonly treeFor: (reader: string, path: string, current: string) => Promise<string> };

/** Files that begin a reading, and those that must be of the same set. */
const openers = /\/(?:InRelease|repodata\/repomd\.xml)$/;
const followers = /\/(?:Release|Release\.gpg|repodata\/repomd\.xml\.asc)$/;

function createTreeLeases(): TreeLeases {
  const leases = new Map<string, { readonly tree: string; readonly until: number }>();
  return {
    treeFor: async (reader, path, current) => {
      const key = `${reader} ${path.split("/").slice(0, 3).join("/")}`;
      if (openers.test(path)) {
        leases.delete(key);
        if (leases.size >= leaseLimit) leases.clear();
        leases.set(key, { tree: current, until: performance.now() + leaseMs });
        return current;
      }
      const lease = followers.test(path) ? leases.get(key) : undefined;
      if (lease === undefined || lease.until < performance.now() || lease.tree === current) return current;
      return (await isThere(lease.tree)) ? lease.tree : current;
    },
  };
}
