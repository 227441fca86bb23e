/** The agent's control API: the same upgrade by command line, HTTP, server-sent events and WebSocket, and what it refuses. */
import assert from "node:assert/strict";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { answerSchemas, askAgent } from "../../src/agent/agent-client.ts";
import { addToken, removeToken } from "../../src/agent/roles.ts";
import { serveAgent } from "../../src/agent/serve.ts";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { needClient } from "../support/clients.ts";
import { failure, makeSite, noSignal, startVendor, toyFiles } from "../updater/support.ts";
import { codeOf, converse, ended, type Json, startAgent, until } from "./support.ts";

const slipway = join(import.meta.dirname, "../../bin/slipway");

/** A release whose start takes a moment, so that something can happen meanwhile. */
const slow = (version: string, seconds: number) => ({
  files: { ...toyFiles(version), "bin/toy": { content: `#!/bin/sh\nVERSION=${version}\nsleep ${seconds}\n. "$1/serve.sh"\n`, mode: 0o755 } },
});

test("K9 an upgrade by WebSocket answers at once with the transaction, tells its progress, and is healthy at its end; curl reads the same over the Unix socket", async (t) => {
  const { site, vendor, socket, local } = await startAgent(t);
  await vendor.release("1.5.0");
  assert.equal(((await stat(socket)).mode & 0o777).toString(8), "600");
  const talk = await converse(`ws+unix://${socket}:/v1/update/ws`);
  assert.deepEqual(((await talk.call("update.check"))["result"] as Json)["offer"], { kind: "upgrade", version: "1.5.0", skipped: [] });
  const first = (await talk.call("update.install", { version: "1.5.0", idempotencyKey: "k1" }))["result"] as Json;
  assert.equal(first["state"], "running");
  assert.match(String((first["transaction"] as Json)["id"]), /^[0-9a-f]{24}$/);
  const done = await ended(local);
  assert.equal(done.state, "done");
  assert.equal(await site.running(), "1.5.0");
  const again = (await talk.call("update.install", { version: "1.5.0", idempotencyKey: "k1" }))["result"] as Json;
  assert.deepEqual([again["id"], again["state"]], [first["id"], "done"], "the same key finds the same operation");
  assert.equal(codeOf(await talk.call("update.install", { version: "1.6.0", idempotencyKey: "k1" })), "conflict");
  const phases = talk.events.flatMap((frame) =>
    frame["event"] === "update.progress" && (frame["data"] as Json)["event"] === "phase"
      ? [String((frame["data"] as Json)["step"] ?? (frame["data"] as Json)["phase"])]
      : [],
  );
  assert.deepEqual([...new Set(phases)], ["created", "downloading", "downloaded", "verified", "prepare", "switch", "trial", "applied"]);
  const curl = await runCommand(["curl", "-sS", "--max-time", "10", "--unix-socket", socket, "http://localhost/v1/update/status"], { timeoutMs: 15_000 });
  assert.equal((JSON.parse(curl.stdout) as Json)["installed"], "1.5.0", curl.stderr);
  const events = await runCommand(
    ["curl", "-sS", "-N", "--max-time", "1", "-H", "Last-Event-ID: 0", "--unix-socket", socket, "http://localhost/v1/update/events"],
    { timeoutMs: 15_000 },
  );
  assert.match(events.stdout, /^id: 1\nevent: update\.\w+\ndata: \{/m);
  assert.match(events.stdout, /event: update\.operation\ndata: .*"state":"done"/);
  assert.equal((await local("POST", "/v1/update/rollback", { body: { restoreState: "never" } })).status, 202);
  assert.equal((await ended(local)).state, "done");
  assert.equal(await site.running(), "1.4.2");
});

test("K9 a release with a broken signature is refused before the switch, in the same words by command line, HTTP and WebSocket", async (t) => {
  const { site, vendor, socket, local } = await startAgent(t);
  await vendor.release("1.5.0");
  vendor.releases.get("1.5.0")?.delete("SHA256SUMS.minisig");
  const byCommand = await runCommand([slipway, "upgrade", "install", "--json", "--installation", site.file], { timeoutMs: 30_000 });
  assert.equal(byCommand.exitCode, 20, byCommand.stdout);
  const said = (JSON.parse(byCommand.stdout.trim().split("\n").at(-1) ?? "") as Json)["error"] as Json;
  await local("POST", "/v1/update/install", { body: {} });
  const byHttp = (await ended(local)).error;
  const talk = await converse(`ws+unix://${socket}:/v1/update/ws`);
  await talk.call("update.install");
  const ending = await until(
    () => talk.events.find((frame) => frame["event"] === "update.operation" && (frame["data"] as Json)["state"] === "failed"),
    "the end of the operation",
  );
  for (const error of [byHttp, (ending["data"] as Json)["error"] as Json]) {
    assert.deepEqual([error?.["code"], error?.["detail"], error?.["message"]], [said["code"], said["detail"], said["message"]]);
  }
  assert.equal(said["code"], "upgrade_verification_failed");
  assert.equal(await site.running(), "1.4.2");
  talk.socket.close();
});

test("66 a client that disconnects in the middle finds the same transaction when it asks again; another version is lock_held", async (t) => {
  const { site, vendor, socket, local } = await startAgent(t);
  await vendor.release("1.5.0", slow("1.5.0", 0.7));
  await vendor.release("1.6.0");
  const talk = await converse(`ws+unix://${socket}:/v1/update/ws`);
  const first = (await talk.call("update.install", { version: "1.5.0" }))["result"] as Json;
  talk.socket.terminate();
  await talk.closed;
  const again = await local("POST", "/v1/update/install", { body: { version: "1.5.0" } });
  assert.deepEqual([again.status, again.body["id"], (again.body["transaction"] as Json)["id"]], [202, first["id"], (first["transaction"] as Json)["id"]]);
  const other = await local("POST", "/v1/update/install", { body: { version: "1.6.0" } });
  assert.deepEqual([other.status, codeOf(other)], [409, "lock_held"]);
  assert.equal((await ended(local)).state, "done");
  assert.equal(await site.running(), "1.5.0");
  assert.equal((await local("POST", "/v1/update/install", { body: { version: "1.6.0" } })).status, 202);
  assert.equal((await ended(local)).state, "done");
  assert.equal(await site.running(), "1.6.0");
});

test("what is begun can be given up until it switches, and then no more", async (t) => {
  const { site, vendor, local } = await startAgent(t);
  await vendor.release("1.5.0", slow("1.5.0", 0.5));
  let isAsked = false;
  vendor.faults.answer = async (_request, response, file) => {
    if (!file.endsWith(".tar.gz") || isAsked) return false;
    isAsked = true;
    response.writeHead(200, { "content-length": 100_000 });
    response.write("x".repeat(100)); // and then nothing more
    return true;
  };
  const begun = await local("POST", "/v1/update/install", { body: { version: "1.5.0" } });
  assert.equal(begun.body["state"], "running");
  await until(() => isAsked, "the download has begun");
  assert.deepEqual((await local("POST", "/v1/update/cancel", { body: {} })).body, { cancelled: "1.5.0" });
  const given = (await local("GET", "/v1/update/status")).body;
  assert.equal((given["transaction"] as Json)["phase"], "failed");
  assert.equal(given["installed"], "1.4.2");
  await local("POST", "/v1/update/install", { body: { version: "1.5.0" } });
  await until(async () => ["switch", "trial"].includes(String(((await local("GET", "/v1/update/status")).body["transaction"] as Json)["step"])), "the switch");
  assert.equal(codeOf(await local("POST", "/v1/update/cancel", { body: {} })), "conflict");
  await ended(local);
  assert.equal(await site.running(), "1.5.0");
});

test("65 command line and agent at once: one runs, the other is lock_held", async (t) => {
  const { vendor, site, local } = await startAgent(t);
  await vendor.release("1.5.0", slow("1.5.0", 1));
  const byCommand = runCommand([slipway, "upgrade", "install", "--json", "--installation", site.file], { timeoutMs: 30_000 });
  await until(async () => (await local("GET", "/v1/update/status")).body["atWork"] === "install", "the command line works");
  const refused = await local("POST", "/v1/update/install", { body: {} });
  assert.deepEqual([refused.status, codeOf(refused)], [409, "lock_held"]);
  assert.equal((await byCommand).exitCode, 0);
});

test("roles: read sees codes and versions and no texts, and may not install; a token that is taken back ends at once", async (t) => {
  const { vendor, site, remote, local, token } = await startAgent(t);
  const [reader, installer] = [await token("read"), await token("install")];
  for (const headers of [{}, { authorization: "Bearer slagent_wrong" }, { authorization: "Basic eDp5" }])
    assert.equal((await remote("GET", "/v1/update/status", { headers })).status, 401);
  assert.equal((await remote("GET", "/v1/update/status", { token: reader })).status, 200);
  assert.equal((await remote("POST", "/v1/update/install", { token: reader, body: {} })).status, 403);
  assert.equal((await remote("POST", "/v1/update/rollback", { token: installer, body: {} })).status, 403);
  // 82: the failure below quotes paths and addresses.
  await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes") });
  assert.equal((await remote("POST", "/v1/update/install", { token: installer, body: { version: "1.5.0" } })).status, 202);
  await ended(local);
  const seen = JSON.stringify((await remote("GET", "/v1/update/status", { token: reader })).body);
  assert.match(seen, /"code":"health_failed"/);
  assert.doesNotMatch(seen, new RegExp(`${site.folder}|https?:|/var/|/opt/|toy-secret|${vendor.port}|${installer}`));
  const full = JSON.stringify((await remote("GET", "/v1/update/status", { token: installer })).body);
  assert.match(full, /is not healthy/);
  assert.doesNotMatch(full, /toy-secret|slagent_/);
  await removeToken(join(site.folder, "tokens.json"), "token-1");
  assert.equal((await remote("GET", "/v1/update/status", { token: reader })).status, 401);
});

test("82 events for role read carry no texts, neither as server-sent events nor by WebSocket", async (t) => {
  const { vendor, site, port, remote, local, token } = await startAgent(t);
  const [reader, installer] = [await token("read"), await token("install")];
  const talk = await converse(`ws://127.0.0.1:${port}/v1/update/ws`, { token: reader });
  await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes") });
  await remote("POST", "/v1/update/install", { token: installer, body: {} });
  await ended(local);
  const stream = await runCommand(
    ["curl", "-sS", "-N", "--max-time", "1", "-H", "Last-Event-ID: 0", "-H", `Authorization: Bearer ${reader}`, `http://127.0.0.1:${port}/v1/update/events`],
    { timeoutMs: 15_000 },
  );
  for (const text of [stream.stdout, JSON.stringify(talk.events)]) {
    assert.match(text, /rolledBack/);
    assert.doesNotMatch(text, new RegExp(`${site.folder}|"text"|https?:|is not healthy`));
  }
  talk.socket.close();
});

test("a foreign name and a foreign page are refused, over HTTP and as a WebSocket", async (t) => {
  const { remote, local, port, socket, token } = await startAgent(t);
  const reader = await token("read");
  for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1.evil.example"])
    assert.equal((await remote("GET", "/v1/update/status", { token: reader, headers: { host } })).status, 403, host);
  for (const host of [`localhost:${port}`, `[::1]:${port}`])
    assert.equal((await remote("GET", "/v1/update/status", { token: reader, headers: { host } })).status, 200, host);
  assert.equal((await local("GET", "/v1/update/status", { headers: { origin: "https://evil.example" } })).status, 403);
  const url = `ws://127.0.0.1:${port}/v1/update/ws`;
  await assert.rejects(converse(url), /answered 401/);
  await assert.rejects(converse(url, { token: reader, origin: "https://evil.example" }), /answered 403/);
  await assert.rejects(converse(url, { token: reader, host: "evil.example" }), /answered 403/);
  await assert.rejects(converse(`ws+unix://${socket}:/v1/update/other`), /answered 404/);
});

test("over TLS the same, for a client that knows the certificate; an address beyond this machine is refused without it", async (t) => {
  if (!needClient(t, "openssl")) return;
  const vendor = await startVendor(t);
  const site = await makeSite(
    vendor,
    { extra: `agent: { socket: false, listen: "127.0.0.1:0", tokens: tokens.json, tls: { certificate: cert.pem, key: key.pem } }` },
    t,
  );
  const at = (name: string): string => join(site.folder, name);
  await requireCommand(
    [
      "openssl",
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=agent",
      "-addext",
      "subjectAltName=IP:127.0.0.1",
      "-keyout",
      at("key.pem"),
      "-out",
      at("cert.pem"),
    ],
    { timeoutMs: 20_000 },
  );
  const token = await addToken(at("tokens.json"), "fleet", ["read"]);
  const { observe: _observe, ...machine } = thisMachine(() => undefined);
  const running = await serveAgent({ installation: await site.installation(), machine, onFailure: () => undefined });
  t.after(() => running.stop());
  const question = { verb: "GET", path: "/v1/update/status", answer: answerSchemas.status, signal: noSignal } as const;
  const url = running.addresses[0] ?? "";
  assert.match(url, /^https:/);
  const ca = await readFile(at("cert.pem"), "utf8");
  assert.equal((await askAgent({ url, token, ca }, question)).product, "toy");
  await failure(askAgent({ url, token }, question), "network_unreachable");
  await failure(askAgent({ url, token: "slagent_wrong", ca }, question), "unauthorized");
  for (const [section, why] of [
    ['listen: "0.0.0.0:0", tokens: t.json', /needs tls/],
    ['listen: "127.0.0.1:0"', /needs tokens/],
    ["socket: false", /needs listen/],
    [`socket: ${"x".repeat(120)}`, /too long for a Unix socket/],
  ] as const) {
    const other = await makeSite(vendor, { extra: `agent: { ${section} }` }, t);
    assert.match(
      (await failure(serveAgent({ installation: await other.installation(), machine, onFailure: () => undefined }), "installation_invalid")).message,
      why,
    );
  }
});

test("a second agent for the same installation is refused, and a socket that a killed one left is taken over", async (t) => {
  const { site, socket } = await startAgent(t, { isBare: true });
  const { observe: _observe, ...machine } = thisMachine(() => undefined);
  await failure(serveAgent({ installation: await site.installation(), machine, onFailure: () => undefined }), "conflict");
  const other = await makeSite(await startVendor(t), { extra: 'agent: { check_every: "off" }' }, t);
  await mkdir(other.updates, { recursive: true, mode: 0o700 });
  const left = join(other.updates, "agent.sock");
  await runCommand(["python3", "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", left], { timeoutMs: 10_000 });
  assert.ok((await stat(left)).isSocket());
  const running = await serveAgent({ installation: await other.installation(), machine, onFailure: () => undefined });
  await running.stop();
  await writeFile(left, "no socket");
  await failure(serveAgent({ installation: await other.installation(), machine, onFailure: () => undefined }), "state_dir_insecure");
  assert.ok((await stat(socket)).isSocket());
});

test("what is too much is refused: bodies, frames, words that are not JSON, unknown parameters, too many streams", async (t) => {
  const { local, socket } = await startAgent(t);
  assert.equal((await local("POST", "/v1/update/install", { body: { version: "1".repeat(20_000) } })).status, 413);
  assert.equal((await local("POST", "/v1/update/install", { body: "{" })).status, 400);
  assert.equal(codeOf(await local("POST", "/v1/update/install", { body: { verson: "1.5.0" } })), "usage");
  assert.equal(codeOf(await local("POST", "/v1/update/install", { body: { version: "../../etc" } })), "usage");
  assert.equal((await local("GET", "/v1/other")).status, 404);
  const url = `ws+unix://${socket}:/v1/update/ws`;
  const huge = await converse(url);
  huge.socket.send("x".repeat(20_000));
  assert.equal(await huge.closed, 1009);
  const broken = await converse(url);
  broken.socket.send("[]");
  assert.equal(await broken.closed, 1007);
  const talk = await converse(url);
  assert.equal(codeOf(await talk.call("update.explode")), "not_found");
  const many = await Promise.all(Array.from({ length: 15 }, () => converse(url)));
  await assert.rejects(converse(url), /answered 429/);
  for (const one of [...many, talk]) one.socket.terminate();
  const next = await until(() => converse(url).catch(() => undefined), "a place is free again");
  next.socket.terminate();
});

test("a listener that does not read is cut, and everybody else is served", async (t) => {
  const { vendor, socket, local } = await startAgent(t);
  const newer = Array.from({ length: 60 }, (_, index) => ({
    version: `2.0.0-preview.${index}`,
    channel: "preview",
    sequence: 5000 + index,
    publishedAt: "2026-01-01T00:00:00Z",
    state: "published",
  }));
  vendor.faults.index = () => ({ schema: 1, product: "toy", channels: {}, releases: newer, retired: [] });
  const deaf = connect(socket);
  t.after(() => deaf.destroy());
  deaf.on("error", () => undefined);
  deaf.write("GET /v1/update/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await until(() => deaf.bytesRead > 0, "the stream is open");
  deaf.pause();
  // Each check is an event of 3 kB; the socket's own buffers take some, then the limit of 256 KiB is reached.
  for (let count = 0; count < 200; count += 1) await local("POST", "/v1/update/check", { body: {} });
  deaf.resume(); // what lies in the buffers, and then the end
  await until(() => deaf.destroyed, "it is cut");
  assert.ok(deaf.bytesRead < 1_000_000, `${deaf.bytesRead} bytes were sent to it`);
  assert.equal((await local("GET", "/v1/update/status")).status, 200);
});
