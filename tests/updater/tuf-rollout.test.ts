/** Rollouts in signed metadata: the index, which nobody signs, holds a release back further and never offers it to a machine more. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { bucketOf, heldBack, narrowerRollout, type Rollout } from "../../src/updater/cohort.ts";
import type { SignedRollout } from "../../src/repositories/tuf.ts";
import { failure, noSignal, readJson } from "./support.ts";
import { emptyField, type Field, field, requireUntouched, sequenceOf } from "./tuf-field.ts";

const signal = noSignal;
const rollout = (given: Partial<Rollout>): Rollout => ({ salt: "s", percent: 100, halted: false, bypassCohort: false, ...given });

test("of a signed and an unsigned rollout the narrower one counts, under the signed salt", () => {
  const cases: readonly (readonly [Partial<Rollout>, Partial<Rollout>, Partial<Rollout>])[] = [
    [{ percent: 10 }, { percent: 100 }, { percent: 10 }],
    [{ percent: 50 }, { percent: 10, salt: "chosen" }, { percent: 10 }],
    [{ percent: 10 }, { percent: 10, bypassCohort: true }, { percent: 10 }],
    [{ halted: true }, {}, { halted: true }],
    [{}, { halted: true }, { halted: true }],
    [{ notBefore: "2026-03-01T00:00:00Z" }, { notBefore: "2026-02-01T00:00:00Z" }, { notBefore: "2026-03-01T00:00:00Z" }],
    [{ bypassCohort: true, percent: 5 }, { percent: 1 }, { bypassCohort: true, percent: 1 }],
  ];
  for (const [signed, unsigned, expected] of cases) assert.deepEqual(narrowerRollout(rollout(signed), rollout(unsigned)), rollout(expected));
  assert.deepEqual(narrowerRollout(undefined, rollout({ percent: 7 })), rollout({ percent: 7 }));
  assert.deepEqual(narrowerRollout(rollout({ percent: 7 }), undefined), rollout({ percent: 7 }));
});

/** The index that somebody on the way makes of it. */
function forge({ vendor, tuf }: Field, change: Record<string, unknown>): void {
  const sequence = tuf.targets["toy/stable/1.5.0/release.json"]?.custom?.["sequence"];
  vendor.faults.index = () => ({ schema: 1, product: "toy", releases: [{ version: "1.5.0", channel: "stable", sequence, state: "published", ...change }] });
}

async function offered({ site }: Field): Promise<string> {
  const { offer } = await (await site.updater()).check({ signal });
  return offer.kind === "upgrade" ? offer.version : (offer.skipped[0]?.reason ?? offer.reason);
}

test("80 a share or a halt that is signed holds, whatever the index says; a machine whose turn it is by the signed salt is offered it", async (t) => {
  const all = await field(t);
  const files = all.vendor.releases.get("1.5.0") ?? new Map<string, Buffer>();
  const machineId = String((await readJson(join(all.site.updates, "state.json")))["machineId"]);
  const saltFor = (isFirst: boolean): string => {
    for (let index = 0; ; index += 1) if (bucketOf(machineId, `salt-${index}`) < 1_000 === isFirst) return `salt-${index}`;
  };
  const sign = (signed: SignedRollout): void => all.tuf.release("1.5.0", sequenceOf(files), files, { rollout: signed });
  sign({ salt: saltFor(false), percent: 10 });
  forge(all, {});
  assert.equal(await offered(all), "cohort", "an index without rollouts offers it to nobody more");
  forge(all, { rollouts: { stable: { salt: saltFor(true), percent: 100, bypassCohort: true } } });
  assert.equal(await offered(all), "cohort", "nor one with a salt of its own");
  await failure((await all.site.updater()).install({ signal }), "cohort_not_selected");
  sign({ salt: saltFor(true), percent: 10 });
  assert.equal(await offered(all), "1.5.0");
  forge(all, { rollouts: { stable: { salt: "x", percent: 100, halted: true } } });
  assert.equal(await offered(all), "halted", "a halt needs no signature");
  sign({ salt: saltFor(true), percent: 100, halted: true });
  forge(all, { rollouts: { stable: { salt: "x", percent: 100, halted: false } } });
  assert.equal(await offered(all), "halted");
  await failure((await all.site.updater()).install({ version: "1.5.0" as never, signal }), "held", "halted");
  await requireUntouched(all.site);
  assert.equal(heldBack(rollout({ percent: 10, salt: saltFor(true) }), machineId, new Date()), undefined);
});

test("an index that says of a preview that it is in stable, too, offers it to nobody on stable", async (t) => {
  const all = await emptyField(t, (vendor) => `minisign: [${vendor.publicKey}], tuf: { root: toy.root.json }`);
  all.tuf.channel = "preview";
  all.tuf.delegate();
  const files = await all.vendor.release("1.6.0", { changeManifest: (manifest) => ({ ...manifest, channel: "preview" }) });
  all.tuf.release("1.6.0", sequenceOf(files), files);
  const release = { version: "1.6.0", channel: "preview", channels: ["stable", "preview"], sequence: sequenceOf(files), state: "published" };
  all.vendor.faults.index = () => ({ schema: 1, product: "toy", releases: [release] });
  const { offer } = await (await all.site.updater()).check({ signal });
  assert.deepEqual([offer.kind, offer.skipped], ["none", [{ version: "1.6.0", reason: "other_channel" }]]);
});

test("71 an index that keeps quiet about a waypoint, or calls it withdrawn, leads nobody past it", async (t) => {
  const all = await field(t);
  const waypoint = all.vendor.releases.get("1.5.0") ?? new Map<string, Buffer>();
  all.tuf.release("1.5.0", sequenceOf(waypoint), waypoint, { isWaypoint: true });
  const files = await all.vendor.release("1.6.0");
  all.tuf.release("1.6.0", sequenceOf(files), files);
  const release = { version: "1.6.0", channel: "stable", sequence: sequenceOf(files), state: "published" };
  for (const retired of [[], [{ version: "1.5.0", state: "withdrawn" }]]) {
    all.vendor.faults.index = () => ({ schema: 1, product: "toy", releases: [release], retired });
    await failure((await all.site.updater()).install({ signal }), "waypoint_missing", "1.5.0");
    await requireUntouched(all.site);
  }
});
