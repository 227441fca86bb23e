/** What customers read: plain downloads, the APT, YUM and APK trees, and the release index, all behind the access pair. */
import { z } from "zod";
import { actorOf, grantHolderOf, mayRead, type Principal } from "../access/principal.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { DownloadTree, ResolvedDenied, ResolvedFile, ResolvedGone } from "../releases/resolve.ts";
import type { AuditEvent } from "../store/audit-events.ts";
import { protocolOf } from "./caller.ts";
import type { ConditionalHeaders } from "./conditional.ts";
import { absent } from "./error-rim.ts";
import { deniedError, goneText } from "./refusal-text.ts";
import { type Call, type RouteRow, route } from "./route.ts";
import { type Body, type Delivery, sendBody } from "./send.ts";
import { releaseIndexSchema } from "./wire.ts";

const productParams = z.object({ product: z.string().max(64) });
const treeParams = productParams.extend({ "*": z.string().max(1024) });

type Wanted = { readonly product: string; readonly version?: string | undefined; readonly artifact?: string | undefined };

function pathOf(url: string): string {
  const query = url.indexOf("?");
  return query < 0 ? url : url.slice(0, query);
}

function downloadEvent(call: Call, file: Wanted): Omit<AuditEvent, "result"> {
  const principal = call.principal as Principal; // customer routes have one: caller.ts
  const isCustomer = principal.kind === "customer";
  const { url, ip, headers } = call.request;
  return {
    actor: actorOf(principal),
    action: "download",
    customer: isCustomer ? principal.customerName : undefined,
    keyId: isCustomer ? principal.keyId : undefined,
    product: file.product,
    version: file.version,
    artifact: file.artifact,
    path: pathOf(url),
    protocol: protocolOf(url),
    address: ip,
    client: headers["user-agent"],
  };
}

/** Looks up, checks the right to read, answers: one way for every tree. */
export async function answerDownload(
  call: Call,
  wanted: {
    readonly product: string;
    readonly tree: DownloadTree;
    readonly path: string /** Any other content is as if it were not there. */;
    readonly digest?: Digest;
  },
): Promise<void> {
  const { context } = call;
  if (call.principal === undefined || !mayRead(call.principal, wanted.product)) throw absent();
  // One machine of one pair reads one snapshot from its first index to its last (releases/lease.ts).
  const reader = call.principal.kind === "customer" ? `${call.principal.keyId} ${call.request.ip}` : undefined;
  const holder = grantHolderOf(call.principal, wanted.product);
  const found = await context.resolver.resolve({ product: wanted.product, tree: wanted.tree, path: wanted.path, reader, holder });
  switch (found.kind) {
    case "absent":
      throw absent();
    case "gone":
      throw await goneError(call, { product: wanted.product, found });
    case "denied":
      throw await deniedAnswer(call, { product: wanted.product, found });
    case "file":
      if (wanted.digest !== undefined && found.digest !== wanted.digest) throw absent();
      await answerFile(call, { product: wanted.product, tree: wanted.tree, file: found });
  }
}

/**
 * Once its copy of an index is four hours old, apk asks with the second in which it fetched it, by its own clock (seen with 2.14.10 and
 * 3.0.6): a publication in that very second, or one that a fast clock was ahead of, would hide behind a 304. So that date does not count.
 */
function apkIndexConditions(headers: ConditionalHeaders): ConditionalHeaders {
  const { "if-modified-since": _itsOwnClock, ...others } = headers;
  return others;
}

/**
 * Which files a reader sees may change back to ones that are older: only the very date that he was given says that he has them
 * (RFC 9110 13.1.3 lets a server compare exactly; nginx does so too).
 */
function exactDate(headers: ConditionalHeaders, modifiedAt: Date): ConditionalHeaders {
  const since = headers["if-modified-since"];
  if (since === undefined || Math.floor(Date.parse(since) / 1000) === Math.floor(modifiedAt.getTime() / 1000)) return headers;
  return apkIndexConditions(headers);
}

