/** The pace of check-ins: what the vendor's server takes, and how the agent waits when it is told to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCheckIns } from "../../src/agent/check-in.ts";
import type { SlipwayError } from "../../src/model/errors.ts";
import { issuePair, publish, startServer } from "../server/running-server.ts";
import { makeSite, noSignal, startVendor } from "../updater/support.ts";

test("C5 check-ins above an installation's pace are answered 429 with Retry-After and leave no event; its neighbour with the same pair is heard", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  await publish(server, "toy", "1.4.2");
  const { authorization } = await issuePair(server, "acme", "toy");
  const checkIn = (machine: string): Promise<Response> =>
    fetch(`${server.url}/releases/toy/check-in`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: JSON.stringify({ version: "1.4.2", outcome: "running", machine: machine.repeat(32) }),
    });
  const answers = [];
  for (let count = 0; count < 12; count += 1) answers.push(await checkIn("a"));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [...Array<number>(10).fill(200), 429, 429],
  );
  const wait = Number(answers.at(-1)?.headers.get("retry-after"));
  assert.ok(wait > 0 && wait <= 60, `${wait} s`);
  assert.match(await (answers.at(-1)?.text() ?? ""), /rate_limited/);
  assert.equal((await checkIn("b")).status, 200);
  const { body } = await server.admin("GET", "/audit?action=installation.check-in&limit=100");
  assert.equal((body["events"] as unknown[]).length, 11);
});

test("C5 an agent waits as long as the server says and up to a fifth more, tells then what was true when it happened, and leaves out what is stale", async (t) => {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, {}, t);
  await (await site.updater()).install({ signal: noSignal });
  let refusals = 2;
  const told: string[] = [];
  vendor.faults.answer = async (request, response, file) => {
    if (file !== "check-in") return false;
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    refusals -= 1;
    if (refusals >= 0) response.writeHead(429, { "retry-after": "40" }).end("{}");
    else {
      told.push((JSON.parse(Buffer.concat(pieces).toString("utf8")) as { outcome: string }).outcome);
      response.writeHead(200).end("{}");
    }
    return true;
  };
  const waits: number[] = [];
  const failures: SlipwayError[] = [];
  const checkIns = createCheckIns({
    installation: await site.installation(),
    machine: { env: {}, random: () => 0.5, sleep: (ms) => Promise.resolve(void waits.push(ms)) },
    signal: noSignal,
    onFailure: (error) => void failures.push(error),
  });
  checkIns.tell("rolled_back");
  await checkIns.ended();
  assert.deepEqual([waits.splice(0), told.splice(0), failures], [[44_000, 44_000], ["rolled_back"], []]);

  refusals = 1;
  checkIns.tell("running"); // refused; by then something newer waits
  checkIns.tell("upgraded");
  await checkIns.ended();
  assert.deepEqual([waits.splice(0), told.splice(0)], [[44_000], ["upgraded"]]);

  refusals = Number.POSITIVE_INFINITY;
  checkIns.tell("failed");
  await checkIns.ended();
  assert.deepEqual([waits.length, failures.map(({ code }) => code)], [4, ["rate_limited"]]);
});
