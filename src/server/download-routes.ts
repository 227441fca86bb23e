/** What customers read: plain downloads, the APT, YUM and APK trees, and the release index, all behind the access pair. */
import { z } from "zod";
import { type CustomerPrincipal, grantHolderOf, mayRead, type Principal } from "../access/principal.ts";
import type { Digest } from "../model/digest.ts";
import { goneVersionHeader } from "../io/download.ts";
import { SlipwayError } from "../model/errors.ts";
import type { DownloadTree, ResolvedDenied, ResolvedFile, ResolvedGone } from "../releases/resolve.ts";
import { conditionsFor } from "./download-conditions.ts";
import { type Asker, downloadEvent } from "./download-event.ts";
import { absent } from "./error-rim.ts";
import { deniedError, goneText } from "./refusal-text.ts";
import { type Call, type RouteRow, route } from "./route.ts";
import { type Body, type Delivery, sendBody } from "./send.ts";
import { releaseIndexSchema } from "./wire.ts";

const productParams = z.object({ product: z.string().max(64) });
const treeParams = productParams.extend({ "*": z.string().max(1024) });

function askerOf(call: Call): Asker {
  const { url, ip, headers } = call.request;
  return { principal: call.principal as Principal, url, address: ip, client: headers["user-agent"] }; // customer routes have one: caller.ts
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
  const reader = call.principal.kind === "customer" ? readerOf(call.principal, call.request.ip) : undefined;
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
      if (wanted.digest === undefined) learnPath(call, wanted);
      await answerFile(call, { product: wanted.product, tree: wanted.tree, file: found });
  }
}

/** One machine of one pair. */
export function readerOf(principal: CustomerPrincipal, address: string): string {
  return `${principal.keyId} ${address}`;
}

function learnPath(
  { context, request }: Call,
  { product, tree, path }: { readonly product: string; readonly tree: DownloadTree; readonly path: string },
): void {
  context.routedPaths.learn(request.url, { kind: "file", route: request.routeOptions.url ?? "", product, tree, path });
}

export async function answerFile(
  call: Call,
  wanted: { readonly product: string; readonly tree: DownloadTree; readonly file: ResolvedFile & Pick<Body, "bytes"> },
): Promise<void> {
  const { context } = call;
  const { file, product, tree } = wanted;
  const asked = { product, version: file.artifact?.version, artifact: file.artifact?.name };
  const record = (delivery: Delivery, result: "complete" | "aborted"): Promise<void> =>
    context.audit.record(downloadEvent(askerOf(call), asked, { result, status: delivery.status, bytes: delivery.bytes, detail: delivery.range }));
  await sendBody({
    context,
    reply: call.reply,
    body: file,
    conditions: conditionsFor(tree, file, call.request.headers),
    reader: { principal: askerOf(call).principal, product },
    beforeLast: (delivery) => record(delivery, "complete"),
    onAborted: (delivery) => record(delivery, "aborted"),
  });
}

/** Retired or withdrawn: who still asks for it is worth knowing, and the answer names what to take instead (C6). */
async function goneError(call: Call, gone: { readonly product: string; readonly found: ResolvedGone }): Promise<SlipwayError> {
  const { version, state, replacement } = gone.found;
  if (call.request.method === "GET") {
    const outcome = { result: "gone", status: 410, bytes: 0, detail: state } as const;
    await call.context.audit.record(downloadEvent(askerOf(call), { product: gone.product, version }, outcome));
  }
  void call.reply.header(goneVersionHeader, version);
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
    const outcome = { result: "denied", status: 403, bytes: 0, detail: found.reason } as const;
    await call.context.audit.record(downloadEvent(askerOf(call), { product, version: found.version }, outcome));
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
