/** The bounded things of the server: the cache of small files, the budget of download buffers, the throttle of failed logins. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createBufferBudget, largestBuffer, smallestBuffer } from "../../src/server/buffer-budget.ts";
import { createByteCache } from "../../src/server/byte-cache.ts";
import { createLoginThrottle } from "../../src/server/login-throttle.ts";

test("the cache drops what was not used for longest and never exceeds its limit", () => {
  const cache = createByteCache({ limitBytes: 30, largestBytes: 20 });
  cache.put("a", Buffer.alloc(10));
  cache.put("b", Buffer.alloc(10));
  cache.put("c", Buffer.alloc(10));
  assert.ok(cache.get("a"));
  cache.put("d", Buffer.alloc(10));
  assert.equal(cache.get("b"), undefined);
  assert.ok(cache.get("a"));
  assert.equal(cache.sizeBytes(), 30);
  cache.put("large", Buffer.alloc(21));
  assert.equal(cache.get("large"), undefined);
  cache.put("a", Buffer.alloc(5));
  assert.equal(cache.get("a")?.length, 10, "a digest names one content");
});

test("one download gets the largest buffers, a thousand stay within the budget's smallest", () => {
  const budget = createBufferBudget(64 * 1024 * 1024);
  const leave = budget.join();
  assert.equal(budget.bufferSize(), largestBuffer);
  const others = Array.from({ length: 199 }, () => budget.join());
  assert.ok(budget.bufferSize() * 2 * 200 <= 64 * 1024 * 1024);
  const more = Array.from({ length: 800 }, () => budget.join());
  assert.equal(budget.bufferSize(), smallestBuffer);
  for (const end of [leave, leave, ...others, ...more]) end();
  assert.equal(budget.running(), 0);
});

test("C9 wrong credentials are slowed down per address and key, and another key from another address is not", () => {
  const throttle = createLoginThrottle();
  const now = new Date("2026-01-01T00:00:00Z");
  const outcomes = Array.from({ length: 15 }, () => throttle.fail({ address: "192.0.2.1", keyId: "k1", now }).isLimited);
  assert.deepEqual(outcomes, [...Array<boolean>(10).fill(false), ...Array<boolean>(5).fill(true)]);
  assert.equal(throttle.fail({ address: "192.0.2.2", keyId: "k1", now }).isLimited, false);
  assert.equal(throttle.fail({ address: "192.0.2.1", keyId: "k1", now: new Date(now.getTime() + 7000) }).isLimited, false);
  const many = Array.from({ length: 100 }, (_, index) => throttle.fail({ address: "192.0.2.9", keyId: `k${index}`, now }).isLimited);
  assert.equal(many.filter((isLimited) => !isLimited).length, 60, "changing the key id does not help");
});
