/** One object of a bucket: HEAD and GET with ranges and preconditions, its bytes sent from here (the AWS CLI follows no redirect), every pull audited. */
import { grantHolderOf } from "../access/principal.ts";
import { digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import { type BucketFile, type BucketTree, viewPath } from "../releases/bucket-tree.ts";
import { type DownloadTree, downloadTrees, type ResolvedDenied, type ResolvedGone } from "../releases/resolve.ts";
import { answerFor, type ConditionalHeaders, wholeSeconds } from "./conditional.ts";
import { downloadEvent, type Outcome } from "./download-event.ts";
import type { SignedCall, SignedCaller } from "./s3-caller.ts";
import { s3Refusal } from "./s3-errors.ts";
import { deniedError, goneText } from "./refusal-text.ts";
import { type Delivery, sendBody } from "./send.ts";

export type ObjectRequest = { readonly call: SignedCall; readonly caller: SignedCaller; readonly tree: BucketTree; readonly key: string };

/** Throws NoSuchKey (410 for a version that is gone), PreconditionFailed, `range_invalid`. */
export async function sendObject(wanted: ObjectRequest): Promise<void> {
  const { call, caller, tree } = wanted;
  const file = await findObject(wanted);
  const { method } = call.request;
  const conditions = file.isImmutable ? call.request.headers : exactDates(call.request.headers, file.modifiedAt);
  const entityTag = `"${digestHex(file.digest)}"`;
  const answer = answerFor(method, conditions, { entityTag, lastModified: file.modifiedAt, size: file.size });
  if (answer.kind === "precondition-failed") throw s3Refusal("PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
  const record = (delivery: Delivery, result: "complete" | "aborted"): Promise<void> =>
    recordPull(wanted, file.artifact, { result, status: delivery.status, bytes: delivery.bytes, detail: delivery.range });
  await sendBody({
    context: call.context,
    reply: call.reply,
    body: { ...file, headers: { "x-amz-request-id": call.request.id, ...(answer.kind === "whole" ? checksum(call, file) : {}) } },
    conditions,
    protocol: "s3",
    reader: { principal: caller.principal, product: tree.product },
    beforeLast: async (delivery) => {
      await record(delivery, "complete");
      if (delivery.range === undefined) call.context.bucketLeases.delivered(readerOf(call, caller), tree.product, file);
    },
    onAborted: (delivery) => record(delivery, "aborted"),
  });
}

/** One machine of one pair. */
export function readerOf(call: SignedCall, caller: SignedCaller): string {
  return `${caller.principal.keyId} ${call.request.ip}`;
}

async function findObject(wanted: ObjectRequest): Promise<BucketFile> {
  const { call, caller, tree, key } = wanted;
  const { context } = call;
  const isLook = call.request.method === "HEAD";
  const file = context.bucketLeases.find({ reader: readerOf(call, caller), tree, key, isLook });
  if (file !== undefined) return file;
  const [root, ...rest] = viewPath(key).split("/");
  const known = downloadTrees.find((candidate): candidate is DownloadTree => candidate === root);
  const found =
    known === undefined
      ? undefined
      : await context.resolver.resolve({ product: tree.product, tree: known, path: rest.join("/"), holder: grantHolderOf(caller.principal, tree.product) });
  // An index that an older snapshot lists under its own checksum: a sync that began before the last publication still asks for it.
  if (found?.kind === "file" && found.isImmutable) return { ...found, key };
  if (found?.kind === "gone") throw await goneError(wanted, found);
  if (found?.kind === "denied") throw await deniedAnswer(wanted, found);
  throw s3Refusal("NoSuchKey", "The specified key does not exist.");
}

/** Retired or withdrawn: who still asks for it is worth knowing, and the answer names what to take instead (C6). */
async function goneError(wanted: ObjectRequest, gone: ResolvedGone): Promise<SlipwayError> {
  const { version, state } = gone;
  if (wanted.call.request.method === "GET") {
    await recordPull(wanted, { version }, { result: "gone", status: 410, bytes: 0, detail: state });
  }
  return new SlipwayError("gone", `Gone - ${goneText(wanted.tree.product, gone)}`);
}

async function deniedAnswer(wanted: ObjectRequest, denied: ResolvedDenied): Promise<SlipwayError> {
  if (wanted.call.request.method === "GET") {
    await recordPull(wanted, { version: denied.version }, { result: "denied", status: 403, bytes: 0, detail: denied.reason });
  }
  return deniedError(wanted.tree.product, denied, wanted.call.context.settings);
}

function recordPull(
  { call, caller, tree }: ObjectRequest,
  pulled: { readonly version?: Version | undefined; readonly name?: string } | undefined,
  outcome: Outcome,
): Promise<void> {
  const { url, ip, headers } = call.request;
  const asker = { principal: caller.principal, url, address: ip, client: headers["user-agent"] };
  const asked = { product: tree.product, version: pulled?.version, artifact: pulled?.name };
  return call.context.audit.record(downloadEvent(asker, asked, { ...outcome, protocol: "s3" }));
}

/**
 * The dates of files that change run backwards (bucket-tree.ts), so "since" cannot be a comparison: the very date that was given out is
 * known, any other is another content.
 */
function exactDates(headers: ConditionalHeaders, modifiedAt: Date): ConditionalHeaders {
  const isSame = (text: string | undefined): boolean => text !== undefined && Date.parse(text) === wholeSeconds(modifiedAt) * 1000;
  return {
    "if-none-match": headers["if-none-match"],
    "if-range": headers["if-range"],
    range: headers.range,
    "if-modified-since": isSame(headers["if-modified-since"]) ? headers["if-modified-since"] : undefined,
    // A date before all others fails whatever stands there.
    "if-unmodified-since": headers["if-unmodified-since"] === undefined || isSame(headers["if-unmodified-since"]) ? undefined : new Date(0).toUTCString(),
    "if-match": headers["if-match"],
  };
}

/** Clients that ask for it check the whole body against it. */
function checksum(call: SignedCall, file: BucketFile): Readonly<Record<string, string>> {
  if (call.request.headers["x-amz-checksum-mode"] !== "ENABLED") return {};
  return { "x-amz-checksum-sha256": Buffer.from(digestHex(file.digest), "hex").toString("base64"), "x-amz-checksum-type": "FULL_OBJECT" };
}
