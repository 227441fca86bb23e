/** A source that has another file than the release lists, and one that cannot be reached: said quickly, with the numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { failure, makeSite, noSignal, startVendor } from "./support.ts";

const signal = noSignal;

test("35 a source that announces fewer bytes than were signed is refused at once, with both sizes", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const release = await vendor.release("1.0.0");
  const name = "toy-v1.0.0-linux-amd64.tar.gz";
  const whole = release.get(name) ?? Buffer.alloc(0);
  release.set(name, whole.subarray(0, whole.length - 100));
  const error = await failure((await site.updater()).install({ signal }), "upgrade_verification_failed", "size_mismatch");
  assert.ok(error.message.includes(`the source has ${whole.length - 100} bytes; the release lists ${whole.length}`), error.message);
  assert.equal(vendor.requests.filter((request) => request.endsWith(name)).length, 1, "asking again would bring no more");
  assert.deepEqual(
    site.events.filter(({ event }) => event === "retry"),
    [],
  );
});

test("a source that cannot be reached is said after a few seconds, not after a minute", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  await vendor.close();
  const waits: number[] = [];
  const sleep = (ms: number): Promise<void> => {
    waits.push(ms);
    return Promise.resolve();
  };
  await failure((await site.updater({ sleep })).check({ signal }), "network_unreachable");
  const total = waits.reduce((sum, ms) => sum + ms, 0);
  assert.ok(waits.length === 2 && total < 6_000, `${waits.join(" + ")} ms`);
});
