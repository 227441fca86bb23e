/** The registry client: against Debian's docker-registry, open, with Basic and with tokens; and against servers that misbehave. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { parseChallenge } from "../../src/io/registry-auth.ts";
import { createRegistryClient, type RegistryBlob, type RegistryClient, type RegistryOptions } from "../../src/io/registry-client.ts";
import { type Digest, digestFromHex } from "../../src/model/digest.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { needClient } from "../support/clients.ts";
import { registrySecret, registryUser, startRegistry, type TestRegistry } from "../support/docker-registry.ts";

const credentials = { username: registryUser, secret: registrySecret };
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const times = { answerMs: 5_000, stallMs: 5_000, commitMs: 5_000 };

const refusedWith =
  (code: string, text: RegExp = /./) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof SlipwayError, String(error));
    assert.doesNotMatch(
      JSON.stringify(error) + String(error.stack),
      new RegExp(`${registrySecret}|${Buffer.from(`${registryUser}:${registrySecret}`).toString("base64")}`),
    );
    assert.equal(error.code, code, error.message);
    return text.test(error.message);
  };

const digestOf = (bytes: Uint8Array): Digest => digestFromHex(createHash("sha256").update(bytes).digest("hex"));

function blobOf(bytes: Buffer, pieceBytes = 70_000): RegistryBlob {
  return {
    digest: digestOf(bytes),
    size: bytes.length,
    open: async function* () {
      for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
    },
  };
}

async function pull(client: RegistryClient, repository: string, blob: Pick<RegistryBlob, "digest" | "size">): Promise<Buffer> {
  let pieces: Uint8Array[] = [];
  await client.pullBlob(repository, blob, async (bytes) => {
    pieces = [];
    for await (const piece of bytes) pieces.push(piece);
  });
  return Buffer.concat(pieces);
}

async function registry(t: TestContext, auth: "open" | "basic" | "token"): Promise<TestRegistry> {
  const started = await startRegistry(auth);
  t.after(started.close);
  return started;
}

/** A config and a manifest over it, as small as an image can be. */
function tinyImage(): { readonly config: RegistryBlob; readonly manifest: Buffer } {
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] } }));
  const descriptor = { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf(config), size: config.length };
  return { config: blobOf(config), manifest: Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config: descriptor, layers: [] })) };
}

for (const auth of ["open", "basic", "token"] as const) {
  for (const upload of [{ kind: "monolithic" }, { kind: "chunked", chunkBytes: 100_000 }] as const) {
    test(`C4 blobs and manifests go to a real registry (${auth}, ${upload.kind}) and come back the same`, async (t) => {
      if (!needClient(t, "docker-registry", "openssl")) return;
      const { origin, askedScopes } = await registry(t, auth);
      const client = createRegistryClient({ origin, credentials, upload, times });
      const big = blobOf(Buffer.alloc(1_234_567, "slipway"));
      assert.equal(await client.hasBlob("acme/app", big.digest), false);
      assert.equal(await client.pushBlob("acme/app", big), "uploaded");
      assert.equal(await client.pushBlob("acme/app", big), "present");
      assert.equal(await client.pushBlob("acme/other", big, ["acme/none", "acme/app"]), "mounted");
      assert.equal(digestOf(await pull(client, "acme/other", big)), big.digest);
      const empty = blobOf(Buffer.alloc(0));
      assert.equal(await client.pushBlob("acme/app", empty), "uploaded");

      const { config, manifest } = tinyImage();
      await client.pushBlob("acme/app", config);
      assert.equal(await client.findManifest("acme/app", "1.0", [manifestType]), undefined);
      await client.putManifest("acme/app", digestOf(manifest), { bytes: manifest, mediaType: manifestType });
      await client.putManifest("acme/app", "1.0", { bytes: manifest, mediaType: manifestType });
      assert.equal(await client.findManifest("acme/app", "1.0", [manifestType]), digestOf(manifest));
      const got = await client.getManifest("acme/app", "1.0", [manifestType]);
      assert.deepEqual(got, { bytes: manifest, mediaType: manifestType, digest: digestOf(manifest) });
      assert.deepEqual(await client.getManifest("acme/app", digestOf(manifest), [manifestType]), got);
      await assert.rejects(client.getManifest("acme/app", "2.0", [manifestType]), refusedWith("not_found", /MANIFEST_UNKNOWN/));
      if (auth === "token") {
        assert.ok(askedScopes.length < 12, `tokens are kept: ${askedScopes.join(" ")}`);
        assert.ok(
          askedScopes.every((scope) => /^repository:acme\/(app|other|none):(pull|pull,push)$/.test(scope)),
          askedScopes.join(" "),
        );
      }
    });
  }
}

