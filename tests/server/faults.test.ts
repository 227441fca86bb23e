/** Bodies that never end, bodies that stop coming, names that are paths, and what the time of an answer says: refused, and the server goes on. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { signedHeaders } from "../support/aws-signer.ts";
import { rawGet } from "./raw-request.ts";
import { get, issuePair, type Pair, publish, type RunningServer, startServer } from "./running-server.ts";

let running: RunningServer;
let pair: Pair;
before(async () => {
  running = await startServer({ idleTimeout: "2s", uploadTimeout: "6s" });
  await publish(running, "coequal", "1.0.0");
  await publish(running, "secret", "1.0.0");
  pair = await issuePair(running, "acme", "coequal");
});
after(() => running.stop());

/** A connection with its head sent, and everything that the server says on it. */
function opened(head: readonly string[]): { readonly socket: Socket; readonly answer: () => string } {
  const { hostname, port } = new URL(running.url);
  const socket = connect(Number(port), hostname);
  let answer = "";
  socket.on("data", (piece: Buffer) => (answer += piece.toString("latin1")));
  socket.on("error", () => undefined); // the server closes while we still write
  socket.write([...head, "", ""].join("\r\n"));
  return { socket, answer: () => answer };
}

const headOf = (method: string, path: string, ...more: readonly string[]): readonly string[] => [
  `${method} ${path} HTTP/1.1`,
  `Host: ${new URL(running.url).host}`,
  `Authorization: Bearer ${running.adminToken}`,
  ...more,
];

test("a JSON body without an end is refused at 1 MiB, a manifest at 4 MiB, and the connection is closed", async () => {
  await running.admin("POST", "/products", { name: "coequal" });
  for (const [method, path, type] of [
    ["POST", "/api/v1/products", "application/json"],
    ["PUT", "/v2/coequal/manifests/1.9.0", "application/vnd.oci.image.manifest.v1+json"],
  ] as const) {
    const piece = `10000\r\n${" ".repeat(65_536)}\r\n`;
    const sendWithoutEnd = async (): Promise<{ readonly text: string; readonly sent: number }> => {
      const { socket, answer } = opened(headOf(method, path, `Content-Type: ${type}`, "Transfer-Encoding: chunked"));
      let sent = 0;
      while (!socket.destroyed && answer() === "" && sent < 64 * 1024 * 1024) {
        if (!socket.write(piece)) await Promise.race([once(socket, "drain"), once(socket, "close"), once(socket, "data")]).catch(() => undefined);
        sent += 65_536;
      }
      socket.destroy();
      return { text: answer(), sent };
    };
    let { text, sent } = await sendWithoutEnd();
    // A reset, which answers what is still being written, may overtake the answer (RFC 9112, 9.6).
    for (let more = 0; more < 5 && text === ""; more += 1) ({ text, sent } = await sendWithoutEnd());
    assert.match(text, /^HTTP\/1\.1 413 /, path);
    assert.ok(sent < 32 * 1024 * 1024, `${path}: refused after ${sent} bytes`);
  }
  assert.equal((await get(running, "/healthz")).status, 200);
});

test("a JSON body of brackets alone is refused like any other that is not asked for", async () => {
  const depth = 250_000;
  const response = await fetch(`${running.url}/api/v1/products`, {
    method: "POST",
    headers: { authorization: `Bearer ${running.adminToken}`, "content-type": "application/json" },
    body: "[".repeat(depth) + "]".repeat(depth),
  });
  assert.equal(response.status, 400, await response.text());
});

