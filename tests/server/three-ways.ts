/**
 * One server asked in three ways: as it is, with everything through fastify, and by the fast path alone.
 *
 * All three work on the same store, caches and services. The last one answers 599 to what the fast path hands over.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { RecordedEvent } from "../../src/access/audit-trail.ts";
import { buildApp } from "../../src/server/app.ts";
import type { ServerContext } from "../../src/server/context.ts";
import { createFastPath } from "../../src/server/fast-path.ts";
import { type RunningServer, startServer } from "./running-server.ts";

export const handedOver = 599;
/** No HTTP: neither fastify nor the fast path ever sees it. */
const refusedByNode = 400;

export type Ways = {
  readonly running: RunningServer;
  readonly context: ServerContext;
  readonly ordinaryUrl: string;
  readonly fastUrl: string;
};

/** What came of one request: the answer without what is new each time, what was recorded, and which counters moved by how much. */
export type Trace = {
  readonly status: number;
  readonly statusLine: string;
  readonly headers: readonly string[];
  readonly body: string;
  readonly events: readonly Omit<RecordedEvent, "id" | "at">[];
  readonly counted: readonly string[];
};

export async function startThreeWays(t: TestContext, flags: Readonly<Record<string, string>> = {}): Promise<Ways> {
  const running = await startServer(flags);
  t.after(() => running.stop());
  const { context } = running.server;
  const ordinary = await buildApp(context, { isFastPathOn: false });
  const ordinaryUrl = await ordinary.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => ordinary.close());
  let count = 0;
  const fastPath = createFastPath(context, () => `fast-${(count += 1)}`);
  const fast = createServer((request, response) => {
    if (!fastPath(request, response)) response.writeHead(handedOver).end();
  });
  fast.keepAliveTimeout = 65_000;
  fast.listen(0, "127.0.0.1");
  await once(fast, "listening");
  t.after(() => {
    fast.closeAllConnections();
    fast.close();
  });
  return { running, context, ordinaryUrl, fastUrl: `http://127.0.0.1:${(fast.address() as AddressInfo).port}` };
}

/** Everything that the server sends for exactly these bytes, until it closes or `answers` responses are there. */
export function exchange(url: string, text: string, answers = 1): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(Buffer.from(text, "latin1")));
    let received = "";
    const end = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(received);
    };
    const timer = setTimeout(end, 3000);
    const isHead = text.startsWith("HEAD ");
    socket.on("data", (piece: Buffer) => {
      received += piece.toString("latin1");
      if (countAnswers(received, isHead) >= answers) end();
    });
    socket.on("end", end);
    socket.on("error", (error: NodeJS.ErrnoException) => (received === "" && error.code !== "ECONNRESET" ? reject(error) : end()));
  });
}

function countAnswers(text: string, isHead: boolean): number {
  let count = 0;
  for (let rest = text; ; count += 1) {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) return count;
    const head = rest.slice(0, end);
    const hasBody = !isHead && !head.startsWith("HTTP/1.1 304");
    const length = hasBody ? Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0) : 0;
    if (rest.length < end + 4 + length) return count;
    rest = rest.slice(end + 4 + length);
  }
}

/** New with every answer, or of the moment. */
const changing = /^(?:date|x-request-id|x-amz-request-id): /i;

export async function trace(context: ServerContext, url: string, text: string): Promise<Trace> {
  const before = await counters(context);
  const [newest] = (await context.audit.list({ limit: 1 })).events;
  const answer = await exchange(url, text);
  const [head = "", ...rest] = answer.split("\r\n\r\n");
  const [statusLine = "", ...headers] = head.split("\r\n");
  const after = statusLine.includes(` ${handedOver} `) ? moved(await counters(context), before) : await settledCounters(context, before);
  const events = (await context.audit.list({ limit: 20 })).events;
  const place = newest === undefined ? events.length : events.findIndex((event) => event.id === newest.id);
  return {
    status: Number(statusLine.split(" ")[1] ?? 0),
    statusLine,
    headers: headers.filter((line) => !changing.test(line)).toSorted(),
    body: rest.join("\r\n\r\n").replaceAll(/"requestId":"[^"]*"/g, ""),
    events: events.slice(0, place).map(({ id: _id, at: _at, ...event }) => event),
    counted: after,
  };
}

/** Counters by name; sums of seconds are of the moment. */
async function counters(context: ServerContext): Promise<ReadonlyMap<string, number>> {
  const lines = (await context.metrics.render()).split("\n").filter((line) => /^slipway_\w+?(?:_total|_count)\b/.test(line));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
}

function moved(now: ReadonlyMap<string, number>, before: ReadonlyMap<string, number>): readonly string[] {
  return [...now].flatMap(([name, value]) => (value === (before.get(name) ?? 0) ? [] : [`${name} +${value - (before.get(name) ?? 0)}`])).toSorted();
}

/** A request is counted when its answer has left, which may be a moment after it arrived here. */
async function settledCounters(context: ServerContext, before: ReadonlyMap<string, number>): Promise<readonly string[]> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const changed = moved(await counters(context), before);
    if (changed.some((line) => line.startsWith("slipway_http_requests_total"))) return changed;
    await sleep(1);
  }
  return [];
}

/** The ordinary way and the fast path's, where it answers: they must be the same. Returns whether the fast path answered. */
export async function compare(ways: Ways, text: string): Promise<{ readonly isFast: boolean; readonly ordinary: Trace }> {
  const ordinary = await trace(ways.context, ways.ordinaryUrl, text.replaceAll("HOST", new URL(ways.ordinaryUrl).host));
  const fastText = text.replaceAll("HOST", new URL(ways.fastUrl).host);
  const fast = await trace(ways.context, ways.fastUrl, fastText);
  if (fast.status === handedOver || fast.status === refusedByNode) {
    assert.deepEqual({ events: fast.events, counted: fast.counted }, { events: [], counted: [] }, "what is handed over leaves no trace");
    return { isFast: false, ordinary };
  }
  assert.deepEqual(fast, ordinary, text);
  return { isFast: true, ordinary };
}
