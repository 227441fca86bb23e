/**
 * `fetch` for plain GET and HEAD over node:http, one connection per request.
 *
 * Node's own fetch ends the process with an assertion when a source closes a connection in the middle of a body while the reader is slower
 * than the network (nodejs/undici, seen with 3 of 8 HTTP/1.0 downloads of 24.21): an updater must see an error instead. Proxies come from the
 * environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), as curl and apt take them.
 */
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { Readable } from "node:stream";

const agents = { http: new HttpAgent({ proxyEnv: process.env }), https: new HttpsAgent({ proxyEnv: process.env }) };

/** Statuses whose answer has no body (RFC 9110 6.4.1); a Response with one cannot be made. */
const bodiless = new Set([204, 205, 304]);

/**
 * Follows no redirect and undoes no content coding. Rejects with the socket's error, or with the signal's reason; a body that ends early
 * fails its reader with ECONNRESET. Request bodies and methods other than GET and HEAD are refused with a TypeError.
 */
export const plainFetch: typeof globalThis.fetch = async (input, init = {}) => {
  const url = new URL(input instanceof Request ? input.url : input);
  const method = init.method ?? "GET";
  if ((method !== "GET" && method !== "HEAD") || (init.body !== undefined && init.body !== null))
    throw new TypeError(`plainFetch makes no ${method} with a body`);
  const message = await answerTo(url, { method, headers: Object.fromEntries(new Headers(init.headers)), signal: init.signal ?? undefined });
  const status = message.statusCode ?? 0;
  if (status < 200 || status > 599) {
    message.destroy();
    throw new Error(`an answer with the status ${status}`);
  }
  const headers = new Headers();
  for (let at = 0; at + 1 < message.rawHeaders.length; at += 2) headers.append(message.rawHeaders[at] ?? "", message.rawHeaders[at + 1] ?? "");
  const isEmpty = method === "HEAD" || bodiless.has(status);
  if (isEmpty) message.resume();
  return new Response(isEmpty ? null : webStreamOf(message), { status, statusText: message.statusMessage ?? "", headers });
};

function answerTo(
  url: URL,
  options: { readonly method: string; readonly headers: Record<string, string>; readonly signal: AbortSignal | undefined },
): Promise<IncomingMessage> {
  const { method, headers, signal } = options;
  const common = { method, headers, ...(signal === undefined ? {} : { signal }) };
  return new Promise((resolve, reject) => {
    const request = url.protocol === "https:" ? requestHttps(url, { ...common, agent: agents.https }) : requestHttp(url, { ...common, agent: agents.http });
    request.on("response", resolve);
    request.on("error", (error) => reject(signal?.aborted === true && signal.reason instanceof Error ? signal.reason : error));
    request.end();
  });
}

/** Pulled piece by piece: nothing is read ahead of the reader but what the socket's own buffer holds. */
function webStreamOf(message: IncomingMessage): ReadableStream<Uint8Array> {
  const pieces: AsyncIterator<Uint8Array> = Readable.prototype[Symbol.asyncIterator].call(message);
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const next = await pieces.next();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      cancel: async () => {
        message.destroy();
        await pieces.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}
