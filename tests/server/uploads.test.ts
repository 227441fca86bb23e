/** Uploads: resumed by digest, and every bad one refused with nothing stored; a full disk does not stop the server. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { get, hexOf, issuePair, patch, publish, releaseFiles, type RunningServer, startServer } from "./running-server.ts";

let running: RunningServer;
before(async () => {
  running = await startServer({ uploadLimit: "1MiB" });
  await running.admin("POST", "/products", { name: "coequal" });
  await running.admin("POST", "/products/coequal/releases", { version: "1.0.0", channel: "stable" });
});
after(() => running.stop());

async function errorOf(response: Response): Promise<{ status: number; code: string; message: string }> {
  const body = (await response.json()) as { error?: { code: string; message: string } };
  return { status: response.status, code: body.error?.code ?? "", message: body.error?.message ?? "" };
}

async function statusOf(digest: string): Promise<unknown> {
  return (await running.admin("GET", `/uploads/${digest}`)).body;
}

/** Neither live nor partial: the blob folders are empty but for live ones that were there before. */
async function storedFiles(): Promise<readonly string[]> {
  return readdir(join(running.dataDir, "blobs", "unverified"));
}

test("an upload goes on where it stopped and is live only when the digest of the whole is right", async () => {
  const content = Buffer.from("0123456789".repeat(100));
  const digest = `sha256:${hexOf(content)}`;
  assert.deepEqual(await statusOf(digest), { state: "absent", offset: 0 });
  const first = await patch(running, { digest, offset: 0, size: 1000, content: content.subarray(0, 400) });
  assert.deepEqual(await first.json(), { state: "partial", offset: 400 });
  const wrongPlace = await errorOf(await patch(running, { digest, offset: 0, size: 1000, content }));
  assert.deepEqual([wrongPlace.status, wrongPlace.code], [409, "upload_offset"]);
  const second = await patch(running, { digest, offset: 400, size: 1000, content: content.subarray(400) });
  assert.deepEqual(await second.json(), { state: "live", offset: 1000 });
  assert.deepEqual(await (await patch(running, { digest, offset: 0, size: 1000, content })).json(), { state: "live", offset: 1000 });
});

test("an empty file can be uploaded", async () => {
  const response = await patch(running, { digest: `sha256:${hexOf(Buffer.alloc(0))}`, offset: 0, size: 0, content: Buffer.alloc(0) });
  assert.deepEqual(await response.json(), { state: "live", offset: 0 });
});

test("bytes with another digest than announced are refused, named, and not kept", async () => {
  const digest = `sha256:${hexOf(Buffer.from("announced"))}`;
  const failure = await errorOf(await patch(running, { digest, offset: 0, size: 5, content: Buffer.from("other") }));
  assert.deepEqual([failure.status, failure.code], [422, "upload_invalid"]);
  assert.match(failure.message, new RegExp(hexOf(Buffer.from("announced"))));
  assert.match(failure.message, new RegExp(hexOf(Buffer.from("other"))));
  assert.deepEqual(await statusOf(digest), { state: "absent", offset: 0 });
});

test("more bytes than announced, more than the limit, and offsets that do not fit are refused before they are stored", async () => {
  const content = Buffer.alloc(2000, 1);
  const digest = `sha256:${hexOf(content)}`;
  const oversized = await errorOf(await patch(running, { digest, offset: 0, size: 1000, content }));
  assert.deepEqual([oversized.status, oversized.code], [422, "upload_invalid"]);
  const huge = await errorOf(await patch(running, { digest, offset: 0, size: 2 * 1024 * 1024, content }));
  assert.deepEqual([huge.status, huge.code], [413, "too_large"]);
  assert.match(huge.message, /1048576/);
  const past = await errorOf(await patch(running, { digest, offset: 3000, size: 2000, content: Buffer.alloc(0) }));
  assert.deepEqual([past.status, past.code], [422, "upload_invalid"]);
  assert.deepEqual(await statusOf(digest), { state: "absent", offset: 0 });
  assert.deepEqual(await storedFiles(), []);
});

