/** What must hold of the fast path beside the ordinary way, on either database: the same answers, audit events and counters, and never later to hear of a change. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import * as fc from "fast-check";
import { cacheLifeMs } from "../../src/store/changes.ts";
import { basic, imageType, pushImage, registryCaller, vendorOf } from "./registry-client.ts";
import { get, issuePair, type Pair, publish, publishTo } from "./running-server.ts";
import { compare, exchange, handedOver, startThreeWays, trace, type Trace, type Ways } from "./three-ways.ts";

const product = "coequal";
const file = `/releases/${product}/1.4.0/${product}-1.4.0-linux-amd64`;
const packages = `/apt/${product}/dists/stable/main/binary-amd64/Packages.gz`;
const inRelease = `/apt/${product}/dists/stable/InRelease`;
const repomd = `/yum/${product}/stable/repodata/repomd.xml`;
const releaseIndex = `/releases/${product}/index.json`;
const tagPath = `/v2/${product}/manifests/1.4.0`;
const latestPath = `/v2/${product}/manifests/latest`;

/** `HOST` becomes the side's own. */
function request(path: string, headers: readonly string[], { method = "GET", version = "1.1" } = {}): string {
  return [`${method} ${path} HTTP/${version}`, "Host: HOST", ...headers, "", ""].join("\r\n");
}

const asked = (path: string, pair: Pair, headers: readonly string[] = [], more: { method?: string; version?: string } = {}): string =>
  request(path, [`Authorization: ${pair.authorization}`, ...headers], more);

/** Asks as clients do: the answer teaches route and caller, and brings the body into memory. */
async function warm(ways: Ways, paths: readonly string[], authorization: string): Promise<void> {
  for (const path of paths) {
    const response = await fetch(ways.running.url + path, { headers: { authorization } });
    await response.arrayBuffer();
  }
}

function release(ways: Ways, version: string, channel = "stable"): Promise<unknown> {
  return publishTo(ways.running, product, version, { channel, beforePublish: () => pushImage(vendorOf(ways.running), product, version) });
}

async function isFast(ways: Ways, text: string): Promise<boolean> {
  return (await compare(ways, text)).isFast;
}

/** Warms and compares until the fast path answers: what it remembers is good for a second, which may end in between. */
async function fastAnswer(ways: Ways, text: string, of: { readonly path: string; readonly authorization: string }): Promise<Trace> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    await warm(ways, [of.path], of.authorization);
    const { isFast: isAnswered, ordinary } = await compare(ways, text);
    if (isAnswered) return ordinary;
  }
  return assert.fail(`not answered at once: ${text}`);
}

type ServerFlags = Readonly<Record<string, string>>;

export type FastPathCase = {
  readonly name: string;
  /** `flags`: of the server, among them its database. */
  readonly run: (t: TestContext, flags: ServerFlags) => Promise<void>;
};

