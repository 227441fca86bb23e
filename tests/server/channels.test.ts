/** Channels, promotion and staged rollout: one switch over every format, seen the same through every protocol. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { SlipwayError } from "../../src/model/errors.ts";
import { rolloutBucket } from "../../src/policy/visibility.ts";
import { formatMinisignPublicKey, generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { bucketOf } from "../../src/updater/cohort.ts";
import { loadInstallation } from "../../src/updater/installation.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { createUpdater } from "../../src/updater/updater.ts";
import { bucketGet, seenBy } from "./customer-reader.ts";
import { pushImage, refusalOf, registryCaller, vendorOf } from "./registry-client.ts";
import { get, issuePair, type Pair, publishTo, type RunningServer, startServer } from "./running-server.ts";

const product = "coequal";

async function start(t: TestContext): Promise<RunningServer> {
  const running = await startServer();
  t.after(() => running.stop());
  return running;
}

/** With an image that was pushed before it was published. */
function release(running: RunningServer, version: string, options: { readonly channel?: string; readonly percent?: number } = {}) {
  return publishTo(running, product, version, { ...options, beforePublish: () => pushImage(vendorOf(running), product, version) });
}

async function act(running: RunningServer, path: string, body: unknown): Promise<Record<string, unknown>> {
  const answer = await running.admin("POST", `/products/${product}/releases/${path}`, body);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
}

const tagOf = async (running: RunningServer, pair: Pair, tag: string): Promise<string | null> => {
  const response = await registryCaller(running.url, pair.authorization)("HEAD", `${product}/manifests/${tag}`);
  return response.headers.get("docker-content-digest");
};

const same = (versions: readonly string[]) => ({ apt: versions, yum: versions, index: versions, bucket: versions, images: versions });

test("C3 a promotion moves every format, image tag and latest at once and changes no artifact; a preview never gets to stable", async (t) => {
  const running = await start(t);
  await release(running, "1.4.0");
  const pair = await issuePair(running, "acme", product);
  const files = await release(running, "1.5.0", { channel: "preview" });
  const before = await seenBy(running, pair, { product });
  assert.deepEqual(
    [before.apt, before.yum, before.index, before.latest],
    [["1.4.0"], ["1.4.0"], ["1.4.0"], ["1.4.0", "1.4.0"]],
    "published to preview, not to stable",
  );
  const preview = await seenBy(running, pair, { product, channel: "preview" });
  assert.deepEqual([preview.apt, preview.yum, preview.index], [["1.5.0"], ["1.5.0"], ["1.5.0"]]);
  assert.equal(await tagOf(running, pair, "latest"), await tagOf(running, pair, "1.4.0"));
  assert.equal(await tagOf(running, pair, "preview"), await tagOf(running, pair, "1.5.0"));

  const promoted = await act(running, "1.5.0/promote", { channel: "stable" });
  assert.deepEqual(
    (promoted["channels"] as { name: string }[]).map(({ name }) => name),
    ["preview", "stable"],
  );
  const after = await seenBy(running, pair, { product });
  const both = ["1.4.0", "1.5.0"];
  assert.deepEqual(after, { ...same(both), latest: ["1.5.0", "1.5.0"] });
  for (const tag of ["latest", "stable", "preview"]) assert.equal(await tagOf(running, pair, tag), await tagOf(running, pair, "1.5.0"), tag);
  for (const { name, content } of files) {
    const response = await get(running, `/releases/${product}/1.5.0/${name}`, pair);
    assert.ok(Buffer.from(await response.arrayBuffer()).equals(Buffer.from(content)), name);
  }
  assert.equal((await get(running, `/yum/${product}/stable/x86_64/${product}-1.5.0-1.x86_64.rpm`, pair)).status, 200);

  for (const step of ["promote", "demote"]) {
    const unknown = await running.admin("POST", `/products/${product}/releases/1.5.0/${step}`, { channel: "prewiev" });
    assert.deepEqual([unknown.status, (unknown.body["error"] as { code: string }).code], [404, "not_found"], step);
  }
  await act(running, "1.5.0/demote", { channel: "stable" });
  const demoted = await seenBy(running, pair, { product });
  assert.deepEqual([demoted.apt, demoted.latest], [["1.4.0"], ["1.4.0", "1.4.0"]]);
  assert.equal(await tagOf(running, pair, "latest"), await tagOf(running, pair, "1.4.0"));
  assert.equal((await get(running, `/yum/${product}/stable/x86_64/${product}-1.5.0-1.x86_64.rpm`, pair)).status, 404, "not in this channel any more");
  const last = await running.admin("POST", `/products/${product}/releases/1.5.0/demote`, { channel: "preview" });
  assert.equal(last.status, 409, "out of its last channel it is withdrawn");
  await publishTo(running, product, "1.6.0-rc.1", { channel: "preview" });
  const refused = await running.admin("POST", `/products/${product}/releases/1.6.0-rc.1/promote`, { channel: "stable" });
  assert.deepEqual([refused.status, (refused.body["error"] as { code: string }).code], [400, "version_invalid"]);
});

