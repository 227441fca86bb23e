/**
 * The short way for what a server is asked for all day: small files and image manifests that are in memory, for a pair that was accepted
 * less than a second ago.
 *
 * It stands in front of fastify and decides with the very functions that the routes use (who calls, what he sees, what is sent, what is
 * recorded), only without waiting: each of them says "not now" where it would have to ask the database or the disk. On the first "not now",
 * on anything that is no plain success, and on any header that it does not know, the request goes to fastify untouched. So nothing here
 * can allow what the ordinary way refuses; `tests/server/fast-path.test.ts` compares the two.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { grantHolderOf, mayRead } from "../access/principal.ts";
import { createCallerAddress } from "./caller-address.ts";
import { recallCustomer } from "./caller.ts";
import type { ConditionalHeaders } from "./conditional.ts";
import type { ServerContext } from "./context.ts";
import { conditionsFor } from "./download-conditions.ts";
import { type Asked, type Asker, downloadEvent } from "./download-event.ts";
import { readerOf } from "./download-routes.ts";
import { mayPull, recallOciCaller } from "./oci-caller.ts";
import { findPulled } from "./oci-pull.ts";
import type { RoutedPath } from "./routed-paths.ts";
import { type Body, planAnswer, sendPiece } from "./send.ts";

/** True where the request is answered or will be; false where nothing was done with it. */
export type FastPath = (request: IncomingMessage, response: ServerResponse) => boolean;

/** All that a request may carry here: what these routes do not read, and what is read the same way here. Names as node gives them. */
const knownHeaders: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "accept-language",
  "authorization",
  "cache-control",
  "connection",
  "docker-distribution-api-version",
  "host",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "keep-alive",
  "pragma",
  "range",
  "user-agent",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-real-ip",
]);

type Caller = { readonly authorization: string; readonly address: string; readonly url: string; readonly headers: IncomingHttpHeaders };

/** What would be sent, and as what it is recorded. */
type Offer = { readonly asker: Asker; readonly asked: Asked; readonly body: Body; readonly conditions: ConditionalHeaders };

/** `nextRequestId` is the one that fastify numbers its requests with. */
export function createFastPath(context: ServerContext, nextRequestId: () => string): FastPath {
  const { audit, cache, log, metrics, routedPaths } = context;
  const addressOf = createCallerAddress(context.settings);
  return (request, response) => {
    const begun = performance.now();
    const { method, url, headers } = request;
    if ((method !== "GET" && method !== "HEAD") || url === undefined) return false;
    const path = routedPaths.find(url);
    const { authorization } = headers;
    const address = path === undefined ? undefined : addressOf(request);
    if (path === undefined || authorization === undefined || address === undefined) return false;
    // With a debug log every request has a line; a server that stops says so itself.
    if (request.httpVersion !== "1.1" || !hasKnownHeaders(headers) || context.isStopping() || log.isLevelEnabled("debug")) return false;
    const offer = offerNow(context, path, { authorization, address, url, headers });
    const bytes = offer === undefined ? undefined : cache.get(offer.body.digest);
    if (offer === undefined || bytes === undefined) return false;
    const id = nextRequestId();
    const plan = planAnswer(offer.body, { method, id, conditions: offer.conditions });
    if (plan === undefined) return false;
    response.on("finish", () => metrics.requestEnded({ method, route: path.route, status: response.statusCode, seconds: (performance.now() - begun) / 1000 }));
    const { extent } = plan;
    if (extent === undefined) {
      response.writeHead(plan.status, plan.head).end();
      return true;
    }
    const { status, bytes: length, range } = extent.delivery;
    const outcome = { result: "complete", status, bytes: length, detail: range, ...(path.kind === "manifest" ? { protocol: "oci" } : {}) } as const;
    const recorded = audit.record(downloadEvent(offer.asker, offer.asked, outcome));
    void sendPiece({ log, metrics }, { response, requestId: id, url, route: path.route, head: plan.head, extent, bytes }, recorded);
    return true;
  };
}

function hasKnownHeaders(headers: IncomingHttpHeaders): boolean {
  for (const name in headers) if (!knownHeaders.has(name)) return false;
  return true;
}

function offerNow(context: ServerContext, path: RoutedPath, caller: Caller): Offer | undefined {
  return path.kind === "file" ? offerFile(context, path, caller) : offerManifest(context, path, caller);
}

function offerFile(context: ServerContext, { product, tree, path }: RoutedPath & { readonly kind: "file" }, caller: Caller): Offer | undefined {
  const { authorization, address, url, headers } = caller;
  const principal = recallCustomer(context, authorization, address);
  if (principal === undefined || !mayRead(principal, product)) return undefined;
  const reader = readerOf(principal, address);
  const found = context.resolver.resolveNow({ product, tree, path, reader, holder: grantHolderOf(principal, product) });
  if (found?.kind !== "file") return undefined;
  return {
    asker: { principal, url, address, client: headers["user-agent"] },
    asked: { product, version: found.artifact?.version, artifact: found.artifact?.name },
    body: found,
    conditions: conditionsFor(tree, found, headers),
  };
}

function offerManifest(context: ServerContext, { product, name, reference }: RoutedPath & { readonly kind: "manifest" }, caller: Caller): Offer | undefined {
  const { authorization, address, url, headers } = caller;
  const known = recallOciCaller(context, { authorization, address });
  if (known === undefined || !mayPull(context, known, { name, product })) return undefined;
  const { principal } = known;
  const holder = grantHolderOf(principal, product);
  const view = holder === undefined ? undefined : context.images.viewNow(name, holder);
  const pulled = view === undefined ? undefined : findPulled(view, "customer", reference);
  if (pulled === undefined) return undefined;
  return {
    asker: { principal, url, address, client: headers["user-agent"] },
    asked: { product, version: pulled.version, artifact: pulled.artifact },
    body: pulled.body,
    conditions: headers,
  };
}
