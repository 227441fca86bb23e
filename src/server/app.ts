/**
 * The application: the table of routes on fastify, with the limits of a connection and what happens around every request.
 *
 * Order of a request: limits of the connection -> who is calling (caller.ts) -> schemas -> the route -> the rim for failures (error-rim.ts).
 */
import { randomBytes } from "node:crypto";
import { createServer, type RequestListener, type Server } from "node:http";
import type { Socket } from "node:net";
import fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest, LogController, type RouteHandlerMethod } from "fastify";
import { serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import type { Principal } from "../access/principal.ts";
import type { Settings } from "../config/settings.ts";
import { proxyTrust } from "./caller-address.ts";
import { recallCaller, requireCaller } from "./caller.ts";
import type { ServerContext } from "./context.ts";
import { absent, answerFailure } from "./error-rim.ts";
import { createFastPath } from "./fast-path.ts";
import { registerImageRoutes } from "./oci-routes.ts";
import { refuseNulAddress, refuseNulBody } from "./nul-refusal.ts";
import { registerOpenApi, routeSchema } from "./openapi.ts";
import type { Access, RouteRow } from "./route.ts";
import { routes } from "./routes.ts";
import { registerBucketRoutes, signatureConstraint } from "./s3-routes.ts";
import { securityHeaders } from "./send.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    principal: Principal | undefined;
  }
}

/** JSON bodies: the largest is a pair of public keys. */
const jsonBodyLimit = 1024 * 1024;
/** The buttons of a page. */
const formLimit = 4 * 1024;
/** Node's own default is 16 KiB; a request of ours has below 2 KiB of headers. */
const headerLimit = 16 * 1024;
/** Slow headers hold a connection no longer than this (slowloris). */
const headersTimeoutMs = 15_000;
const keepAliveTimeoutMs = 65_000;
/** Longest path segment that is routed: artifact names end at 200 characters. */
const segmentLimit = 256;

/** Ready to listen, with no socket yet. Without the fast path (fast-path.ts) every request goes through fastify. */
export async function buildApp(context: ServerContext, options: { readonly isFastPathOn: boolean } = { isFastPathOn: true }): Promise<FastifyInstance> {
  const { settings, log } = context;
  // fastify's own remarks ("Server listening") are not events of ours; what it reports as an error is one.
  const loggerInstance: FastifyBaseLogger = log.child({ event: "framework_error" }, { level: log.level === "silent" ? "silent" : "error" });
  const bootId = randomBytes(4).toString("hex");
  let requestCount = 0;
  const nextRequestId = (): string => `${bootId}-${((requestCount += 1)).toString(36)}`;
  const fastPath = options.isFastPathOn ? createFastPath(context, nextRequestId) : undefined;
  const app = fastify({
    serverFactory: (ordinary) =>
      openHttpServer(settings, (request, response) => {
        if (fastPath?.(request, response) !== true) ordinary(request, response);
      }),
    loggerInstance,
    childLoggerFactory: (logger) => logger, // a child for every request would cost more than it tells: our own lines carry the request id
    logController: new LogController({ disableRequestLogging: true }), // one line per answer is written by observe()
    genReqId: nextRequestId,
    requestIdHeader: false, // a caller's own id could forge our log
    bodyLimit: jsonBodyLimit,
    trustProxy: proxyTrust(settings),
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: segmentLimit, ignoreTrailingSlash: false },
    clientErrorHandler: refuseBadRequest,
    frameworkErrors: (error, request, reply) => {
      void answerFailure(error, { request, reply, log, access: "open" });
    },
  });
  app.addConstraintStrategy(signatureConstraint); // before any route, so that all of them leave signed requests alone
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.removeContentTypeParser("text/plain");
  app.decorateRequest("principal", undefined);
  app.addHook("onRequest", async (request) => refuseNulAddress(request));
  app.addHook("onSend", (request, reply, _payload, done) => {
    reply.headers(securityHeaders); // send.ts does the same for files
    reply.header("x-request-id", request.id);
    done();
  });
  app.addHook("onResponse", (request, reply, done) => {
    observe(context, request, reply);
    done();
  });
  app.setErrorHandler((error, request, reply) => answerFailure(error, { request, reply, log, access: request.routeOptions.config.access }));
  app.setNotFoundHandler((request, reply) => answerFailure(absent(), { request, reply, log, access: "open" }));
  await registerOpenApi(app, { version: context.version, rows: routes });
  await app.register(async (json) => {
    json.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string", bodyLimit: formLimit }, readForm);
    json.addHook("preValidation", async (request) => refuseNulBody(request));
    for (const row of routes.filter(({ isRawBody }) => isRawBody !== true)) addRoute(json, context, row);
  });
  await app.register(async (raw) => {
    raw.removeAllContentTypeParsers();
    raw.addContentTypeParser("application/octet-stream", (_request, payload, done) => done(null, payload));
    for (const row of routes.filter(({ isRawBody }) => isRawBody === true)) addRoute(raw, context, row);
  });
  await registerImageRoutes(app, context);
  await registerBucketRoutes(app, context);
  await app.ready();
  return app;
}