test("an upload that breaks off keeps what came, for a resume, and is not readable", async () => {
  const content = Buffer.alloc(200_000, 7);
  const digest = `sha256:${hexOf(content)}`;
  await new Promise<void>((resolve) => {
    const sending = request(`${running.url}/api/v1/uploads/${digest}`, {
      method: "PATCH",
      headers: {
        authorization: `Bearer ${running.adminToken}`,
        "content-type": "application/octet-stream",
        "content-length": content.length,
        "upload-offset": 0,
        "upload-length": content.length,
      },
    });
    sending.on("error", () => resolve());
    sending.on("close", () => resolve());
    sending.write(content.subarray(0, 100_000), () => setTimeout(() => sending.destroy(), 100));
  });
  let status: { state?: string; offset?: number } = {};
  for (let attempt = 0; attempt < 50 && status.state !== "partial"; attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    status = (await statusOf(digest)) as typeof status;
  }
  assert.equal(status.state, "partial");
  assert.ok((status.offset ?? 0) <= 100_000);
  const rest = await patch(running, { digest, offset: status.offset ?? 0, size: content.length, content: content.subarray(status.offset) });
  assert.deepEqual(await rest.json(), { state: "live", offset: content.length });
});

const badRequests: readonly (readonly [string, Record<string, string>, string, number])[] = [
  ["no Upload-Offset", { "upload-offset": "" }, "upload_invalid", 422],
  ["a negative offset", { "upload-offset": "-1" }, "upload_invalid", 422],
  ["a length that is no number", { "upload-length": "many" }, "upload_invalid", 422],
  ["a length beyond all numbers", { "upload-length": "9".repeat(40) }, "upload_invalid", 422],
  ["another media type", { "content-type": "text/plain" }, "usage", 400],
];
for (const [name, headers, code, status] of badRequests) {
  test(`an upload with ${name} is refused as ${code}`, async () => {
    const content = Buffer.from("abc");
    const response = await fetch(`${running.url}/api/v1/uploads/sha256:${hexOf(content)}`, {
      method: "PATCH",
      headers: {
        authorization: `Bearer ${running.adminToken}`,
        "content-type": "application/octet-stream",
        "upload-offset": "0",
        "upload-length": "3",
        ...headers,
      },
      body: content,
    });
    const failure = await errorOf(response);
    assert.deepEqual([failure.status, failure.code], [status, code]);
  });
}

test("a digest of another form is refused with the form that was expected", async () => {
  const answer = await running.admin("GET", "/uploads/md5:abc");
  assert.equal(answer.status, 400);
  assert.match(JSON.stringify(answer.body), /digest/);
});

const badPackages: readonly (readonly [string, string, (good: Uint8Array) => Uint8Array])[] = [
  ["a truncated deb", "coequal_1.0.0_amd64.deb", (good) => good.subarray(0, good.length - 200)],
  ["a deb that is a text", "coequal_1.0.0_amd64.deb", () => Buffer.from("not a package\n".repeat(20))],
  ["an rpm under a deb's name", "coequal_1.0.0_amd64.deb", () => Buffer.from([0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0])],
  ["a truncated rpm", "coequal-1.0.0-1.x86_64.rpm", (good) => good.subarray(0, 150)],
  ["an empty deb", "coequal_1.0.0_amd64.deb", () => Buffer.alloc(0)],
];
for (const [what, name, spoil] of badPackages) {
  test(`${what} is refused as format_invalid when it is attached, and the draft has no such artifact`, async () => {
    const good = (await releaseFiles("coequal", "1.0.0")).find((file) => file.name === name);
    assert.ok(good);
    const content = spoil(good.content);
    const digest = await running.upload(content);
    const answer = await running.admin("PUT", `/products/coequal/releases/1.0.0/artifacts/${name}`, { digest, size: content.length });
    assert.equal(answer.status, 422, JSON.stringify(answer.body));
    assert.equal((answer.body["error"] as { code: string }).code, "format_invalid");
    const release = await running.admin("GET", "/products/coequal/releases/1.0.0");
    assert.deepEqual(release.body["artifacts"], []);
  });
}

const badNames = ["..%2fevil.deb", "%2e%2e", "a%00b", "-rf", ".hidden", "a~b.deb", "a%2fb", "%E2%80%AE.deb", "a b", "n".repeat(201)];
for (const name of badNames) {
  test(`the artifact name ${name.slice(0, 20)} is refused`, async () => {
    const digest = await running.upload(Buffer.from("bytes"));
    const response = await fetch(`${running.url}/api/v1/products/coequal/releases/1.0.0/artifacts/${name}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${running.adminToken}`, "content-type": "application/json" },
      body: JSON.stringify({ digest, size: 5 }),
    });
    assert.ok([400, 404].includes(response.status), String(response.status));
    assert.ok(["name_invalid", "usage", "not_found"].includes((await errorOf(response)).code));
  });
}