test("a wrong secret and a missing one are told apart from a missing image, and never shown", async (t) => {
  if (!needClient(t, "docker-registry", "openssl")) return;
  for (const auth of ["basic", "token"] as const) {
    const { origin } = await registry(t, auth);
    const wrong = createRegistryClient({ origin, credentials: { username: registryUser, secret: "wrong" }, times });
    await assert.rejects(wrong.hasBlob("acme/app", digestOf(Buffer.from("x"))), refusedWith("unauthorized"));
    const none = createRegistryClient({ origin, times });
    await assert.rejects(none.hasBlob("acme/app", digestOf(Buffer.from("x"))), refusedWith("unauthorized"));
  }
});

test("the registry refuses a damaged blob, and a source that changed is found on the way", async (t) => {
  if (!needClient(t, "docker-registry")) return;
  const { origin } = await registry(t, "open");
  const client = createRegistryClient({ origin, times });
  const good = blobOf(Buffer.from("good bytes"));
  await assert.rejects(client.pushBlob("acme/app", { ...good, open: blobOf(Buffer.from("evil bytes")).open }), refusedWith("upload_invalid", /DIGEST_INVALID/));
  await assert.rejects(client.pushBlob("acme/app", { ...good, open: blobOf(Buffer.from("short")).open }), refusedWith("source_unusable"));
  await assert.rejects(client.pushBlob("acme/app", { ...good, open: blobOf(Buffer.from("far too long")).open }), refusedWith("source_unusable"));
  assert.equal(await client.hasBlob("acme/app", good.digest), false);
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A server of the test's own and a log of what it was asked with. */
async function server(
  t: TestContext,
  handler: Handler,
): Promise<{ readonly origin: URL; readonly seen: { readonly line: string; readonly authorization: string | undefined }[] }> {
  const seen: { line: string; authorization: string | undefined }[] = [];
  const http = createServer((request, response) => {
    seen.push({ line: `${request.method} ${request.url}`, authorization: request.headers.authorization });
    request.resume();
    handler(request, response);
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    http.close();
    http.closeAllConnections();
  });
  return { origin: new URL(`http://127.0.0.1:${(http.address() as AddressInfo).port}`), seen };
}

const quiet: Pick<RegistryOptions, "sleep" | "times"> = { sleep: async () => undefined, times };

test("a redirect to another origin gets no Authorization, and its challenge is not answered", async (t) => {
  const bytes = Buffer.from("layer");
  const storage = await server(t, (request, response) => {
    if (request.url === "/asks") response.writeHead(401, { "www-authenticate": 'Basic realm="storage"' }).end();
    else response.writeHead(200, { "content-length": bytes.length }).end(bytes);
  });
  let path = "/blob?signature=abc";
  const home = await server(t, (request, response) => {
    if (request.headers.authorization === undefined) response.writeHead(401, { "www-authenticate": 'Basic realm="home"' }).end();
    else response.writeHead(307, { location: new URL(path, storage.origin).href }).end();
  });
  const client = createRegistryClient({ origin: home.origin, credentials, ...quiet });
  assert.deepEqual(await pull(client, "acme/app", { digest: digestOf(bytes), size: bytes.length }), bytes);
  path = "/asks";
  await assert.rejects(pull(client, "acme/app", { digest: digestOf(bytes), size: bytes.length }), refusedWith("unauthorized"));
  assert.deepEqual(
    storage.seen.map((one) => one.authorization),
    [undefined, undefined],
  );
  assert.ok(home.seen.some((one) => one.authorization?.startsWith("Basic ") === true));
});

test("an upload address at another origin gets the bytes and no Authorization", async (t) => {
  const storage = await server(t, (request, response) => {
    request.on("end", () => response.writeHead(201).end());
  });
  const home = await server(t, (request, response) => {
    if (request.headers.authorization === undefined) response.writeHead(401, { "www-authenticate": 'Basic realm="home"' }).end();
    else if (request.method === "HEAD") response.writeHead(404).end();
    else response.writeHead(202, { location: `${storage.origin.href}upload?state=1` }).end();
  });
  const blob = blobOf(Buffer.from("layer"));
  assert.equal(await createRegistryClient({ origin: home.origin, credentials, ...quiet }).pushBlob("acme/app", blob), "uploaded");
  assert.deepEqual(storage.seen, [{ line: `PUT /upload?state=1&digest=${encodeURIComponent(blob.digest)}`, authorization: undefined }]);
});

test("a token service that is neither https nor loopback never sees the password, nor does one that redirects", async (t) => {
  const asked: string[] = [];
  const realms = ["http://tokens.example/token", "http://169.254.169.254/token", "ftp://127.0.0.1/token", "nonsense"];
  for (const realm of realms) {
    const home = await server(t, (_, response) => response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="x"` }).end());
    const fetchOnlyHome: typeof fetch = (input, init) => {
      asked.push(typeof input === "string" ? input : "not a text");
      return fetch(input, init);
    };
    const client = createRegistryClient({ origin: home.origin, credentials, ...quiet, fetch: fetchOnlyHome });
    await assert.rejects(
      client.hasBlob("acme/app", digestOf(Buffer.from("x"))),
      (error) => error instanceof SlipwayError && ["network_unreachable", "server_error"].includes(error.code),
    );
    assert.ok(
      asked.every((url) => url.startsWith(home.origin.href)),
      asked.join(" "),
    );
    asked.length = 0;
  }
  const elsewhere = await server(t, (_, response) => response.writeHead(200).end('{"token":"x"}'));
  const tokens = await server(t, (_, response) => response.writeHead(302, { location: elsewhere.origin.href }).end());
  const home = await server(t, (_, response) => response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.origin.href}token"` }).end());
  await assert.rejects(
    createRegistryClient({ origin: home.origin, credentials, ...quiet }).hasBlob("a/b", digestOf(Buffer.from("x"))),
    refusedWith("server_error", /302/),
  );
  assert.equal(elsewhere.seen.length, 0);
});

test("plain http beyond loopback is refused unless it is allowed on purpose", () => {
  assert.throws(() => createRegistryClient({ origin: new URL("http://registry.example"), credentials }), refusedWith("usage"));
  assert.throws(() => createRegistryClient({ origin: new URL("ftp://registry.example"), isPlainHttpAllowed: true }), refusedWith("usage"));
  createRegistryClient({ origin: new URL("http://registry.example"), isPlainHttpAllowed: true });
});

test("what may go better is tried again, after the pause that was asked for; what may not is not", async (t) => {
  const bytes = Buffer.from("layer");
  const answers: Handler[] = [
    (_, response) => response.writeHead(503).end(),
    (_, response) => response.writeHead(429, { "retry-after": "7" }).end(),
    (_, response) => response.writeHead(200, { "content-length": bytes.length }).write(bytes.subarray(0, 2), () => response.destroy()),
    (_, response) => response.writeHead(200, { "content-length": bytes.length }).end(bytes),
  ];
  const flaky = await server(t, (request, response) => answers.shift()?.(request, response));
  const pauses: number[] = [];
  const sleep = async (ms: number): Promise<void> => {
    pauses.push(ms);
  };
  const client = createRegistryClient({ origin: flaky.origin, sleep, times });
  assert.deepEqual(await pull(client, "acme/app", { digest: digestOf(bytes), size: bytes.length }), bytes);
  assert.equal(pauses.length, 3);
  assert.equal(pauses[1], 7_000);
  const denied = await server(t, (_, response) => response.writeHead(403).end('{"errors":[{"code":"DENIED","message":"not\\u0007 yours"}]}'));
  await assert.rejects(createRegistryClient({ origin: denied.origin, sleep, times }).hasBlob("a/b", digestOf(bytes)), refusedWith("forbidden"));
  await assert.rejects(
    createRegistryClient({ origin: denied.origin, sleep, times }).getManifest("a/b", "x", []),
    refusedWith("forbidden", /DENIED: not {2}yours/),
  );
  assert.equal(pauses.length, 3);
  const down = await server(t, (_, response) => response.writeHead(500).end());
  await assert.rejects(createRegistryClient({ origin: down.origin, sleep, times, tries: 3 }).hasBlob("a/b", digestOf(bytes)), refusedWith("server_error"));
  assert.equal(down.seen.length, 3);
});

test("swapped, longer and compressed answers are refused", async (t) => {
  const bytes = Buffer.from("layer");
  const blob = { digest: digestOf(bytes), size: bytes.length };
  const answer = async (handler: Handler): Promise<RegistryClient> => createRegistryClient({ origin: (await server(t, handler)).origin, ...quiet, tries: 1 });
  await assert.rejects(pull(await answer((_, response) => response.end("LAYER")), "a/b", blob), refusedWith("upload_invalid", /digest/));
  await assert.rejects(pull(await answer((_, response) => response.end("layers")), "a/b", blob), refusedWith("upload_invalid", /more than/));
  await assert.rejects(pull(await answer((_, response) => response.end("lay")), "a/b", blob), refusedWith("network_unreachable", /before the end/));
  await assert.rejects(
    pull(await answer((_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end("x")), "a/b", blob),
    refusedWith("server_error"),
  );
  await assert.rejects((await answer((_, response) => response.end("{}"))).getManifest("a/b", blob.digest, []), refusedWith("upload_invalid"));
  await assert.rejects(
    (await answer((_, response) => response.writeHead(200, { "docker-content-digest": blob.digest }).end("{}"))).getManifest("a/b", "tag", []),
    refusedWith("upload_invalid"),
  );
  await assert.rejects((await answer((_, response) => response.end(Buffer.alloc(5_000_000)))).getManifest("a/b", "tag", []), refusedWith("too_large"));
  await assert.rejects(
    (await answer((request, response) => response.writeHead(302, { location: request.url ?? "" }).end())).getManifest("a/b", "tag", []),
    refusedWith("network_unreachable", /redirects/),
  );
});

test("a registry that stops in the middle is given up, in both directions", async (t) => {
  const short = { answerMs: 300, stallMs: 300, commitMs: 300 };
  const bytes = Buffer.from("layer");
  const silent = await server(t, () => undefined);
  const options = { times: short, tries: 1 };
  await assert.rejects(
    createRegistryClient({ origin: silent.origin, ...options }).hasBlob("a/b", digestOf(bytes)),
    refusedWith("network_unreachable", /no answer in time/),
  );
  const half = await server(t, (_, response) => response.writeHead(200, { "content-length": bytes.length }).write("la"));
  await assert.rejects(
    pull(createRegistryClient({ origin: half.origin, ...options }), "a/b", { digest: digestOf(bytes), size: 5 }),
    refusedWith("network_unreachable", /stands still/),
  );
  const swallows = await server(t, (request, response) => {
    if (request.method === "HEAD") response.writeHead(404).end();
    if (request.method === "POST") response.writeHead(202, { location: "/upload" }).end();
  });
  await assert.rejects(
    createRegistryClient({ origin: swallows.origin, ...options }).pushBlob("a/b", blobOf(bytes)),
    refusedWith("network_unreachable", /does not confirm/),
  );
});

test("an answer that overtakes the end of the body leaves no timer behind", async () => {
  let drained = Promise.resolve<unknown>(undefined);
  const hasty: typeof fetch = async (_, init) => {
    drained = new Promise((resolve) => setImmediate(resolve)).then(() => new Response(init?.body ?? null).arrayBuffer());
    return new Response(null, { status: 201 });
  };
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const before = timers();
  const client = createRegistryClient({
    origin: new URL("https://registry.example"),
    fetch: hasty,
    times: { answerMs: 5_000, stallMs: 600_000, commitMs: 600_000 },
  });
  await client.putManifest("a/b", "tag", { bytes: Buffer.from("{}"), mediaType: manifestType });
  await drained;
  assert.equal(timers(), before);
});

test("challenges are read as RFC 9110 writes them", () => {
  assert.deepEqual(parseChallenge('Bearer realm="https://t.example/token",service="r.example",scope="repository:a/b:pull,push"'), {
    kind: "bearer",
    realm: "https://t.example/token",
    service: "r.example",
  });
  assert.deepEqual(parseChallenge('Basic realm="a, b", Bearer realm="https://t.example/x"'), {
    kind: "bearer",
    realm: "https://t.example/x",
    service: undefined,
  });
  assert.deepEqual(parseChallenge("BASIC realm=x"), { kind: "basic" });
  assert.equal(parseChallenge("Negotiate"), undefined);
  assert.equal(parseChallenge(null), undefined);
});
