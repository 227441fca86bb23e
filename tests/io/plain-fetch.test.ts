/** The updater's fetch: connections that break off, slow readers, odd answers, proxies. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createSocketServer } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { plainFetch } from "../../src/io/plain-fetch.ts";

async function listenOn(t: TestContext, server: Server | ReturnType<typeof createSocketServer>): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    if ("closeAllConnections" in server) server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`;
}

const serve = (t: TestContext, listener: RequestListener): Promise<string> => listenOn(t, createServer(listener));

/** Answers every connection with these bytes and closes it at once, as an HTTP/1.0 server does. */
async function serveBytes(t: TestContext, bytes: Buffer): Promise<string> {
  return listenOn(
    t,
    createSocketServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.end(bytes));
    }),
  );
}

test("a source that closes before the announced end, to a slow reader, is an error and no crash", async (t) => {
  const body = Buffer.alloc(3_000_000, 1);
  const url = await serveBytes(t, Buffer.concat([Buffer.from("HTTP/1.0 200 OK\r\nContent-Length: 9000000\r\n\r\n"), body]));
  for (let round = 0; round < 5; round += 1) {
    const response = await plainFetch(url);
    const reader = (response.body ?? assert.fail()).getReader();
    let received = 0;
    await assert.rejects(async () => {
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        received += next.value.length;
        if (received < 400_000) await sleep(5);
      }
    }, /aborted|ECONNRESET/);
    assert.ok(received > 0 && received <= body.length);
  }
});

test("a body that ends with its connection is whole, whatever pauses its reader makes", async (t) => {
  const url = await serveBytes(t, Buffer.concat([Buffer.from("HTTP/1.0 200 OK\r\n\r\n"), Buffer.alloc(2_000_000, 7)]));
  const response = await plainFetch(url);
  let received = 0;
  for await (const piece of response.body ?? assert.fail()) {
    received += piece.length;
    if (received < 200_000) await sleep(10);
  }
  assert.equal(received, 2_000_000);
});

test("status, headers and an empty 304 arrive as they were sent; redirects are left to the caller", async (t) => {
  const url = await serve(t, (request, response) => {
    if (request.headers["if-none-match"] !== undefined) response.writeHead(304, { etag: '"a"' }).end();
    else response.writeHead(302, "Over There", { location: "/other", "x-seen": request.headers["x-asked"] ?? "" }).end("moved");
  });
  const moved = await plainFetch(url, { headers: { "x-asked": "yes" } });
  assert.deepEqual([moved.status, moved.statusText, moved.headers.get("location"), moved.headers.get("x-seen")], [302, "Over There", "/other", "yes"]);
  assert.equal(await moved.text(), "moved");
  const same = await plainFetch(url, { headers: { "if-none-match": '"a"' } });
  assert.deepEqual([same.status, same.body, same.headers.get("etag")], [304, null, '"a"']);
});

test("an abort ends the request with its reason, before the answer and in the middle of it", async (t) => {
  const url = await serve(t, (request, response) => {
    if (request.url === "/file?late") return;
    response.writeHead(200);
    response.write("begin");
  });
  await assert.rejects(plainFetch(`${url}?late`, { signal: AbortSignal.timeout(30) }), { name: "TimeoutError" });
  const controller = new AbortController();
  const response = await plainFetch(url, { signal: controller.signal });
  const reader = (response.body ?? assert.fail()).getReader();
  assert.equal(Buffer.from((await reader.read()).value ?? []).toString(), "begin");
  controller.abort();
  await assert.rejects(reader.read());
});

test("an answer that is no HTTP, or has an impossible status, is refused", async (t) => {
  await assert.rejects(plainFetch(await serveBytes(t, Buffer.from("SSH-2.0-OpenSSH\r\n"))));
  await assert.rejects(plainFetch(await serveBytes(t, Buffer.from("HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"))), /999/);
  await assert.rejects(plainFetch("http://127.0.0.1:1/"), /ECONNREFUSED/);
  await assert.rejects(plainFetch("http://127.0.0.1:1/", { method: "POST", body: "x" }), TypeError);
});

test("HTTP_PROXY of the environment is asked, NO_PROXY is not", async (t) => {
  const proxy = await serve(t, (request, response) => response.end(`by proxy: ${request.url ?? ""}`));
  const program = `import { plainFetch } from "./src/io/plain-fetch.ts"; console.log(await (await plainFetch(process.argv[1])).text());`;
  const ask = async (noProxy: string): Promise<string> => {
    const env = { PATH: process.env["PATH"] ?? "", HTTP_PROXY: new URL(proxy).origin, NO_PROXY: noProxy };
    const child = spawn(process.execPath, ["--input-type=module", "-e", program, "http://releases.invalid/file"], {
      env,
      cwd: new URL("../..", import.meta.url),
    });
    let text = "";
    for await (const piece of child.stdout) text += String(piece);
    return text.trim();
  };
  assert.equal(await ask(""), "by proxy: http://releases.invalid/file");
  assert.equal(await ask("releases.invalid"), "");
});