test("C3 C9 a staged rollout reaches the same customers through every protocol, only grows, and leaves it to who has it", async (t) => {
  const running = await start(t);
  await release(running, "1.4.0");
  await release(running, "1.5.0", { percent: 50 });
  const { db } = running.server.context.store;
  const { salt } = await db
    .selectFrom("release_channels")
    .innerJoin("releases", "releases.id", "release_id")
    .select("salt")
    .where("version", "=", "1.5.0" as never)
    .executeTakeFirstOrThrow();
  // Customers are added until both sides have two: the bucket says beforehand where each is.
  const insiders: Pair[] = [];
  const outsiders: Pair[] = [];
  for (let count = 0; insiders.length < 2 || outsiders.length < 2; count += 1) {
    assert.ok(count < 100);
    const name = `customer-${count}`;
    const pair = await issuePair(running, name, product);
    const { id } = await db.selectFrom("customers").select("id").where("name", "=", name).executeTakeFirstOrThrow();
    const side = rolloutBucket(salt, id) < 5_000 ? insiders : outsiders;
    if (side.length < 2) side.push(pair);
  }
  const all = { ...same(["1.4.0", "1.5.0"]), latest: ["1.5.0", "1.5.0"] };
  const old = { ...same(["1.4.0"]), latest: ["1.4.0", "1.4.0"] };
  for (const pair of insiders) assert.deepEqual(await seenBy(running, pair, { product }), all);
  for (const pair of outsiders) assert.deepEqual(await seenBy(running, pair, { product }), old);
  const [outsider, later] = outsiders;
  const [insider, second] = insiders;
  assert.ok(outsider && later && insider && second);
  assert.equal(await tagOf(running, outsider, "latest"), await tagOf(running, outsider, "1.4.0"));
  const views = await db.selectFrom("snapshots").select("id").where("view", "!=", "").execute();
  assert.equal(views.length, 1, "everybody outside shares one view");
  const addresses = [
    `/releases/${product}/1.5.0/${product}-1.5.0-linux-amd64`,
    `/apt/${product}/pool/main/c/${product}/${product}_1.5.0_amd64.deb`,
    `/yum/${product}/stable/x86_64/${product}-1.5.0-1.x86_64.rpm`,
    `/v2/${product}/manifests/1.5.0`,
  ];
  for (const address of addresses) {
    assert.equal((await get(running, address, outsider)).status, 404, address);
    const got = await get(running, address, insider);
    await got.arrayBuffer();
    assert.equal(got.status, 200, address);
  }
  await act(running, "1.5.0/rollout", { percent: 0 });
  assert.deepEqual(await seenBy(running, insider, { product }), all, "who pulled it keeps it");
  assert.deepEqual(await seenBy(running, outsider, { product }), old);
  await act(running, "1.5.0/rollout", { percent: 100 });
  for (const pair of [...insiders, ...outsiders]) assert.deepEqual(await seenBy(running, pair, { product }), all);
  await act(running, "1.5.0/rollout", { percent: 0, bypass: true });
  assert.deepEqual(await seenBy(running, outsider, { product }), all, "a security release waits for no percentage");
});

test("C6 with automatic retention the version too many leaves every place when it is published, and each says what to take instead", async (t) => {
  const running = await start(t);
  const policy = await running.admin("POST", "/products", { name: product });
  assert.equal(policy.status, 200);
  assert.equal((await running.admin("PUT", `/products/${product}/retention-policy`, { keep: 2, automatic: true })).status, 200);
  for (const version of ["1.0.0", "1.1.0", "1.2.0"]) await release(running, version);
  const pair = await issuePair(running, "acme", product);
  assert.deepEqual(await seenBy(running, pair, { product }), { ...same(["1.1.0", "1.2.0"]), latest: ["1.2.0", "1.2.0"] });
  for (const path of [`/releases/${product}/1.0.0/SHA256SUMS`, `/apt/${product}/pool/main/c/${product}/${product}_1.0.0_amd64.deb`]) {
    const gone = await get(running, path, pair);
    assert.deepEqual([gone.status, gone.statusText], [410, "Gone - coequal 1.0.0 is no longer kept; use 1.2.0 instead"]);
  }
  const image = await registryCaller(running.url, pair.authorization)("GET", `${product}/manifests/1.0.0`);
  assert.deepEqual([image.status, (await refusalOf(image)).message], [404, "coequal 1.0.0 is no longer kept; use 1.2.0 instead"]);
  assert.equal((await bucketGet(running, pair, `/${product}/releases/1.0.0/SHA256SUMS`)).status, 410);
});

