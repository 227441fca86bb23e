/** What the agent does by itself: after a kill, after an old approval, after a closed window, and where it may install what it finds. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { type Due, dueWork } from "../../src/agent/schedule.ts";
import type { Transaction } from "../../src/updater/transaction.ts";
import { issuePair, publish, startServer } from "../server/running-server.ts";
import { makeSite, noSignal, readJson, startVendor, toyFiles } from "../updater/support.ts";
import { asker, ended, type Json, startAgent, until } from "./support.ts";

const slipway = join(import.meta.dirname, "../../bin/slipway");

test("K10 an agent that is killed in the middle of an install takes it up at its next start", async (t) => {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, { extra: 'agent: { check_every: "off" }' }, t);
  await (await site.updater()).install({ signal: noSignal });
  await vendor.release("1.5.0", {
    files: { ...toyFiles("1.5.0"), "bin/toy": { content: '#!/bin/sh\nVERSION=1.5.0\nsleep 1\n. "$1/serve.sh"\n', mode: 0o755 } },
  });
  const local = asker({ socketPath: join(site.updates, "agent.sock") });
  const start = async (): Promise<ReturnType<typeof spawn>> => {
    const child = spawn(slipway, ["agent", "--json", "--installation", site.file], { stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => child.kill("SIGKILL"));
    await until(() => local("GET", "/v1/update/status").catch(() => undefined), "the agent answers");
    return child;
  };
  const first = await start();
  const begun = await local("POST", "/v1/update/install", { body: { version: "1.5.0" } });
  await until(async () => (await readJson(join(site.updates, "transaction.json")))["step"] === "trial", "the trial");
  first.kill("SIGKILL");
  await once(first, "exit");
  const second = await start();
  const done = await ended(local);
  assert.equal(done.state, "done", JSON.stringify(done.error));
  assert.equal((done.transaction as Json)["id"], (begun.body["transaction"] as Json)["id"], "it is the same transaction");
  assert.equal(await site.running(), "1.5.0");
  const exit = once(second, "exit");
  second.kill("SIGTERM");
  assert.deepEqual(await exit, [0, null]);
  await assert.rejects(local("GET", "/v1/update/status"), "the socket is gone");
});

test("67 an approval that is too old waits for a person: the agent does not go on by itself, and update.confirm does", async (t) => {
  let now = new Date("2026-03-02T10:00:00Z");
  const { vendor, site, local } = await startAgent(t, { machine: { clock: { now: () => now } } });
  await vendor.release("1.5.0");
  // The download is cut; twenty minutes later nobody has approved it again.
  vendor.faults.answer = async (_request, response, file) => {
    if (!file.endsWith(".tar.gz")) return false;
    now = new Date(now.getTime() + 20 * 60_000);
    return response.headersSent;
  };
  await local("POST", "/v1/update/install", { body: {} });
  const waiting = await ended(local);
  assert.equal(waiting.error?.["code"], "needs_confirmation");
  assert.equal(waiting.transaction?.["phase"], "verified");
  assert.equal(await site.running(), "1.4.2");
  const status = await (await site.updater()).status();
  assert.equal(dueWork({ status, now, nextCheckAt: undefined, isAutomatic: true, hasOffer: true }), "nothing");
  assert.equal((await local("POST", "/v1/update/confirm", { body: {} })).status, 202);
  assert.equal((await ended(local)).state, "done");
  assert.equal(await site.running(), "1.5.0");
});

test("68 a window that closes during the download holds it back before the switch; the agent resumes in the next window", async (t) => {
  let now = new Date("2026-03-02T02:50:00Z");
  const ticks: (() => void)[] = [];
  const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    ms < 30_000
      ? new Promise((resolve) => setTimeout(resolve, Math.min(ms, 20)))
      : new Promise((resolve, reject) => {
          if (signal?.aborted === true) reject(new Error("stopped"));
          ticks.push(resolve);
          signal?.addEventListener("abort", () => reject(new Error("stopped")), { once: true });
        });
  const { vendor, site, local } = await startAgent(t, {
    site: { extra: 'window: [{ start: "02:00", duration_minutes: 60 }]' },
    machine: { clock: { now: () => now }, sleep },
  });
  await vendor.release("1.5.0");
  vendor.faults.answer = async (_request, _response, file) => {
    if (file.endsWith(".tar.gz")) now = new Date("2026-03-02T03:01:00Z");
    return false;
  };
  await local("POST", "/v1/update/install", { body: {} });
  assert.equal((await ended(local)).error?.["code"], "outside_window");
  assert.equal(await site.running(), "1.4.2");
  ticks.shift()?.();
  await until(() => ticks.length > 0, "the next look at the clock");
  assert.equal(await site.running(), "1.4.2", "the window is closed still");
  now = new Date("2026-03-03T02:00:30Z");
  ticks.shift()?.();
  await until(async () => (await site.running()) === "1.5.0", "the upgrade in the next window");
});

test("an agent that may install what it finds does so in the window, as the schedule's approval says", async (t) => {
  const { vendor, site, local, failures } = await startAgent(t, { agent: '"1m", automatic: true', isBare: true, machine: { random: () => 0 } });
  await until(async () => (await site.running()) === "1.4.2", "the installation");
  await ended(local);
  assert.deepEqual((await readJson(join(site.updates, "transaction.json")))["approval"], {
    ...((await readJson(join(site.updates, "transaction.json")))["approval"] as object),
    mode: "auto",
    by: "schedule",
  });
  assert.equal(vendor.releases.size, 1);
  assert.deepEqual(failures, []);
});

test("C5 check-ins: only where the operator allows them, with version, outcome and a random machine id, and they stand in the vendor's audit trail", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  await publish(server, "toy", "1.4.2");
  const given = await issuePair(server, "acme", "toy");
  const { vendor, site, local } = await startAgent(t, { agent: '"off", check_in: true' });
  await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes") });
  // The releases are the toy vendor's; what is told goes on to a real server with a real pair.
  const told: string[] = [];
  vendor.faults.answer = async (request, response, file) => {
    if (file !== "check-in") return false;
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    told.push(Buffer.concat(pieces).toString("utf8"));
    const headers = { authorization: given.authorization, "content-type": "application/json" };
    const answer = await fetch(`${server.url}/releases/toy/check-in`, { method: "POST", headers, body: told.at(-1) ?? "" });
    response.writeHead(answer.status).end(await answer.text());
    return true;
  };
  await local("POST", "/v1/update/install", { body: {} });
  assert.equal((await ended(local)).error?.["code"], "health_failed");
  await local("POST", "/v1/update/check", { body: {} });
  const events = await until(async () => {
    const { body } = await server.admin("GET", "/audit?action=installation.check-in");
    const found = body["events"] as Json[];
    return found.length === 2 ? found : undefined;
  }, "both check-ins");
  const { machineId } = (await readJson(join(site.updates, "state.json"))) as { machineId: string };
  assert.deepEqual(
    told.map((text) => JSON.parse(text) as Json),
    [
      { version: "1.4.2", outcome: "rolled_back", machine: machineId },
      { version: "1.4.2", outcome: "running", machine: machineId },
    ],
  );
  assert.deepEqual(
    events.map((event) => [event["customer"], event["product"], event["version"]]),
    [
      ["acme", "toy", "1.4.2"],
      ["acme", "toy", "1.4.2"],
    ],
  );
  // What is not granted and what is not understood is answered alike, and not recorded.
  for (const [path, body] of [
    ["/releases/other/check-in", told[0] ?? ""],
    ["/releases/toy/check-in", '{"version":"1.4.2","outcome":"running","machine":"me"}'],
  ] as const) {
    const answer = await fetch(server.url + path, {
      method: "POST",
      headers: { authorization: given.authorization, "content-type": "application/json" },
      body,
    });
    assert.equal(answer.status, 404, await answer.text());
  }
  assert.equal(((await server.admin("GET", "/audit?action=installation.check-in")).body["events"] as Json[]).length, 2);
  const silent = await startAgent(t, { vendor });
  const before = told.length;
  await silent.local("POST", "/v1/update/check", { body: {} });
  await silent.running.stop();
  assert.equal(told.length, before, "without check_in nothing is told");
});

test("what is due", () => {
  const now = new Date("2026-03-02T10:00:00Z");
  const at = now.getTime();
  const transaction = (change: Partial<Transaction>): Transaction => ({
    schema: 1,
    id: "0".repeat(24),
    product: "toy",
    phase: "downloading",
    from: { files: {} },
    to: { version: "1.5.0" },
    source: { kind: "repo", url: "x" },
    trust: { checks: [] },
    download: { bytes: 0 },
    approval: { mode: "explicit", by: "x", until: at + 1 },
    attempt: 1,
    maxAttempts: 3,
    notBefore: 0,
    retryable: true,
    rolledBack: false,
    rollbackFailed: false,
    timings: {},
    startedAt: 0,
    updatedAt: 0,
    ...change,
  });
  const closed = { isOpen: false, opensAt: "", closesAt: "" };
  const cases: readonly (readonly [
    string,
    Partial<Parameters<typeof dueWork>[0]["status"]> & { journal?: Parameters<typeof dueWork>[0]["status"]["journal"] },
    object,
    Due,
  ])[] = [
    ["nothing to do", {}, {}, "nothing"],
    ["time to check", {}, { nextCheckAt: now }, "check"],
    ["an offer, not automatic", {}, { hasOffer: true }, "nothing"],
    ["an offer, automatic", {}, { hasOffer: true, isAutomatic: true }, "install"],
    ["an offer, window closed", { window: closed }, { hasOffer: true, isAutomatic: true }, "nothing"],
    ["an offer, held", { hold: { reason: "x", at } }, { hasOffer: true, isAutomatic: true }, "nothing"],
    ["an offer, hold is over", { hold: { reason: "x", at, until: at } }, { hasOffer: true, isAutomatic: true }, "install"],
    ["unfinished", { journal: { kind: "known", transaction: transaction({}) } }, {}, "resume"],
    [
      "unfinished, old approval",
      { journal: { kind: "known", transaction: transaction({ approval: { mode: "explicit", by: "x", until: at - 1 } }) } },
      { isAutomatic: true },
      "nothing",
    ],
    [
      "unfinished, the schedule's own old approval",
      { journal: { kind: "known", transaction: transaction({ approval: { mode: "auto", by: "x", until: at - 1 } }) } },
      { isAutomatic: true },
      "confirm",
    ],
    ["failed, too early to try again", { journal: { kind: "known", transaction: transaction({ phase: "failed", notBefore: at + 1 }) } }, {}, "nothing"],
    ["failed, time to try again", { journal: { kind: "known", transaction: transaction({ phase: "failed", notBefore: at }) } }, {}, "resume"],
    ["failed for good", { journal: { kind: "known", transaction: transaction({ phase: "failed", retryable: false }) } }, { nextCheckAt: now }, "check"],
    ["unfinished, window closed", { window: closed, journal: { kind: "known", transaction: transaction({}) } }, {}, "nothing"],
    [
      "half switched, window closed",
      { window: closed, journal: { kind: "known", transaction: transaction({ phase: "applying", step: "trial" }) } },
      {},
      "resume",
    ],
    [
      "83 a newer slipway's journal",
      { journal: { kind: "foreign", reason: "x", phase: "x" } },
      { nextCheckAt: now, hasOffer: true, isAutomatic: true },
      "nothing",
    ],
  ];
  for (const [name, status, question, due] of cases) {
    assert.equal(
      dueWork({
        status: { journal: { kind: "none" }, hold: null, window: null, ...status },
        now,
        nextCheckAt: undefined,
        isAutomatic: false,
        hasOffer: false,
        ...question,
      }),
      due,
      name,
    );
  }
});