test("a body that stops coming is given up after the time that an upload may take, and nothing of it is published or readable", async () => {
  const digest = `sha256:${"a".repeat(64)}`;
  const head = headOf(
    "PATCH",
    `/api/v1/uploads/${digest}`,
    "Content-Type: application/octet-stream",
    "Content-Length: 1000",
    "Upload-Offset: 0",
    "Upload-Length: 1000",
  );
  const { socket } = opened(head);
  socket.write("only a few bytes");
  const startedAt = performance.now();
  await once(socket, "close");
  assert.ok(performance.now() - startedAt < 20_000);
  assert.equal((await get(running, "/healthz")).status, 200);
  const again = await running.admin("PUT", "/products/coequal/releases/1.0.0/artifacts/half", { digest, size: 1000 });
  assert.ok(again.status >= 400, "half an upload cannot be attached");
});

test("image names, tags and bucket keys that are paths reach nothing, whoever asks", async () => {
  for (const header of [`Authorization: ${pair.authorization}`, `Authorization: Bearer ${running.adminToken}`]) {
    for (const target of [
      "/v2/../../etc/passwd/manifests/1",
      "/v2/coequal/../secret/manifests/1.0.0",
      "/v2/coequal%2f..%2fsecret/manifests/1.0.0",
      "/v2/coequal/%2e%2e/secret/tags/list",
      "/v2/coequal/manifests/..%2f..%2fslipway.db",
      "/v2/coequal/blobs/sha256:..%2f..%2fslipway.db",
      "/v2/coequal/blobs/sha256:%00",
      `/v2/${"a/".repeat(200)}manifests/1`,
    ]) {
      const { status, body } = await rawGet(running.url, target, [header]);
      assert.ok(status >= 400 && status < 500, `${target}: ${status}`);
      assert.ok(!/SQLite format|root:|secret_1\.0\.0/.test(body), target);
    }
  }
  const { host } = new URL(running.url);
  for (const key of ["../secret/SHA256SUMS", "..%2fsecret%2fSHA256SUMS", "deb/../../secret/SHA256SUMS", "%2e%2e/%2e%2e/slipway.db", "//etc/passwd", "deb%00"]) {
    const target = `/coequal/${key}`;
    const { host: _, ...headers } = signedHeaders({ id: pair.id, secret: pair.secret, host, target });
    const { status, body } = await rawGet(
      running.url,
      target,
      Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    );
    assert.ok(status >= 400 && status < 500, `${key}: ${status}`);
    assert.ok(!/SQLite format|root:|secret_1\.0\.0/.test(body), key);
  }
});

test("C9 a foreign product and one that does not exist take the same answer and the same time, on every protocol", async () => {
  // The fastest of many: what other work on the machine adds is never less than nothing.
  const least = (times: readonly number[]): number => Math.min(...times);
  for (const path of [
    (name: string) => `/apt/${name}/dists/stable/InRelease`,
    (name: string) => `/yum/${name}/stable/repodata/repomd.xml`,
    (name: string) => `/releases/${name}/index.json`,
    (name: string) => `/v2/${name}/tags/list`,
    (name: string) => `/tuf/${name}/stable/timestamp.json`,
  ]) {
    const times: Record<"secret" | "absent", number[]> = { secret: [], absent: [] };
    const bodies: Record<"secret" | "absent", Set<string>> = { secret: new Set(), absent: new Set() };
    for (let round = 0; round < 60; round += 1) {
      for (const name of round % 2 === 0 ? (["secret", "absent"] as const) : (["absent", "secret"] as const)) {
        const startedAt = performance.now();
        const answer = await get(running, path(name), pair);
        const text = await answer.text();
        times[name].push(performance.now() - startedAt);
        bodies[name].add(`${answer.status} ${text.replace(/"requestId":"[^"]*"/, "").replaceAll(name, "NAME")}`);
      }
    }
    assert.equal(bodies.secret.size, 1, path("secret"));
    assert.deepEqual(bodies.secret, bodies.absent);
    const [secret, absent] = [least(times.secret), least(times.absent)];
    // A look into the database for one of them only would be more.
    assert.ok(Math.abs(secret - absent) < Math.max(1, 0.5 * Math.min(secret, absent)), `${path("x")}: ${secret} ms and ${absent} ms`);
  }
});