test("80 C9 machines of one customer are staged by their updaters, a halt stops them, and a withdrawn release says why", async (t) => {
  const running = await start(t);
  await publishTo(running, product, "1.4.0", {});
  await publishTo(running, product, "1.5.0", {});
  const pair = await issuePair(running, "acme", product);
  await act(running, "1.5.0/rollout", { machines: 0 });
  const folder = await mkdtemp(join(tmpdir(), "slipway-staged-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const key = generateMinisignKey();
  await writeFile(join(folder, "secret"), pair.secret, { mode: 0o600 });
  const machines = await Promise.all(
    ["one", "two"].map(async (name) => {
      const file = join(folder, `${name}.yaml`);
      const text = {
        product,
        strategy: "versions",
        root: `${name}/opt`,
        state_dir: `${name}/var`,
        target: "linux/amd64",
        source: { url: running.url, key_id: pair.id, secret: "file:secret" },
        trust: { minisign: [formatMinisignPublicKey(key).trim().split("\n").at(-1)] },
        health: { checks: [{ command: { argv: ["echo", "1.4.0"], version: ".*" } }] },
      };
      await mkdir(join(folder, name, "opt"), { recursive: true });
      await mkdir(join(folder, name, "var"));
      await writeFile(file, JSON.stringify(text));
      const updater = createUpdater(
        await loadInstallation(file),
        thisMachine(() => undefined),
      );
      const signal = AbortSignal.timeout(60_000);
      // 1.4.0 is for all machines, and of no key that these trust: what counts is that each has its number now.
      await assert.rejects(updater.install({ signal }), SlipwayError);
      const { machineId } = JSON.parse(await readFile(join(folder, name, `var/updates/state.json`), "utf8")) as { machineId: string };
      return { machineId, check: async () => (await updater.check({ signal })).offer };
    }),
  );
  const index = async () =>
    (await get(running, `/releases/${product}/index.json`, pair)).json() as Promise<{ releases: { rollouts?: unknown }[]; retired: unknown[] }>;
  const [newest] = (await index()).releases;
  assert.ok(newest);
  const { salt } = (newest.rollouts as { stable: { salt: string } }).stable;
  const [first, last] = machines.toSorted((left, right) => bucketOf(left.machineId, salt) - bucketOf(right.machineId, salt));
  assert.ok(first && last);
  const offered = async (): Promise<readonly (readonly [string | undefined, string | undefined])[]> =>
    Promise.all(
      [first, last].map(async ({ check }) => {
        const offer = await check();
        return [offer.kind === "upgrade" ? offer.version : undefined, offer.skipped.find(({ version }) => version === "1.5.0")?.reason] as const;
      }),
    );
  await act(running, "1.5.0/rollout", { machines: Math.round((bucketOf(first.machineId, salt) + bucketOf(last.machineId, salt)) / 2) / 100 });
  assert.deepEqual(await offered(), [
    ["1.5.0", undefined],
    ["1.4.0", "cohort"],
  ]);
  assert.deepEqual((await seenBy(running, pair, { product })).apt, ["1.4.0", "1.5.0"], "a package manager knows no machines");
  await (await get(running, `/releases/${product}/1.5.0/${product}-1.5.0-linux-amd64`, pair)).arrayBuffer();
  await act(running, "1.5.0/rollout", { percent: 0 });
  assert.deepEqual(await offered(), [
    ["1.4.0", "halted"],
    ["1.4.0", "halted"],
  ]);
  await act(running, "1.5.0/rollout", { percent: 100, machines: 100 });
  assert.deepEqual(Object.keys((await index()).releases[0] ?? {}).includes("rollouts"), false);
  await act(running, "1.5.0/withdraw", { reason: "loses data" });
  assert.deepEqual((await index()).retired, [{ version: "1.5.0", state: "withdrawn", replacement: "1.4.0", reason: "loses data" }]);
  assert.deepEqual(await offered(), [
    ["1.4.0", undefined],
    ["1.4.0", undefined],
  ]);
});
