/** A running agent over the toy product, and clients that speak to it: HTTP over either socket, server-sent events, WebSocket. */
import assert from "node:assert/strict";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestContext } from "node:test";
import { WebSocket } from "ws";
import { addToken, type Role } from "../../src/agent/roles.ts";
import { type RunningAgent, serveAgent } from "../../src/agent/serve.ts";
import type { SlipwayError } from "../../src/model/errors.ts";
import { parseVersion } from "../../src/model/version.ts";
import { type Machine, thisMachine } from "../../src/updater/machine.ts";
import { makeSite, noSignal, type Site, type SiteOptions, startVendor, type Vendor } from "../updater/support.ts";

export type Json = Readonly<Record<string, unknown>>;
export type Reply = { readonly status: number; readonly body: Json };
export type Ask = (
  method: string,
  path: string,
  options?: { readonly body?: unknown; readonly token?: string; readonly headers?: Record<string, string> },
) => Promise<Reply>;

export type TestAgent = {
  readonly site: Site;
  readonly vendor: Vendor;
  readonly running: RunningAgent;
  readonly socket: string;
  /** Of the TCP listener. */
  readonly port: number;
  readonly failures: SlipwayError[];
  /** Over the Unix socket. */
  readonly local: Ask;
  /** Over TCP, with a token or without. */
  readonly remote: Ask;
  readonly token: (...roles: Role[]) => Promise<string>;
};

/** An agent with 1.4.2 installed, listening on its socket and on loopback. It never checks by itself unless `agent` says so. */
export async function startAgent(
  t: TestContext,
  options: {
    readonly vendor?: Vendor;
    readonly site?: SiteOptions;
    readonly agent?: string;
    readonly machine?: Partial<Machine>;
    readonly isBare?: boolean;
  } = {},
): Promise<TestAgent> {
  // First of all, because hooks run in this order: nobody works in a folder that is being removed.
  let started: RunningAgent | undefined;
  t.after(() => started?.stop());
  const vendor = options.vendor ?? (await startVendor(t));
  if (!vendor.releases.has("1.4.2")) await vendor.release("1.4.2");
  const extra = `agent: { listen: "127.0.0.1:0", tokens: tokens.json, check_every: ${options.agent ?? '"off"'} }\n${options.site?.extra ?? ""}`;
  const site = await makeSite(vendor, { ...options.site, extra }, t);
  if (options.isBare !== true) await (await site.updater()).install({ version: parseVersion("1.4.2"), isOutsideWindow: true, signal: noSignal });
  const failures: SlipwayError[] = [];
  const { observe: _observe, ...machine } = { ...thisMachine(() => undefined), ...options.machine };
  const running = await serveAgent({ installation: await site.installation(), machine, onFailure: (error) => void failures.push(error) });
  started = running;
  const socket = join(site.updates, "agent.sock");
  const port = Number(new URL(running.addresses.find((address) => address.startsWith("http")) ?? "http://x").port);
  const tokens = join(site.folder, "tokens.json");
  let count = 0;
  return {
    site,
    vendor,
    running,
    socket,
    port,
    failures,
    local: asker({ socketPath: socket }),
    remote: asker({ host: "127.0.0.1", port }),
    token: (...roles) => addToken(tokens, `token-${(count += 1)}`, roles),
  };
}

export function asker(where: { readonly socketPath: string } | { readonly host: string; readonly port: number }): Ask {
  return async (method, path, { body, token, headers = {} } = {}) => {
    const bytes = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
    const message = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request({
        ...where,
        method,
        path,
        headers: {
          ...(bytes === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(bytes) }),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...headers,
        },
      });
      sent.on("response", resolve);
      sent.on("error", reject);
      sent.end(bytes);
    });
    const pieces: Buffer[] = [];
    for await (const piece of message as AsyncIterable<Buffer>) pieces.push(piece);
    const text = Buffer.concat(pieces).toString("utf8");
    return { status: message.statusCode ?? 0, body: text === "" ? {} : (JSON.parse(text) as Json) };
  };
}

/** A WebSocket client that numbers its requests. */
export type Conversation = {
  readonly call: (method: string, params?: Json) => Promise<Json>;
  readonly events: Json[];
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
};

export async function converse(
  url: string,
  options: { readonly token?: string; readonly origin?: string; readonly host?: string } = {},
): Promise<Conversation> {
  const { token, origin, host } = options;
  const socket = new WebSocket(url, {
    ...(origin === undefined ? {} : { origin }),
    headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...(host === undefined ? {} : { host }) },
  });
  const answers = new Map<unknown, (frame: Json) => void>();
  const events: Json[] = [];
  socket.on("message", (bytes: Buffer) => {
    const frame = JSON.parse(bytes.toString("utf8")) as Json;
    if ("event" in frame) events.push(frame);
    else answers.get(frame["id"])?.(frame);
  });
  const closed = new Promise<number>((resolve) => socket.on("close", (code) => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("unexpected-response", (_request, response) => {
      reject(new Error(`answered ${response.statusCode ?? 0}`));
      response.destroy();
    });
    socket.on("error", reject);
  });
  let id = 0;
  return {
    socket,
    events,
    closed,
    call: (method, params) =>
      new Promise((resolve) => {
        id += 1;
        answers.set(id, resolve);
        socket.send(JSON.stringify({ id, method, ...(params === undefined ? {} : { params }) }));
      }),
  };
}

/** What `look` says as soon as it is true. */
export async function until<T>(look: () => Promise<T | undefined | false> | T | undefined | false, what: string, limitMs = 10_000): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    assert.ok(Date.now() < deadline, `${what}: not after ${limitMs} ms`);
    await sleep(20);
  }
}

type OperationOf = {
  readonly state: string;
  readonly version: string | null;
  readonly error: Json | null;
  readonly result: Json | null;
  readonly transaction: Json | null;
  readonly id: string;
};

/** The last operation of an agent, when it has ended. */
export async function ended(ask: Ask, token?: string): Promise<OperationOf> {
  return until(async () => {
    const { body } = await ask("GET", "/v1/update/status", token === undefined ? {} : { token });
    const operation = body["operation"] as OperationOf | null;
    return operation !== null && operation.state !== "running" ? operation : undefined;
  }, "the operation ends");
}

export const codeOf = (reply: Reply | Json): unknown => {
  const body = "status" in reply && "body" in reply ? (reply["body"] as Json) : reply;
  return (body["error"] as Json | undefined)?.["code"];
};
