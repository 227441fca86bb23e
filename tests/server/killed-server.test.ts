/** A real `slipway serve` process: killed under load, told to stop during a download, started again. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { stat } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { get, hexOf, issuePair, makeDraft, publish } from "./running-server.ts";
import { dataFolder, entry, serve } from "./served-process.ts";

test("kill -9 under load: after the restart every published release is whole and every acknowledged audit event is there", async (t) => {
  const dataDir = await dataFolder(t);
  const first = await serve(t, dataDir);
  await publish(first.running, "coequal", "1.0.0");
  const pair = await issuePair(first.running, "acme", "coequal");
  // Load: six readers that count each download whose last byte they got, and releases published meanwhile.
  const load = { isOver: false, acknowledged: 0 };
  const readers = Array.from({ length: 6 }, async (_, reader) => {
    while (!load.isOver) {
      const response = await get(first.running, "/releases/coequal/1.0.0/SHA256SUMS", pair, { "user-agent": `reader-${reader}` }).catch(() => undefined);
      const body = await response?.text().catch(() => undefined);
      if (body !== undefined && response?.status === 200) load.acknowledged += 1;
      if (response === undefined) return;
    }
  });
  const published: string[] = ["1.0.0"];
  const publishing = (async () => {
    for (let patchNumber = 1; patchNumber < 100; patchNumber += 1) {
      await publish(first.running, "coequal", `1.0.${patchNumber}`);
      published.push(`1.0.${patchNumber}`);
    }
  })().catch(() => undefined); // the kill ends it
  await sleep(1500);
  await first.running.stop();
  load.isOver = true;
  await Promise.all([...readers, publishing]);
  assert.ok(load.acknowledged > 50, `only ${load.acknowledged} downloads before the kill`);

  const second = await serve(t, dataDir);
  let recorded = 0;
  let after: string | undefined;
  do {
    const page = (await second.running.admin("GET", `/audit?action=download&limit=1000${after === undefined ? "" : `&after=${after}`}`)).body as {
      events: { result: string }[];
      next: string | null;
    };
    recorded += page.events.filter((event) => event.result === "complete").length;
    after = page.next ?? undefined;
  } while (after !== undefined);
  assert.ok(recorded >= load.acknowledged, `${recorded} recorded of ${load.acknowledged} acknowledged`);

  const index = (await (await get(second.running, "/releases/coequal/index.json", pair)).json()) as { releases: { version: string }[] };
  const visible = index.releases.map(({ version }) => version);
  for (const version of published) assert.ok(visible.includes(version), `${version} was acknowledged and is gone`);
  for (const version of visible) {
    const sums = await (await get(second.running, `/releases/coequal/${version}/SHA256SUMS`, pair)).text();
    for (const line of sums.trim().split("\n")) {
      const [hex, name] = line.split("  ");
      const response = await get(second.running, `/releases/coequal/${version}/${name}`, pair);
      assert.equal(response.status, 200, `${version} ${name}`);
      assert.equal(hexOf(Buffer.from(await response.arrayBuffer())), hex, `${version} ${name}`);
    }
  }
  // What was under way is a draft that can be finished.
  await publish(second.running, "coequal", "1.0.99");
});

test("SIGTERM lets a running download end, takes nothing new, and exits 0; logs are JSON lines with constant events", async (t) => {
  const dataDir = await dataFolder(t);
  const child = await serve(t, dataDir);
  const content = Buffer.alloc(32 * 1024 * 1024, 5);
  await publish(child.running, "coequal", "1.0.0", [{ name: "coequal-1.0.0-large.bin", content }]);
  const pair = await issuePair(child.running, "acme", "coequal");
  const { hostname, port } = new URL(child.running.url);
  let received = 0;
  const done = new Promise<void>((resolveDone) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(`GET /releases/coequal/1.0.0/coequal-1.0.0-large.bin HTTP/1.1\r\nHost: x\r\nAuthorization: ${pair.authorization}\r\n\r\n`);
    });
    socket.on("data", (piece: Buffer) => {
      if (received === 0) {
        child.process.kill("SIGTERM");
        socket.pause();
        setTimeout(() => socket.resume(), 300); // the server is stopping when the rest is read
      }
      received += piece.length;
    });
    socket.on("close", () => resolveDone());
  });
  const exited = once(child.process, "exit");
  await sleep(250);
  await assert.rejects(fetch(`${child.running.url}/healthz`), "no new connection is taken");
  await done;
  assert.ok(received > content.length, `${received} bytes of head and body`);
  const [code] = await exited;
  assert.equal(code, 0);
  const events = child
    .stderr()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.ok(events.every((event) => typeof event["event"] === "string" && typeof event["time"] === "string"));
  assert.deepEqual(
    events.filter((event) => ["started", "stopping", "stopped"].includes(String(event["event"]))).map((event) => event["event"]),
    ["started", "stopping", "stopped"],
  );
  assert.doesNotMatch(child.stderr(), new RegExp(`${child.running.adminToken}|${pair.secret}`));

  const again = await serve(t, dataDir);
  const downloads = (await again.running.admin("GET", "/audit?action=download")).body["events"] as { result: string; bytes: number }[];
  assert.deepEqual(
    downloads.map(({ result, bytes }) => [result, bytes]),
    [["complete", content.length]],
  );
});

test("C15 the first start says where the API and the admin token are, never the token, and keeps its folder private", async (t) => {
  const dataDir = await dataFolder(t);
  const child = await serve(t, dataDir);
  const started = JSON.parse(child.stdout().trim().split("\n")[0] ?? "{}") as Record<string, unknown>;
  assert.equal(started["event"], "started");
  assert.equal(started["api"], `${child.running.url}/api/v1`);
  assert.equal(started["adminTokenFile"], join(dataDir, "admin-token"));
  const line = JSON.parse(child.stderr().trim().split("\n")[0] ?? "{}") as Record<string, unknown>;
  assert.equal(line["version"], started["version"]);
  assert.doesNotMatch(child.stdout() + child.stderr(), new RegExp(child.running.adminToken));
  assert.equal((await stat(dataDir)).mode & 0o777, 0o700);
  assert.equal((await stat(join(dataDir, "admin-token"))).mode & 0o777, 0o600);
  assert.equal((await stat(join(dataDir, "key-encryption-key"))).mode & 0o777, 0o600);
  await makeDraft(child.running, "coequal", "1.0.0");
});

test("a setting that cannot be stops the start with exit 2 and its name", async (t) => {
  const dataDir = await dataFolder(t);
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", entry, "serve", "--data-dir", dataDir, "--stop-timeout", "soon"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (piece: Buffer) => (stderr += piece.toString()));
  const [code] = await once(child, "exit");
  assert.equal(code, 2);
  assert.match(stderr, /--stop-timeout stop-timeout: expected a duration/);
});
