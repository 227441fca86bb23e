/**
 * The registry: `/v2/` and `/token`, with its own way to authenticate and to say no.
 *
 * It stands beside the table of routes (routes.ts): a repository's name has slashes, so that a path is read by oci-address.ts, and any
 * media type may come as a body. The table here says which endpoint of OCI distribution-spec 1.1 a request is, and what it needs.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { ServerContext } from "./context.ts";
import { checkRepositoryName, type OciTarget, readOciAddress } from "./oci-address.ts";
import { type OciCall, type OciCaller, requireOciCaller, requireRight } from "./oci-caller.ts";
import { answerOciFailure, ociRefusal } from "./oci-errors.ts";
import { listTags, pullBlob, pullManifest, requireView, showReferrers } from "./oci-pull.ts";
import { closeUpload, continueUpload, endUpload, type Push, pushManifest, removeBlob, removeReference, showUpload, startUpload } from "./oci-push.ts";
import type { OciAction } from "./oci-token.ts";
import { tokenByGet, tokenByPost } from "./oci-token-routes.ts";

type Request = { readonly call: OciCall; readonly caller: OciCaller; readonly name: string; readonly target: OciTarget };

type Endpoint = {
  readonly id: string;
  readonly method: string;
  readonly kind: OciTarget["kind"];
  readonly action: OciAction;
  readonly run: (request: Request) => Promise<void>;
};

/** What the address says after the endpoint's word: checked by the endpoint that reads it. */
function textOf(target: OciTarget): string {
  if (target.kind === "manifest") return target.reference;
  if (target.kind === "blob" || target.kind === "referrers") return target.digest;
  if (target.kind === "upload" && target.id !== undefined) return target.id;
  throw ociRefusal("UNSUPPORTED", "this needs the address of an upload");
}

const push =
  (act: (push: Push, text: string) => Promise<void>) =>
  ({ call, caller, name, target }: Request): Promise<void> =>
    act({ call, caller, name }, textOf(target));

/** Ids are those of the specification's table "Endpoints". HEAD is GET without the body. */
const endpoints: readonly Endpoint[] = [
  { id: "end-2", method: "GET", kind: "blob", action: "pull", run: async (request) => pullBlob(await viewOf(request), textOf(request.target)) },
  { id: "end-3", method: "GET", kind: "manifest", action: "pull", run: async (request) => pullManifest(await viewOf(request), textOf(request.target)) },
  { id: "end-4", method: "POST", kind: "upload", action: "push", run: ({ call, caller, name }) => startUpload({ call, caller, name }) },
  { id: "end-5", method: "PATCH", kind: "upload", action: "push", run: push(continueUpload) },
  { id: "end-6", method: "PUT", kind: "upload", action: "push", run: push(closeUpload) },
  { id: "end-7", method: "PUT", kind: "manifest", action: "push", run: push(pushManifest) },
  { id: "end-8", method: "GET", kind: "tags", action: "pull", run: async (request) => sendJson(request.call, listTags(await viewOf(request))) },
  { id: "end-9", method: "DELETE", kind: "manifest", action: "delete", run: push(removeReference) },
  { id: "end-10", method: "DELETE", kind: "blob", action: "delete", run: push(removeBlob) },
  {
    id: "end-12",
    method: "GET",
    kind: "referrers",
    action: "pull",
    run: ({ call, caller, name, target }) => showReferrers(call, caller, { name, subject: textOf(target) }),
  },
  { id: "end-13", method: "GET", kind: "upload", action: "push", run: push(showUpload) },
  { id: "end-14", method: "DELETE", kind: "upload", action: "push", run: push(endUpload) },
];

function viewOf({ call, caller, name }: Request) {
  return requireView(call, caller, name);
}

function sendJson(call: OciCall, value: unknown): void {
  void call.reply.type("application/json").header("cache-control", "no-store").send(JSON.stringify(value));
}

/** Its own corner of the application: bodies are streams of any media type, failures are the registry's. */
export async function registerImageRoutes(app: FastifyInstance, context: ServerContext): Promise<void> {
  await app.register(async (registry) => {
    registry.removeAllContentTypeParsers();
    registry.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    registry.setErrorHandler((error, request, reply) => answerOciFailure(error, { request, reply, log: context.log }));
    registry.addHook("onRequest", async (_request, reply) => {
      reply.header("docker-distribution-api-version", "registry/2.0");
    });
    const answer =
      (act: (call: OciCall) => Promise<void>) =>
      async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
        await act({ context, request, reply });
        return reply;
      };
    // The OpenAPI document is ours; this API has a specification of its own.
    const schema = { hide: true };
    const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    registry.route({ schema, method: methods, url: "/v2/*", handler: answer(answerRegistry) });
    registry.route({ schema, method: ["GET", "HEAD"], url: "/v2", handler: answer(answerVersion) });
    registry.route({ schema, method: "GET", url: "/token", handler: answer(async (call) => sendJson(call, await tokenByGet(call))) });
    registry.route({ schema, method: "POST", url: "/token", handler: answer(async (call) => sendJson(call, await tokenByPost(call))) });
  });
}

/** end-1: that there is a registry, and that the caller's credentials are good. */
async function answerVersion(call: OciCall): Promise<void> {
  await requireOciCaller(call, undefined);
  sendJson(call, {});
}

async function answerRegistry(call: OciCall): Promise<void> {
  const path = (call.request.params as { "*": string })["*"];
  if (path === "") {
    await answerVersion(call);
    return;
  }
  const target = readOciAddress(path);
  const method = call.request.method === "HEAD" ? "GET" : call.request.method;
  const endpoint = target === undefined ? undefined : endpoints.find((one) => one.kind === target.kind && one.method === method);
  const wish = target === undefined || endpoint === undefined ? undefined : { name: target.name, action: endpoint.action };
  const caller = await requireOciCaller(call, wish);
  call.request.principal = caller.principal;
  if (target === undefined) throw ociRefusal("NAME_UNKNOWN", "there is nothing at this address");
  if (endpoint === undefined || wish === undefined) throw ociRefusal("UNSUPPORTED", `${method} is not for this address`);
  const name = checkRepositoryName(target.name);
  await requireRight(call, caller, wish);
  await endpoint.run({ call, caller, name, target });
}
