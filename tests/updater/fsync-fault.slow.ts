/** fsync failing from every single call of an upgrade on; journal.test.ts has two of them. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { test } from "node:test";
import { needClient } from "../support/clients.ts";
import { fsyncFaults, requireUpgradable, upgradeWithFault } from "./fsync-fault.ts";
import { makeSite, noSignal, startVendor } from "./support.ts";

/** Far above what an upgrade makes; the loop ends where it went through. */
const mostCalls = 200;

for (const code of fsyncFaults) {
  test(`52 53 ${code} from every fsync of an upgrade on: said, never half old and half new, and the next try goes through`, async (t) => {
    if (!needClient(t, "strace")) return;
    const vendor = await startVendor(t);
    let [faults, untouched] = [0, 0];
    for (let nth = 1; nth < mostCalls; nth += 1) {
      vendor.releases.clear();
      await vendor.release("1.4.2");
      const site = await makeSite(vendor);
      try {
        await (await site.updater()).install({ signal: noSignal });
        await vendor.release("1.5.0");
        if (!(await upgradeWithFault(site, code, nth))) break;
        faults += 1;
        if ((await site.running()) === "1.4.2") untouched += 1;
        await requireUpgradable(site, "1.5.0");
      } finally {
        await rm(site.folder, { recursive: true, force: true });
      }
    }
    t.diagnostic(`${faults} calls failed, the old version was still running after ${untouched} of them`);
    assert.ok(faults > 10 && faults < mostCalls - 1, `${faults} faults`);
    assert.ok(untouched > faults / 2, "before the switch nothing was touched");
  });
}
