/**
 * The bucket API, read-only: what `aws s3` and `aws s3api` ask of S3, and beside it the two calls that `aws ecr` and `aws sts` make.
 *
 * A request belongs here when it is signed the AWS way, whatever its path: so buckets share the address with /v2/, /apt/ and all others.
 * A pair sees the bucket of each product that it may read, under the product's name or `<product>-customer-packages`; any other bucket is
 * NoSuchBucket, there or not.
 */
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { grantHolderOf, mayRead } from "../access/principal.ts";
import type { QueryParameter } from "../access/signature-v4.ts";
import type { BucketTree } from "../releases/bucket-tree.ts";
import { xmlElement } from "../repositories/xml.ts";
import type { ServerContext } from "./context.ts";
import { deniedAccess } from "./denied-access.ts";
import { answerLogin } from "./ecr-login.ts";
import { protocolDenial } from "./refusal-text.ts";
import { isSigned, requireSigner, type SignedCall, type SignedCaller } from "./s3-caller.ts";
import { answerS3Failure, s3Refusal, sendXml } from "./s3-errors.ts";
import { bucketsXml, listPage, listXml, readBucketPath, readListRequest, s3Namespace } from "./s3-list.ts";
import { readerOf, sendObject } from "./s3-object.ts";
import { answerIdentity } from "./sts-identity.ts";

/** The alias of a product's bucket: names of buckets are shared by the whole of AWS, so real ones are rarely a bare product name. */
const aliasEnding = "-customer-packages";

/** Parts of the API that a client might ask for and that would be answered wrongly if they were ignored. */
const unsupportedParameters = new Set([
  "acl",
  "analytics",
  "attributes",
  "cors",
  "encryption",
  "intelligent-tiering",
  "inventory",
  "legal-hold",
  "lifecycle",
  "logging",
  "metrics",
  "notification",
  "object-lock",
  "ownershipControls",
  "partNumber",
  "policy",
  "policyStatus",
  "publicAccessBlock",
  "replication",
  "requestPayment",
  "retention",
  "select",
  "tagging",
  "torrent",
  "uploadId",
  "uploads",
  "versionId",
  "versioning",
  "versions",
  "website",
]);

/** A refused upload is read this far, so that its sender gets to see the answer; the AWS CLI sends parts of 8 MiB. */
const drainLimit = 32 * 1024 * 1024;

/** The router's constraint: signed requests match these routes and no others (find-my-way, "custom constraint strategies"). */
export const signatureConstraint = {
  name: "signature",
  mustMatchWhenDerived: true,
  storage: <Handler>() => {
    const handlers = new Map<unknown, Handler>();
    return {
      get: (value: unknown): Handler | null => handlers.get(value) ?? null,
      set: (value: unknown, handler: Handler): void => {
        handlers.set(value, handler);
      },
    };
  },
  validate: () => true,
  deriveConstraint: (request: { readonly headers: { readonly authorization?: string | undefined }; readonly url?: string | undefined }) =>
    isSigned(request) ? "aws" : undefined,
};

export async function registerBucketRoutes(app: FastifyInstance, context: ServerContext): Promise<void> {
  const constraints = { [signatureConstraint.name]: "aws" };
  await app.register(async (buckets) => {
    buckets.removeAllContentTypeParsers();
    buckets.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    buckets.setErrorHandler((error, request, reply) => answerS3Failure(error, { request, reply, log: context.log }));
    buckets.addHook("onRequest", async (request, reply) => {
      reply.header("x-amz-request-id", request.id);
    });
    buckets.route({
      method: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
      url: "*",
      constraints,
      schema: { hide: true }, // the API is AWS's own, and documented there
      handler: async (request: FastifyRequest, reply: FastifyReply) => {
        const call = { context, request, reply };
        if (request.method === "POST" && request.headers["x-amz-target"] !== undefined) await answerLogin(call);
        else if (request.method === "POST" && request.url === "/") await answerIdentity(call);
        else await answerBucket(call);
        return reply;
      },
    });
  });
}

