/** The control API over HTTP: the table of methods as routes, and server-sent events. One application per listening socket. */
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import fastify, { type FastifyInstance, type FastifyReply } from "fastify";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import type { Agent } from "./agent.ts";
import { admit, type Door } from "./door.ts";
import { eventFrame } from "./event-frame.ts";
import { callMethod, methods } from "./methods.ts";
import type { Caller } from "./roles.ts";
import { acceptWebSockets } from "./web-socket.ts";
import { errorView } from "./view.ts";

declare module "fastify" {
  interface FastifyRequest {
    agentCaller?: Caller;
  }
}

/** The largest request is an installation with a version and a key. */
const bodyLimitBytes = 16 * 1024;
const connectionLimit = 64;
/** Event streams and WebSockets together: each one stays open. */
const streamLimit = 16;
/** What a listener may leave unread before it is cut. */
const unreadLimitBytes = 256 * 1024;
const headersTimeoutMs = 10_000;
const requestTimeoutMs = 30_000;
const heartbeatMs = 20_000;

const stranger: Caller = { name: "-", roles: new Set() };

export type Tls = { readonly cert: Buffer; readonly key: Buffer };

/** Ready to listen. `stop` ends its streams; the application is closed by its owner. */
export function buildApi(agent: Agent, door: Door, tls: Tls | undefined): { readonly app: FastifyInstance; readonly stop: () => void } {
  const stopping = new AbortController();
  let streams = 0;
  /** Returns what gives the place back. */
  const takePlace = (): (() => void) => {
    if (streams >= streamLimit) throw new SlipwayError("rate_limited", `${streamLimit} event streams are open already`);
    streams += 1;
    let isTaken = true;
    return () => {
      if (isTaken) streams -= 1;
      isTaken = false;
    };
  };
  const app = fastify({
    bodyLimit: bodyLimitBytes,
    forceCloseConnections: true,
    serverFactory: (handler) => {
      const server = tls === undefined ? createHttpServer(handler) : createHttpsServer({ ...tls, minVersion: "TLSv1.2" }, handler);
      server.headersTimeout = headersTimeoutMs;
      server.requestTimeout = requestTimeoutMs;
      server.maxConnections = connectionLimit;
      return server;
    },
  });

  const refuse = (reply: FastifyReply, thrown: unknown, caller: Caller): FastifyReply => {
    const error = fromFramework(thrown);
    if (error.code === "unauthorized") void reply.header("www-authenticate", 'Bearer realm="slipway agent"');
    return reply.status(error.httpStatus).send({ error: errorView(error, caller) });
  };
  app.setErrorHandler((error, request, reply) => refuse(reply, error, request.agentCaller ?? stranger));
  app.setNotFoundHandler((request, reply) => refuse(reply, new SlipwayError("not_found", "there is no such path"), request.agentCaller ?? stranger));
  app.addHook("onRequest", async (request, reply) => {
    void reply.header("cache-control", "no-store").header("x-content-type-options", "nosniff");
    request.agentCaller = await admit(door, request.raw);
  });

  for (const method of methods) {
    app.route({
      method: method.verb,
      url: method.path,
      handler: async (request, reply) =>
        reply.status(method.status).send(await callMethod(agent, method, request.agentCaller ?? stranger, request.body ?? undefined)),
    });
  }

  app.get("/v1/update/events", async (request, reply) => {
    const leave = takePlace();
    reply.hijack();
    await sendEvents({ agent, reply, caller: request.agentCaller ?? stranger, lastSeen: request.headers["last-event-id"], signal: stopping.signal }).finally(
      leave,
    );
  });

  acceptWebSockets({ server: app.server, agent, door, takePlace, signal: stopping.signal, unreadLimitBytes });
  return { app, stop: () => stopping.abort() };
}

/** fastify's own refusals (body too large, not JSON) as ours. */
function fromFramework(thrown: unknown): SlipwayError {
  const status = thrown instanceof Error && "statusCode" in thrown && typeof thrown.statusCode === "number" ? thrown.statusCode : 500;
  if (thrown instanceof SlipwayError || status >= 500 || !(thrown instanceof Error)) return asSlipwayError(thrown);
  return new SlipwayError(status === 413 ? "too_large" : "usage", thrown.message, { hint: "send one JSON object with content-type application/json" });
}

/** Server-sent events (WHATWG HTML, "Server-sent events"): what was missed since Last-Event-ID, then everything as it happens. */
async function sendEvents(options: {
  readonly agent: Agent;
  readonly reply: FastifyReply;
  readonly caller: Caller;
  readonly lastSeen: string | string[] | undefined;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { agent, reply, caller, lastSeen } = options;
  const response = reply.raw;
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const signal = AbortSignal.any([options.signal, gone.signal]);
  const write = (text: string): void => {
    response.write(text);
    if (response.writableLength > unreadLimitBytes) response.destroy(); // it does not read: it may come again with Last-Event-ID
  };
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" });
  write("retry: 2000\n\n");
  const live = agent.events(signal);
  const after = Number(typeof lastSeen === "string" && /^\d{1,15}$/.test(lastSeen) ? lastSeen : Number.NaN);
  const missed = Number.isNaN(after) ? [] : agent.since(after);
  const heartbeat = setInterval(() => write(": still here\n\n"), heartbeatMs).unref();
  let newest = 0;
  try {
    const send = (event: Parameters<typeof eventFrame>[0]): void => {
      if (event.seq <= newest) return;
      newest = event.seq;
      write(`id: ${event.seq}\nevent: ${event.event}\ndata: ${JSON.stringify(eventFrame(event, caller))}\n\n`);
    };
    for (const event of missed) send(event);
    for await (const event of live) send(event);
  } finally {
    clearInterval(heartbeat);
    response.end();
  }
}