test("JSON that is broken, too large, of another shape or with an unknown key is refused with what was expected", async () => {
  const send = async (body: string): Promise<{ status: number; code: string; message: string }> =>
    errorOf(
      await fetch(`${running.url}/api/v1/products`, {
        method: "POST",
        headers: { authorization: `Bearer ${running.adminToken}`, "content-type": "application/json" },
        body,
      }),
    );
  assert.deepEqual((await send("{")).status, 400);
  assert.deepEqual((await send("")).status, 400);
  assert.deepEqual((await send('{"name":5}')).code, "usage");
  assert.match((await send('{"name":"abc","colour":"red"}')).message, /colour/);
  assert.deepEqual((await send(JSON.stringify({ name: "a".repeat(2_000_000) }))).status, 413);
  assert.deepEqual((await send('{"name":"../etc"}')).code, "name_invalid");
  assert.deepEqual((await send('{"name":"healthz"}')).code, "name_invalid");
});

test("a published version with other bytes is refused as immutable, in attach and in publish", async () => {
  await publish(running, "carapace", "0.1.0");
  const digest = await running.upload(Buffer.from("other bytes"));
  const attach = await running.admin("PUT", "/products/carapace/releases/0.1.0/artifacts/carapace-0.1.0-linux-amd64", { digest, size: 11 });
  assert.deepEqual([attach.status, (attach.body["error"] as { code: string }).code], [409, "immutable"]);
  const again = await running.admin("POST", "/products/carapace/releases/0.1.0/publish", { sums: digest });
  assert.deepEqual([again.status, (again.body["error"] as { code: string }).code], [409, "immutable"]);
});

test("a draft that lacks a file of its sums is not published and stays invisible (regression 22)", async () => {
  const files = await releaseFiles("coequal", "2.0.0");
  await running.admin("POST", "/products/coequal/releases", { version: "2.0.0", channel: "stable" });
  for (const file of files.filter(({ name }) => !name.endsWith(".rpm"))) {
    const digest = await running.upload(file.content);
    await running.admin("PUT", `/products/coequal/releases/2.0.0/artifacts/${file.name}`, { digest, size: file.content.length });
  }
  const sums = files.find(({ name }) => name === "SHA256SUMS");
  const answer = await running.admin("POST", "/products/coequal/releases/2.0.0/publish", { sums: `sha256:${hexOf(sums?.content ?? Buffer.alloc(0))}` });
  assert.deepEqual([answer.status, (answer.body["error"] as { code: string }).code], [422, "release_incomplete"]);
  const pair = await issuePair(running, "acme", "coequal");
  assert.equal((await get(running, "/releases/coequal/2.0.0/SHA256SUMS", pair)).status, 404);
});

test("with a full disk an upload is refused as disk_full, and the server goes on serving and recording", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "slipway-full-"));
  const mounted = await runCommand(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], { timeoutMs: 10_000 });
  if (mounted.exitCode !== 0) {
    await rm(folder, { recursive: true, force: true });
    t.skip(`cannot mount a small disk here (needs root): ${mounted.stderr.trim()}`);
    return;
  }
  try {
    const full = await startServer({ dataDir: join(folder, "data") });
    try {
      await publish(full, "coequal", "1.0.0");
      const pair = await issuePair(full, "acme", "coequal");
      const content = Buffer.alloc(60 * 1024 * 1024, 3);
      const failure = await errorOf(await patch(full, { digest: `sha256:${hexOf(content)}`, offset: 0, size: content.length, content }));
      assert.deepEqual([failure.status, failure.code], [507, "disk_full"]);
      const read = await get(full, "/releases/coequal/latest/SHA256SUMS", pair);
      assert.equal(read.status, 200);
      await read.arrayBuffer();
      const events = (await full.admin("GET", "/audit?action=download")).body["events"] as unknown[];
      assert.equal(events.length, 1);
      assert.deepEqual((await full.admin("GET", `/uploads/sha256:${hexOf(content)}`)).body, { state: "absent", offset: 0 });
      await full.upload(Buffer.from("small still fits"));
    } finally {
      await full.stop();
    }
  } finally {
    await runCommand(["umount", folder], { timeoutMs: 10_000 });
    await rm(folder, { recursive: true, force: true });
  }
});