async function answerBucket(call: SignedCall): Promise<void> {
  const { request } = call;
  const caller = await requireSigner(call, { services: ["s3"] });
  request.principal = caller.principal;
  if (request.method !== "GET" && request.method !== "HEAD") {
    await drain(request.body as Readable | undefined);
    throw s3Refusal("AccessDenied", "Access Denied: an access pair is read-only, and releases are published by the vendor alone");
  }
  const { path, query } = caller.signed;
  const { bucket, key } = readBucketPath(path);
  const unsupported = query.find(([name]) => unsupportedParameters.has(name) || name.startsWith("response-"));
  if (unsupported !== undefined) throw s3Refusal("NotImplemented", `A parameter you provided implies functionality that is not implemented: ${unsupported[0]}`);
  if (bucket === "") {
    await listBuckets(call, caller);
    return;
  }
  const tree = await treeOf(call, caller, bucket);
  if (key !== "") await sendObject({ call, caller, tree, key });
  else if (request.method === "HEAD") void call.reply.header("x-amz-bucket-region", caller.signature.region).send();
  else if (query.some(([name]) => name === "location")) sendLocation(call, caller);
  else await listBucket({ call, caller, tree, bucket, query });
}

function productOfBucket(caller: SignedCaller, bucket: string): string | undefined {
  const { principal } = caller;
  if (mayRead(principal, bucket)) return bucket;
  const name = bucket.endsWith(aliasEnding) ? bucket.slice(0, -aliasEnding.length) : undefined;
  return name !== undefined && mayRead(principal, name) ? name : undefined;
}

async function treeOf(call: SignedCall, caller: SignedCaller, bucket: string): Promise<BucketTree> {
  const product = productOfBucket(caller, bucket);
  const holder = product === undefined ? undefined : grantHolderOf(caller.principal, product);
  const denied = product === undefined ? undefined : await deniedAccess(call, { principal: caller.principal, product, format: "s3" });
  if (denied !== undefined) throw s3Refusal("AccessDenied", `Access Denied: ${denied}`);
  const tree = product === undefined ? undefined : await call.context.buckets.present(product, holder);
  if (tree === undefined) throw s3Refusal("NoSuchBucket", "The specified bucket does not exist");
  return tree;
}

async function listBuckets(call: SignedCall, caller: SignedCaller): Promise<void> {
  const { grants, customerName } = caller.principal;
  const now = call.context.store.clock.now();
  const names = [...grants].flatMap(([name, grant]) => (protocolDenial(grant, "s3", now) === undefined ? [name] : []));
  const trees = await Promise.all(names.sort().map((name) => call.context.buckets.present(name, grantHolderOf(caller.principal, name))));
  sendXml(
    call.reply,
    bucketsXml(
      customerName,
      trees.flatMap((tree) => (tree === undefined ? [] : [{ name: tree.product, createdAt: tree.createdAt }])),
    ),
  );
}

/** Any region is right here: the caller hears his own. S3 writes us-east-1 as nothing. */
function sendLocation(call: SignedCall, caller: SignedCaller): void {
  const { region } = caller.signature;
  sendXml(call.reply, xmlElement("LocationConstraint", { xmlns: s3Namespace }, region === "us-east-1" ? undefined : region));
}

async function listBucket(wanted: {
  readonly call: SignedCall;
  readonly caller: SignedCaller;
  readonly tree: BucketTree;
  readonly bucket: string;
  readonly query: readonly QueryParameter[];
}): Promise<void> {
  const { call, caller, bucket } = wanted;
  const request = readListRequest(wanted.query);
  const tree = request.token === undefined ? wanted.tree : await continued(wanted, request.token.snapshotId);
  if (tree === undefined) throw s3Refusal("InvalidArgument", "The continuation token provided is incorrect");
  // A sync lists everything, without a delimiter, and then fetches what it saw.
  if (request.token === undefined && request.delimiter === "") call.context.bucketLeases.list(readerOf(call, caller), tree);
  sendXml(call.reply, listXml(bucket, tree, request, listPage(tree.keys, request)));
}

function continued({ call, caller, tree }: { readonly call: SignedCall; readonly caller: SignedCaller; readonly tree: BucketTree }, snapshotId: string) {
  return call.context.buckets.at(tree.product, snapshotId, grantHolderOf(caller.principal, tree.product));
}

/** Reads and forgets what a refused request carries; gives up on more than a client sends at once. */
async function drain(body: Readable | undefined): Promise<void> {
  let bytes = 0;
  for await (const piece of body ?? []) {
    bytes += (piece as Buffer).length;
    if (bytes > drainLimit) return;
  }
}
