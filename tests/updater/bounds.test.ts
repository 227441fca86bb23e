/** What an updater may cost at most, where it can be counted; bounds.slow.ts has what needs a large file. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeSite, noSignal, startVendor } from "./support.ts";

test("K10 where there is nothing to do, an upgrade asks for at most two files and changes nothing", async (t) => {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, {}, t);
  await (await site.updater()).install({ signal: noSignal });
  for (const command of ["install", "check", "plan"] as const) {
    vendor.requests.length = 0;
    await (await site.updater())[command]({ signal: noSignal });
    assert.ok(vendor.requests.length >= 1 && vendor.requests.length <= 2, `${command}: ${vendor.requests.join(", ")}`);
  }
  assert.equal(await site.running(), "1.4.2");
});