/** The listening side: fastify leaves the limits of connections to whoever makes it. */
function openHttpServer(settings: Settings, answer: RequestListener): Server {
  const server = createServer({ maxHeaderSize: headerLimit, headersTimeout: headersTimeoutMs, requireHostHeader: true }, answer);
  server.keepAliveTimeout = keepAliveTimeoutMs;
  server.requestTimeout = settings.uploadTimeout;
  server.setTimeout(settings.idleTimeout);
  return server;
}

/** A page's form as an object; of a name that stands twice the last value counts. */
function readForm(_request: FastifyRequest, body: string | Buffer, done: (error: Error | null, body: unknown) => void): void {
  done(null, Object.fromEntries(new URLSearchParams(String(body))));
}

function addRoute(app: FastifyInstance, context: ServerContext, row: RouteRow): void {
  const run: RouteHandlerMethod = async (request, reply) => {
    const { params, query, body, principal } = request;
    if (row.access === "admin") allowSilence(context, request, reply);
    const value = await row.run({ context, request, reply, params, query, body, principal });
    if (reply.sent) return reply;
    if (row.access !== "open") reply.header("cache-control", "no-store");
    return reply.code(row.success.status).send(value);
  };
  app.route({
    method: row.method,
    url: row.path,
    schema: routeSchema(row),
    config: { access: row.access },
    onRequest: (request, reply, done) => {
      request.principal = recallCaller(context, row.access, request);
      if (request.principal !== undefined || row.access === "open") {
        done();
        return;
      }
      requireCaller(context, row.access, { request, reply }).then((principal) => {
        request.principal = principal;
        done();
      }, done);
    },
    handler: run,
  });
}

/** Publishing reads the whole release again before it answers: for an administrator the idle limit rests until then. */
function allowSilence(context: ServerContext, request: FastifyRequest, reply: FastifyReply): void {
  const { socket } = request.raw;
  socket.setTimeout(context.settings.uploadTimeout);
  reply.raw.once("close", () => socket.setTimeout(context.settings.idleTimeout));
}

/** Counts every answer; logs what changed something and what failed. A customer's successful read stands in the audit trail already. */
function observe(context: ServerContext, request: FastifyRequest, reply: FastifyReply): void {
  const route = request.routeOptions.url ?? "none";
  const status = reply.statusCode;
  context.metrics.requestEnded({ method: request.method, route, status: reply.raw.statusCode, seconds: reply.elapsedTime / 1000 });
  const isRead = request.method === "GET" || request.method === "HEAD";
  const level = isRead && status < 400 ? "debug" : "info";
  if (!context.log.isLevelEnabled(level)) return;
  context.log[level]({
    event: "request",
    requestId: request.id,
    method: request.method,
    path: request.url.split("?")[0],
    status: reply.raw.statusCode,
    durationMs: Math.round(reply.elapsedTime),
    address: request.ip,
    caller: callerName(request.principal),
  });
}

function callerName(principal: Principal | undefined): string | undefined {
  if (principal === undefined) return undefined;
  return principal.kind === "customer" ? principal.keyId : principal.name;
}

/** What is not HTTP, or more header than allowed, gets one line and a closed door. */
function refuseBadRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === "HPE_HEADER_OVERFLOW"
      ? "431 Request Header Fields Too Large"
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? "408 Request Timeout"
        : "400 Bad Request";
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
