/**
 * The control API over a WebSocket (RFC 6455) at /v1/update/ws.
 *
 *     -> {"id":1,"method":"update.install","params":{"version":"1.5.0","idempotencyKey":"k1"}}
 *     <- {"id":1,"result":{…}}  or  {"id":1,"error":{"code":…,"message":…,"hint":…,"retryable":…}}
 *     <- {"event":"update.progress","seq":12,"at":…,"operation":"op-…","data":{…}}
 *
 * Who calls is settled before the handshake. The connection owns nothing: when it ends, what was begun goes on.
 */
import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { Server as SecureServer } from "node:https";
import type { Duplex } from "node:stream";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { z } from "zod";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import type { Agent } from "./agent.ts";
import { admit, type Door } from "./door.ts";
import { eventFrame } from "./event-frame.ts";
import { callMethod, methods } from "./methods.ts";
import type { Caller } from "./roles.ts";
import { errorView } from "./view.ts";

const frameLimitBytes = 16 * 1024;
/** Requests of one connection that are not answered yet. */
const requestLimit = 8;
const pingMs = 20_000;
/** Close codes of RFC 6455 7.4.1. */
const [goingAway, badData] = [1001, 1007];

const frameSchema = z.strictObject({
  id: z.union([z.string().max(128), z.int()]),
  method: z.string().max(64),
  params: z.unknown().optional(),
});

type Acceptor = {
  readonly server: Server | SecureServer;
  readonly agent: Agent;
  readonly door: Door;
  /** Throws `rate_limited`; returns what gives the place back. */
  readonly takePlace: () => () => void;
  readonly signal: AbortSignal;
  readonly unreadLimitBytes: number;
};

/** Answers upgrade requests of a server. */
export function acceptWebSockets(acceptor: Acceptor): void {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: frameLimitBytes, perMessageDeflate: false });
  acceptor.signal.addEventListener("abort", () => {
    for (const socket of sockets.clients) socket.close(goingAway, "the agent stops");
    sockets.close();
  });
  acceptor.server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy()); // it went away in the middle of the handshake
    void open(request).then(
      ({ caller, leave }) =>
        sockets.handleUpgrade(request, socket, head, (webSocket) => {
          webSocket.on("close", leave);
          converse(webSocket, caller, acceptor);
        }),
      (thrown: unknown) => refuse(socket, asSlipwayError(thrown)),
    );
  });

  const open = async (request: IncomingMessage): Promise<{ readonly caller: Caller; readonly leave: () => void }> => {
    const caller = await admit(acceptor.door, request);
    if (new URL(request.url ?? "/", "http://agent").pathname !== "/v1/update/ws") throw new SlipwayError("not_found", "there is no such path");
    if (request.headers.upgrade?.toLowerCase() !== "websocket" || request.headers["sec-websocket-key"] === undefined)
      throw new SlipwayError("usage", "this path speaks WebSocket");
    return { caller, leave: acceptor.takePlace() };
  };
}

function refuse(socket: Duplex, error: SlipwayError): void {
  const body = JSON.stringify({ error: errorView(error, { name: "-", roles: new Set() }) });
  const status = `${error.httpStatus} ${STATUS_CODES[error.httpStatus] ?? ""}`;
  socket.end(`HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`, () =>
    socket.destroy(),
  );
}

function converse(socket: WebSocket, caller: Caller, { agent, signal, unreadLimitBytes }: Acceptor): void {
  const gone = new AbortController();
  let open = 0;
  let isAlive = true;
  const send = (frame: unknown): void => {
    if (socket.readyState !== socket.OPEN) return;
    socket.send(JSON.stringify(frame));
    if (socket.bufferedAmount > unreadLimitBytes) socket.terminate(); // it does not read
  };

  const answer = async (bytes: RawData, isBinary: boolean): Promise<void> => {
    const frame = isBinary ? undefined : readFrame(bytes);
    if (frame === undefined) {
      socket.close(badData, "send JSON frames with id, method and params");
      return;
    }
    const { id, method: name, params } = frame;
    try {
      if (open >= requestLimit) throw new SlipwayError("rate_limited", `${requestLimit} requests of this connection are not answered yet`);
      open += 1;
      try {
        const method = methods.find((one) => one.name === name);
        if (method === undefined)
          throw new SlipwayError("not_found", "there is no such method", { hint: `known are ${methods.map((one) => one.name).join(", ")}` });
        send({ id, result: await callMethod(agent, method, caller, params) });
      } finally {
        open -= 1;
      }
    } catch (error) {
      send({ id, error: errorView(asSlipwayError(error), caller) });
    }
  };

  const heartbeat = setInterval(() => {
    if (!isAlive) socket.terminate();
    isAlive = false;
    socket.ping();
  }, pingMs).unref();
  socket.on("pong", () => {
    isAlive = true;
  });
  socket.on("message", (bytes, isBinary) => void answer(bytes, isBinary));
  socket.on("error", () => socket.terminate()); // a frame that is too long or none; ws has answered with its close code
  socket.on("close", () => {
    clearInterval(heartbeat);
    gone.abort();
  });
  void tell();
  async function tell(): Promise<void> {
    for await (const event of agent.events(AbortSignal.any([signal, gone.signal]))) send(eventFrame(event, caller));
  }
}

function readFrame(bytes: RawData): z.output<typeof frameSchema> | undefined {
  try {
    return frameSchema.parse(JSON.parse(Buffer.isBuffer(bytes) ? bytes.toString("utf8") : ""));
  } catch {
    return undefined; // the answer is the closing of the connection
  }
}
