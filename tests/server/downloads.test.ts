/** What customers download: whole, in parts, conditionally, by name and by `latest`; and what the audit trail says of it. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { get, hexOf, issuePair, type Pair, publish, type RunningServer, startServer, type TestFile } from "./running-server.ts";

const large = Buffer.alloc(24 * 1024 * 1024, "0123456789abcdef");
let running: RunningServer;
let pair: Pair;
let files: readonly TestFile[];

before(async () => {
  running = await startServer();
  await publish(running, "coequal", "1.4.1");
  files = await publish(running, "coequal", "1.4.2", [{ name: "coequal-1.4.2-data.bin", content: large }]);
  pair = await issuePair(running, "acme", "coequal");
});
after(() => running.stop());

type Event = Record<string, unknown>;

async function downloads(): Promise<readonly Event[]> {
  const answer = await running.admin("GET", "/audit?action=download&limit=1000");
  return answer.body["events"] as Event[];
}

test("C3 a pinned file, latest, and the name with the word latest give the same bytes with the digest as ETag", async () => {
  const file = files.find(({ name }) => name === "coequal-1.4.2-linux-amd64");
  assert.ok(file);
  for (const path of ["1.4.2/coequal-1.4.2-linux-amd64", "latest/coequal-1.4.2-linux-amd64", "latest/coequal-latest-linux-amd64"]) {
    const response = await get(running, `/releases/coequal/${path}`, pair);
    assert.equal(response.status, 200, path);
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), Buffer.from(file.content));
    assert.equal(response.headers.get("etag"), `"${hexOf(file.content)}"`);
    assert.match(response.headers.get("cache-control") ?? "", path.startsWith("1.4.2") ? /^private, .*immutable/ : /^private, no-cache$/);
  }
});

test("every listed artifact comes back byte for byte, from memory and from disk", async () => {
  for (const file of files) {
    const response = await get(running, `/releases/coequal/1.4.2/${file.name}`, pair);
    assert.equal(hexOf(Buffer.from(await response.arrayBuffer())), hexOf(file.content), file.name);
  }
});

const small = "coequal-1.4.2-linux-amd64";
for (const name of [small, "coequal-1.4.2-data.bin"]) {
  test(`ranges, conditions and HEAD of ${name} are exact`, async () => {
    const path = `/releases/coequal/1.4.2/${name}`;
    const head = await fetch(running.url + path, { method: "HEAD", headers: { authorization: pair.authorization } });
    const size = Number(head.headers.get("content-length"));
    const etag = head.headers.get("etag") ?? "";
    const modified = head.headers.get("last-modified") ?? "";
    const content = files.find((file) => file.name === name)?.content ?? Buffer.alloc(0);
    assert.equal(size, content.length);
    const rows: readonly (readonly [Record<string, string>, number, number, number])[] = [
      [{ range: "bytes=0-0" }, 206, 0, 1],
      [{ range: "bytes=5-" }, 206, 5, size],
      [{ range: "bytes=-7" }, 206, size - 7, size],
      [{ range: "bytes=5-", "if-range": modified }, 206, 5, size],
      [{ range: "bytes=5-", "if-range": etag }, 206, 5, size],
      [{ range: "bytes=5-", "if-range": '"old"' }, 200, 0, size],
      [{ range: "bytes=0-1,3-4" }, 200, 0, size],
    ];
    for (const [headers, status, start, end] of rows) {
      const response = await get(running, path, pair, headers);
      const body = Buffer.from(await response.arrayBuffer());
      assert.equal(response.status, status, JSON.stringify(headers));
      assert.ok(body.equals(content.subarray(start, end)), JSON.stringify(headers));
      if (status === 206) assert.equal(response.headers.get("content-range"), `bytes ${start}-${end - 1}/${size}`);
    }
    const beyond = await get(running, path, pair, { range: `bytes=${size}-` });
    assert.equal(beyond.status, 416);
    assert.equal(beyond.headers.get("content-range"), `bytes */${size}`);
    assert.equal((await get(running, path, pair, { "if-none-match": etag })).status, 304);
    assert.equal((await get(running, path, pair, { "if-modified-since": modified })).status, 304);
    assert.equal((await get(running, path, pair, { "if-match": '"old"' })).status, 412);
  });
}

test("a download is one audit event with who, what, version, bytes and result; HEAD and 304 are none", async () => {
  const known = (await downloads()).length;
  const path = `/releases/coequal/1.4.2/${small}`;
  await fetch(running.url + path, { method: "HEAD", headers: { authorization: pair.authorization } });
  const response = await get(running, path, pair, { "user-agent": "tester/1" });
  const body = await response.arrayBuffer();
  await get(running, path, pair, { "if-none-match": response.headers.get("etag") ?? "" });
  const events = await downloads();
  assert.equal(events.length, known + 1);
  const { at: _at, id: _id, ...event } = events[0] as Event & { actor: Event };
  assert.equal(event.actor["kind"], "customer");
  const expected = {
    customer: "acme",
    keyId: pair.id,
    action: "download",
    product: "coequal",
    version: "1.4.2",
    artifact: small,
    path,
    protocol: "files",
    address: "127.0.0.1",
    client: "tester/1",
    status: 200,
    bytes: body.byteLength,
    result: "complete",
    detail: null,
    link: null,
  };
  assert.deepEqual({ ...event, actor: undefined }, { ...expected, actor: undefined });
});

test("a download that breaks off is recorded as aborted with fewer bytes than the file has", async () => {
  const { hostname, port } = new URL(running.url);
  await new Promise<void>((resolve) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(`GET /releases/coequal/1.4.2/coequal-1.4.2-data.bin HTTP/1.1\r\nHost: x\r\nAuthorization: ${pair.authorization}\r\n\r\n`);
    });
    socket.once("data", () => {
      socket.pause(); // reads nothing more: the server fills the kernel's buffers and waits
      setTimeout(() => socket.destroy(), 200);
    });
    socket.on("close", () => resolve());
  });
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const [event] = await downloads();
    if (event?.["result"] === "aborted") {
      assert.ok(Number(event["bytes"]) < large.length);
      assert.equal(event["artifact"], "coequal-1.4.2-data.bin");
      return;
    }
    await sleep(50);
  }
  assert.fail("no aborted event appeared");
});

test("the index, the APT tree and the YUM tree come from one snapshot and name no draft", async () => {
  const index = (await (await get(running, "/releases/coequal/index.json", pair)).json()) as { channels: unknown; releases: unknown[] };
  assert.deepEqual(index.channels, { stable: "1.4.2" });
  assert.equal(index.releases.length, 2);
  for (const path of ["/apt/coequal/dists/stable/InRelease", "/apt/coequal/dists/stable/Release.gpg", "/yum/coequal/stable/repodata/repomd.xml"]) {
    const response = await get(running, path, pair);
    assert.equal(response.status, 200, path);
    assert.equal(response.headers.get("cache-control"), "private, no-cache");
    await response.arrayBuffer();
  }
});

test("C6 a withdrawn version answers 410 with the replacement in reason phrase and body, and latest falls back", async () => {
  await publish(running, "coequal", "1.4.3");
  assert.equal((await running.admin("POST", "/products/coequal/releases/1.4.3/withdraw", { reason: "test" })).status, 200);
  const gone = await get(running, "/releases/coequal/1.4.3/SHA256SUMS", pair);
  assert.equal(gone.status, 410);
  assert.match(gone.statusText, /^Gone - coequal 1\.4\.3 was withdrawn by the vendor; use 1\.4\.2 instead \(test\)$/);
  const body = (await gone.json()) as { error: { code: string; detail: string } };
  assert.equal(body.error.code, "gone");
  assert.equal(body.error.detail, "1.4.2");
  assert.equal((await downloads())[0]?.["result"], "gone");
  const latest = await get(running, "/releases/coequal/latest/coequal-latest-linux-amd64", pair);
  assert.match(await latest.text(), /coequal 1\.4\.2/);
});

test("the set-up files name this server and carry the caller's own pair, and are not stored on the way", async () => {
  const sources = await get(running, "/setup/coequal/coequal.sources", pair);
  assert.equal(sources.headers.get("cache-control"), "no-store");
  assert.match(await sources.text(), new RegExp(`^URIs: ${running.url}/apt/coequal$`, "m"));
  const repo = await (await get(running, "/setup/coequal/coequal.repo", pair)).text();
  assert.match(repo, new RegExp(`^username=${pair.id}$`, "m"));
  assert.match(repo, new RegExp(`^baseurl=${running.url}/yum/coequal/stable$`, "m"));
  assert.match(await (await get(running, "/setup/coequal/coequal.conf", pair)).text(), new RegExp(`login ${pair.id} password ${pair.secret}`));
  assert.equal((await get(running, "/setup/coequal/other.repo", pair)).status, 404);
});

test("C14 public keys and repomd.xml.key need no pair, because dnf5 and zypper send none for them", async () => {
  for (const path of ["/keys/coequal.asc", "/yum/coequal/stable/repodata/repomd.xml.key"]) {
    const response = await get(running, path);
    assert.equal(response.status, 200, path);
    assert.match(await response.text(), /^-----BEGIN PGP PUBLIC KEY BLOCK-----/);
  }
  assert.equal((await get(running, "/keys/coequal.gpg")).status, 200);
  assert.equal((await get(running, "/keys/coequal.minisign.pub")).status, 404, "no minisign key is registered");
  assert.equal((await get(running, "/keys/unknown.asc")).status, 404);
});
