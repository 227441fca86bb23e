/** The whole crash matrix: after every durable change, at every durable system call (strace), and pairs of kills. Takes many minutes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { needClient } from "../support/clients.ts";
import { crashAndRecover, hopScenario, killAtCall, killAtChange, listChanges, nameOf, scenarios, withVendors } from "./crash.ts";
import { startVendor } from "./support.ts";

const atOnce = 2;
/** Far above what any scenario makes; the loop ends where a run was not killed. */
const mostCalls = 400;

for (const scenario of [...scenarios, hopScenario]) {
  test(`48 ${nameOf(scenario)}: killed after every durable change`, async (t) => {
    const vendor = await startVendor(t);
    const changes = (await listChanges(vendor, scenario)).length;
    let kills = 0;
    await withVendors(
      Array.from({ length: changes }, (_, index) => index + 1),
      atOnce,
      async (own, point) => {
        if (await crashAndRecover(own, scenario, [killAtChange(point)])) kills += 1;
      },
    );
    t.diagnostic(`${kills} kills`);
    assert.equal(kills, changes);
  });

  test(`48 ${nameOf(scenario)}: killed at every durable system call`, async (t) => {
    if (!needClient(t, "strace")) return;
    let kills = 0;
    let isOver = false;
    await withVendors(
      Array.from({ length: mostCalls }, (_, index) => index + 1),
      atOnce,
      async (vendor, nth) => {
        if (isOver) return;
        if (await crashAndRecover(vendor, scenario, [killAtCall(nth)])) kills += 1;
        else isOver = true;
      },
    );
    t.diagnostic(`${kills} kills`);
    assert.ok(kills > 20 && kills < mostCalls - atOnce, `${kills} kills`);
  });

  test(`48 ${nameOf(scenario)}: killed twice, every third change and every second change of the recovery`, async (t) => {
    const vendor = await startVendor(t);
    const changes = (await listChanges(vendor, scenario)).length;
    const pairs: number[][] = [];
    for (let first = 1; first <= changes; first += 3) for (let second = 1; second <= 16; second += 2) pairs.push([first, second]);
    let kills = 0;
    await withVendors(pairs, atOnce, async (own, points) => {
      if (await crashAndRecover(own, scenario, points.map(killAtChange))) kills += 1;
    });
    t.diagnostic(`${kills} of ${pairs.length} pairs were killed twice`);
    assert.ok(kills > changes / 3);
  });
}