export const fastPathCases: readonly FastPathCase[] = [
  {
    name: "the fast path answers what is asked for all day exactly as the ordinary way does, and hands over the rest",
    run: async (t, flags) => {
      const ways = await startThreeWays(t, flags);
      await release(ways, "1.4.0");
      await publish(ways.running, "jaco", "0.2.0");
      const pair = await issuePair(ways.running, "acme", product);
      const slowed = await issuePair(ways.running, "slow", product);
      const image = await (await registryCaller(ways.running.url, pair.authorization)("GET", `${product}/manifests/1.4.0`)).json();
      const digest =
        (await registryCaller(ways.running.url, pair.authorization)("HEAD", `${product}/manifests/1.4.0`)).headers.get("docker-content-digest") ?? "";
      assert.ok(image);
      const digestPath = `/v2/${product}/manifests/${digest}`;
      const paths = [file, packages, inRelease, repomd, releaseIndex, tagPath, latestPath, digestPath];
      await warm(ways, paths, pair.authorization);
      await warm(ways, paths, slowed.authorization);
      for (const path of paths) {
        const ordinary = await fastAnswer(ways, asked(path, pair), { path, authorization: pair.authorization });
        assert.equal(ordinary.status, 200);
        assert.equal(ordinary.events.length, 1);
        const tag = /^etag: (.*)$/im.exec(ordinary.headers.join("\n"))?.[1] ?? assert.fail("no ETag");
        const modified = /^last-modified: (.*)$/im.exec(ordinary.headers.join("\n"))?.[1] ?? assert.fail("no Last-Modified");
        const fast: readonly (readonly [number, string])[] = [
          [200, asked(path, pair, ["User-Agent: Debian APT-HTTP/1.3 (2.6.1)", "Accept: text/*", "Cache-Control: max-age=0"])],
          [200, asked(path, pair, [`Accept: ${imageType}`, "Accept: application/json", "Accept-Encoding: gzip, deflate"])],
          [200, asked(path, pair, ["Connection: close"])],
          [200, asked(path, pair, ["X-Forwarded-For: 192.0.2.7"])],
          [200, asked(path, pair, [], { method: "HEAD" })],
          [206, asked(path, pair, ["Range: bytes=0-9"])],
          [206, asked(path, pair, ["Range: bytes=-3", `If-Range: ${tag}`])],
          [200, asked(path, pair, ["Range: bytes=0-9", 'If-Range: "other"'])],
          [200, asked(path, pair, ["Range: bytes=5-2"])],
          [304, asked(path, pair, [`If-None-Match: ${tag}`])],
          [304, asked(path, pair, [`If-None-Match: W/${tag}, "x"`])],
          [304, asked(path, pair, [`If-Modified-Since: ${modified}`])],
          [200, asked(path, pair, ["If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"])],
          [200, asked(path, pair, ["If-Modified-Since: yesterday"])],
          [412, asked(path, pair, ['If-Match: "other"'])],
        ];
        if (![file, packages, tagPath].includes(path)) continue; // the others differ in nothing of what follows
        for (const [status, text] of fast) {
          assert.equal((await fastAnswer(ways, text, { path, authorization: pair.authorization })).status, status, text);
        }
        const handed: readonly (readonly [number, string])[] = [
          [416, asked(path, pair, ["Range: bytes=99999999-"])],
          [401, request(path, [])],
          [401, request(path, [`Authorization: ${basic(pair.id, "x".repeat(43))}`])],
          [401, request(path, [`Authorization: ${basic("SLKAAAAAAAAAAAAAAAAAAAAA", pair.secret)}`])],
          [200, asked(path, pair, [], { version: "1.0" })],
          [200, asked(path, pair, ["Cookie: a=b"])],
          [200, asked(path, pair, ["Content-Length: 0"])],
          [path.startsWith("/v2") ? 405 : 404, asked(path, pair, [], { method: "POST" })],
        ];
        for (const [status, text] of handed) {
          await warm(ways, [path], pair.authorization);
          const outcome = await compare(ways, text);
          assert.ok(!outcome.isFast, text);
          assert.equal(outcome.ordinary.status, status, text);
        }
      }
      const strange = [
        file.replace("/1.4.0/", "//1.4.0/"),
        `/.${file}`,
        `${file}/`,
        `${file}?x=1`,
        file.replace("linux", "%6cinux"),
        file.replace("coequal/", "coequal%2f"),
        `http://HOST${file}`,
        file.replace(product, "COEQUAL"),
        file.replaceAll(product, "jaco").replaceAll("1.4.0", "0.2.0"),
        `/apt/${product}/../${product}/dists/stable/InRelease`,
        `/releases/${product}/9.9.9/nothing`,
        tagPath.replace("/v2/", "/v2//"),
        tagPath.replace(product, "jaco"),
        `/v2/${product}/manifests/9.9.9`,
        `/v2/${product}/tags/list`,
      ];
      const learned = new Set([strange[4]]);
      for (const path of strange) {
        await warm(ways, [file], pair.authorization);
        // The ordinary way goes first: where that answers, it has taught the fast path this very address.
        assert.equal(await isFast(ways, asked(path, pair)), learned.has(path), path);
      }
      ways.context.pace.slowDown([slowed.id], new Date());
      await warm(ways, [file], slowed.authorization);
      assert.ok(!(await isFast(ways, asked(file, slowed))), "a pair that is slowed down is counted by the ordinary way");
    },
  },

  {
    name: "C9 the fast path hears of every change as soon as the ordinary way: pairs, networks, grants, releases, channels, images",
    run: async (t, flags) => {
      const ways = await startThreeWays(t, flags);
      const { running } = ways;
      await release(ways, "1.4.0");
      await release(ways, "1.5.0");
      const paths = [file, packages, releaseIndex, tagPath, latestPath];
      let customers = 0;
      const admin = async (method: string, path: string, body?: unknown): Promise<void> => {
        const answer = await running.admin(method, path, body);
        assert.ok(answer.status < 300, JSON.stringify(answer.body));
      };
      const readers = async (): Promise<{ readonly name: string; readonly pair: Pair }> => {
        const name = `customer-${(customers += 1)}`;
        const pair = await issuePair(running, name, product);
        await warm(ways, paths, pair.authorization);
        return { name, pair };
      };
      /** Fast before; after it exactly as the ordinary way, and not the answer of before where that changed. */
      const changes: readonly (readonly [name: string, change: (reader: { readonly name: string; readonly pair: Pair }) => Promise<unknown>])[] = [
        ["network", ({ pair }) => admin("PUT", `/keys/${pair.id}/allowed-from`, { networks: ["192.0.2.0/24"] })],
        ["grant removed", ({ name }) => admin("DELETE", `/customers/${name}/grants/${product}`)],
        ["formats", ({ name }) => admin("PUT", `/customers/${name}/grants/${product}`, { formats: ["rpm"] })],
        ["range", ({ name }) => admin("PUT", `/customers/${name}/grants/${product}`, { versions: "1.5.x" })],
        ["cut", ({ name }) => admin("PUT", `/customers/${name}/grants/${product}`, { entitledUntil: "2026-01-01T00:00:00.000Z", lapse: "cut" })],
        ["rotated by force", ({ pair }) => admin("POST", `/keys/${pair.id}/rotate`, { overlapHours: 0, force: true })],
        ["revoked", ({ pair }) => admin("POST", `/keys/${pair.id}/revoke`, {})],
        ["published", () => release(ways, "1.6.0")],
        ["promoted", () => release(ways, "1.7.0-preview1", "preview")],
        ["withdrawn", () => admin("POST", `/products/${product}/releases/1.4.0/withdraw`, { reason: "loses data" })],
      ];
      for (const [name, change] of changes) {
        const reader = await readers();
        for (const path of paths) {
          assert.equal((await fastAnswer(ways, asked(path, reader.pair), { path, authorization: reader.pair.authorization })).status, 200, name);
        }
        await change(reader);
        for (const path of paths) await compare(ways, asked(path, reader.pair));
        for (const path of paths) {
          const [fast, ordinary] = [
            await trace(ways.context, ways.fastUrl, asked(path, reader.pair)),
            await trace(ways.context, ways.ordinaryUrl, asked(path, reader.pair)),
          ];
          if (fast.status !== handedOver) assert.deepEqual([fast.status, fast.body], [ordinary.status, ordinary.body], `${name}: ${path}`);
        }
      }
    },
  },

  {
    name: "C9 what another server wrote to the same database is in force on the fast path within a second",
    run: async (t, flags) => {
      const ways = await startThreeWays(t, flags);
      const { db } = ways.context.store;
      await release(ways, "1.4.0");
      const pair = await issuePair(ways.running, "acme", product);
      const paths = [file, tagPath];
      await warm(ways, paths, pair.authorization);
      for (const path of paths) await fastAnswer(ways, asked(path, pair), { path, authorization: pair.authorization });
      ways.context.store.changes.emit("credential", pair.id);
      await warm(ways, paths, pair.authorization); // read just now: it is believed as long as any
      // Without an event of this process, as another one's changes come.
      await db.updateTable("access_keys").set({ revoked_at: Date.now() }).where("id", "=", pair.id).execute();
      const changedAt = performance.now();
      for (let askedAt = 0; askedAt < 1_400; ) {
        for (const path of paths) {
          askedAt = performance.now() - changedAt;
          const answer = await exchange(ways.fastUrl, asked(path, pair));
          assert.ok(askedAt < cacheLifeMs || answer.startsWith(`HTTP/1.1 ${handedOver} `), `answered ${askedAt} ms after the revocation`);
        }
      }
      assert.equal((await get(ways.running, file, pair)).status, 401);
    },
  },

  {
    name: "C10 a registry token is answered at once too, and not after its pair, its scope or its hour ended",
    run: async (t, flags) => {
      const ways = await startThreeWays(t, flags);
      await release(ways, "1.4.0");
      const pair = await issuePair(ways.running, "acme", product);
      const tokenFor = async (scope: string): Promise<string> => {
        const answer = await fetch(`${ways.running.url}/token?scope=${encodeURIComponent(scope)}`, { headers: { authorization: pair.authorization } });
        return `Bearer ${((await answer.json()) as { token: string }).token}`;
      };
      const [pull, other] = [await tokenFor(`repository:${product}:pull`), await tokenFor("repository:jaco:pull")];
      const withToken = (token: string, path = tagPath): string => request(path, [`Authorization: ${token}`]);
      await fastAnswer(ways, withToken(pull), { path: tagPath, authorization: pull });
      await warm(ways, [tagPath], other);
      assert.ok(!(await isFast(ways, withToken(other))), "a token for something else is challenged");
      await warm(ways, [tagPath], pull);
      assert.ok(!(await isFast(ways, withToken(pull, file))), "a registry token opens no file");
      await warm(ways, [tagPath], pull);
      await ways.running.admin("POST", `/keys/${pair.id}/revoke`, {});
      assert.equal((await compare(ways, withToken(pull))).ordinary.status, 401);
      assert.ok(!(await isFast(ways, withToken(pull))));
    },
  },

  ...["127.0.0.0/8", "192.0.2.0/24"].map((trusted) => ({
    name: `C9 behind a proxy the address that it names counts on the fast path too where it is trusted (${trusted}), and a list of them goes the ordinary way`,
    run: async (t: TestContext, flags: ServerFlags) => {
      const ways = await startThreeWays(t, { ...flags, trustedProxies: trusted });
      await publish(ways.running, product, "1.4.0");
      const pair = await issuePair(ways.running, "acme", product);
      const of = { path: file, authorization: pair.authorization };
      const address = trusted.startsWith("127.") ? "203.0.113.9" : "127.0.0.1";
      for (const header of ["X-Forwarded-For: 203.0.113.9", "x-forwarded-for:203.0.113.9 "]) {
        assert.equal((await fastAnswer(ways, asked(file, pair, [header]), of)).events[0]?.address, address);
      }
      assert.equal((await fastAnswer(ways, asked(file, pair), of)).events[0]?.address, "127.0.0.1");
      for (const named of ["203.0.113.9, 192.0.2.7", "192.0.2.7,127.0.0.1", "unknown", "203.0.113.9:443", ""]) {
        await warm(ways, [file], pair.authorization);
        await compare(ways, asked(file, pair, [`X-Forwarded-For: ${named}`]));
      }
      await ways.running.admin("PUT", `/keys/${pair.id}/allowed-from`, { networks: ["127.0.0.1"] });
      const isLet = trusted.startsWith("192.");
      await warm(ways, [file], pair.authorization);
      assert.equal((await compare(ways, asked(file, pair, ["X-Forwarded-For: 203.0.113.9"]))).ordinary.status, isLet ? 200 : 403);
    },
  })),
  {
    name: "requests that come together on one connection are answered in their order",
    run: async (t, flags) => {
      const ways = await startThreeWays(t, flags);
      await release(ways, "1.4.0");
      const pair = await issuePair(ways.running, "acme", product);
      const paths = [file, packages, `/releases/${product}/9.9.9/none`, repomd, tagPath, file];
      await warm(ways, paths, pair.authorization);
      const bodies = await Promise.all(paths.map(async (path) => Buffer.from(await (await get(ways.running, path, pair)).arrayBuffer()).toString("latin1")));
      const answer = await exchange(ways.running.url, paths.map((path) => asked(path, pair)).join(""), paths.length);
      let from = 0;
      for (const [index, body] of bodies.entries()) {
        if (paths[index]?.includes("9.9.9") === true) continue;
        const place = answer.indexOf(`\r\n\r\n${body}`, from);
        assert.ok(place >= from, `answer ${index}`);
        from = place + body.length;
      }
    },
  },

  {
    name: "whatever is done to a good request, the fast path gives the ordinary answer or none",
    run: async (t, flags) => {
      const ways = await startThreeWays(t, flags);
      await release(ways, "1.4.0");
      const pair = await issuePair(ways.running, "acme", product);
      const paths = [file, packages, tagPath, releaseIndex];
      const names = [
        "Accept",
        "Range",
        "If-None-Match",
        "If-Modified-Since",
        "If-Range",
        "If-Match",
        "X-Other",
        "Connection",
        "Cookie",
        "Authorization",
        "Host",
      ];
      const values = ["*", "bytes=0-", "bytes=-1", "close", "keep-alive", "Basic", "upgrade", "Thu, 01 Jan 2026 00:00:00 GMT"];
      const value = fc.oneof(fc.stringMatching(/^[ -~]{0,12}$/), fc.constantFrom(...values));
      const edits = fc.record({
        method: fc.constantFrom("GET", "GET", "GET", "HEAD", "get", "OPTIONS", "DELETE"),
        version: fc.constantFrom("1.1", "1.1", "1.1", "1.0", "1.2"),
        at: fc.nat({ max: 60 }),
        insert: fc.oneof({ weight: 3, arbitrary: fc.constant("") }, fc.constantFrom("/", ".", "..", "%2e", "%00", "?", "#", ";", "//", "%", "\\", "A")),
        headers: fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 3 }),
        path: fc.constantFrom(...paths),
        authorization: fc.constantFrom(
          ...Array<string>(5).fill(pair.authorization),
          basic(pair.id, pair.secret.toUpperCase()),
          pair.authorization.slice(0, -1),
          pair.authorization.replace("Basic", "basic"),
        ),
      });
      let answered = 0;
      await fc.assert(
        fc.asyncProperty(edits, async ({ method, version, at, insert, headers, path, authorization }) => {
          await warm(ways, [path], pair.authorization);
          const lines = [`Authorization: ${authorization}`, "Connection: close", ...headers.map(([name, text]) => `${name}: ${text}`)];
          if (await isFast(ways, request(`/${(path.slice(0, at) + insert + path.slice(at)).slice(1)}`, lines, { method, version }))) answered += 1;
        }),
        { numRuns: 60 },
      );
      assert.ok(answered > 0, `${answered} requests were answered at once`);
    },
  },
];