export async function answerFile(
  call: Call,
  wanted: { readonly product: string; readonly tree: DownloadTree; readonly file: ResolvedFile & Pick<Body, "bytes"> },
): Promise<void> {
  const { context } = call;
  const { file, product, tree } = wanted;
  const { headers } = call.request;
  const isApkIndex = tree === "apk" && file.artifact === undefined;
  const event = downloadEvent(call, { product, version: file.artifact?.version, artifact: file.artifact?.name });
  const record = (delivery: Delivery, result: "complete" | "aborted"): Promise<void> =>
    context.audit.record({ ...event, result, status: delivery.status, bytes: delivery.bytes, detail: delivery.range });
  await sendBody({
    context,
    reply: call.reply,
    body: file,
    ...(file.isImmutable ? {} : { conditions: isApkIndex ? apkIndexConditions(headers) : exactDate(headers, file.modifiedAt) }),
    beforeLast: (delivery) => record(delivery, "complete"),
    onAborted: (delivery) => record(delivery, "aborted"),
  });
}

/** Retired or withdrawn: who still asks for it is worth knowing, and the answer names what to take instead (C6). */
async function goneError(call: Call, gone: { readonly product: string; readonly found: ResolvedGone }): Promise<SlipwayError> {
  const { version, state, replacement } = gone.found;
  if (call.request.method === "GET") {
    await call.context.audit.record({ ...downloadEvent(call, { product: gone.product, version }), result: "gone", status: 410, bytes: 0, detail: state });
  }
  return new SlipwayError(
    "gone",
    `Gone - ${goneText(gone.product, gone.found)}`,
    replacement === undefined ? {} : { detail: replacement, hint: `use ${gone.product} ${replacement}` },
  );
}

/** Not covered by what the vendor grants this customer: the reason reaches whoever runs apt, and the audit trail. */
async function deniedAnswer(call: Call, denied: { readonly product: string; readonly found: ResolvedDenied }): Promise<SlipwayError> {
  const { product, found } = denied;
  if (call.request.method === "GET") {
    const event = downloadEvent(call, { product, version: found.version });
    await call.context.audit.record({ ...event, result: "denied", status: 403, bytes: 0, detail: found.reason });
  }
  return deniedError(product, found, call.context.settings);
}

const fileSuccess = {
  status: 200,
  media: "application/octet-stream",
  text: "The file, or a part of it (206); 304 where the caller has it already; 403 with the reason where a grant ends before it; 410 for a version that is gone",
} as const;

export const downloadRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/releases/:product/index.json",
    access: "customer",
    tag: "downloads",
    summary: "What this pair may see of a product: channels, releases, and what is gone",
    params: productParams,
    success: { status: 200, json: releaseIndexSchema, text: "The release index" },
    run: async (call) => answerDownload(call, { product: call.params.product, tree: "releases", path: "index.json" }),
  }),
  route({
    method: "GET",
    path: "/releases/:product/:version/:file",
    access: "customer",
    tag: "downloads",
    summary: "A file of a release; `latest` is the newest stable one",
    params: productParams.extend({ version: z.string().max(130), file: z.string().max(200) }),
    success: fileSuccess,
    run: async (call) => answerDownload(call, { product: call.params.product, tree: "releases", path: `${call.params.version}/${call.params.file}` }),
  }),
  route({
    method: "GET",
    path: "/apt/:product/*",
    access: "customer",
    tag: "downloads",
    summary: "The product's APT repository",
    params: treeParams,
    success: fileSuccess,
    run: async (call) => answerDownload(call, { product: call.params.product, tree: "apt", path: call.params["*"] }),
  }),
  route({
    method: "GET",
    path: "/yum/:product/*",
    access: "customer",
    tag: "downloads",
    summary: "The product's YUM repository",
    params: treeParams,
    success: fileSuccess,
    run: async (call) => answerDownload(call, { product: call.params.product, tree: "yum", path: call.params["*"] }),
  }),
  route({
    method: "GET",
    path: "/apk/:product/*",
    access: "customer",
    tag: "downloads",
    summary: "The product's APK repository",
    params: treeParams,
    success: fileSuccess,
    run: async (call) => answerDownload(call, { product: call.params.product, tree: "apk", path: call.params["*"] }),
  }),
];
