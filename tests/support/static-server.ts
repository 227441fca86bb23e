/** A small static HTTP server for real clients: Basic authentication with a challenge, conditional requests, and a log of what was asked. */
import { createServer } from "node:http";
import type { TestContext } from "node:test";

export type StaticServer = {
  /** `http://127.0.0.1:<port>`, no trailing slash. */
  readonly baseUrl: string;
  /** By path, with a leading slash; may be changed while the server runs. */
  readonly files: Map<string, Uint8Array>;
  /** `GET 200 /path`, in order; cleared by the test. */
  readonly log: string[];
  /** The Last-Modified of every file; set it anew after a change. */
  modifiedAt: Date;
};

/** Serves `files` to whoever sends this pair; `openPaths` need none. Ends with the test. */
export async function serveFiles(
  t: TestContext,
  options: { readonly keyId: string; readonly secret: string; readonly openPaths?: readonly string[] },
): Promise<StaticServer> {
  const expected = `Basic ${Buffer.from(`${options.keyId}:${options.secret}`).toString("base64")}`;
  const state = { files: new Map<string, Uint8Array>(), log: [] as string[], modifiedAt: new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000) };
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
    const answer = (status: number, headers: Record<string, string> = {}, body?: Uint8Array): void => {
      state.log.push(`${request.method} ${status} ${path}`);
      response.writeHead(status, { ...headers, "Content-Length": body?.length ?? 0 });
      response.end(request.method === "HEAD" ? undefined : body);
    };
    if (request.headers.authorization !== expected && options.openPaths?.includes(path) !== true) {
      answer(401, { "WWW-Authenticate": 'Basic realm="test"' });
      return;
    }
    const body = state.files.get(path);
    if (body === undefined) {
      answer(404);
      return;
    }
    const since = Date.parse(request.headers["if-modified-since"] ?? "");
    const headers = { "Last-Modified": state.modifiedAt.toUTCString(), "Content-Type": "application/octet-stream" };
    if (since >= state.modifiedAt.getTime()) answer(304, headers);
    else answer(200, headers, body);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return Object.assign(state, { baseUrl: `http://127.0.0.1:${address.port}` });
}
