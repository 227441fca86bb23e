/** Maintenance windows and staged rollouts: the clock of a place, and who comes when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bucketOf, heldBack, newMachineId, rolloutSchema } from "../../src/updater/cohort.ts";
import { openingAt, windowSchema } from "../../src/updater/window.ts";

const window = (value: unknown): ReturnType<typeof windowSchema.parse> => windowSchema.parse(value);
const nightly = window({ start: "02:00", duration_minutes: 120, tz: "Europe/Berlin" });
const weekend = window({ days: ["sat"], start: "22:00", duration_minutes: 600, tz: "UTC" });

for (const [name, windows, now, isOpen, opensAt, closesAt] of [
  ["in winter Berlin is one hour ahead", [nightly], "2026-01-15T01:30:00Z", true, "2026-01-15T01:00:00.000Z", "2026-01-15T03:00:00.000Z"],
  ["in summer two", [nightly], "2026-07-15T01:30:00Z", true, "2026-07-15T00:00:00.000Z", "2026-07-15T02:00:00.000Z"],
  ["before it opens the next opening is today's", [nightly], "2026-01-15T00:59:59Z", false, "2026-01-15T01:00:00.000Z", "2026-01-15T03:00:00.000Z"],
  ["at its end it is closed", [nightly], "2026-01-15T03:00:00Z", false, "2026-01-16T01:00:00.000Z", "2026-01-16T03:00:00.000Z"],
  [
    "one that begins in the hour that a change of the clock skips begins after it",
    [nightly],
    "2026-03-28T12:00:00Z",
    false,
    "2026-03-29T01:00:00.000Z",
    "2026-03-29T03:00:00.000Z",
  ],
  ["over midnight it belongs to the day on which it began", [weekend], "2026-11-22T05:00:00Z", true, "2026-11-21T22:00:00.000Z", "2026-11-22T08:00:00.000Z"],
  ["after it the next one is a week later", [weekend], "2026-11-22T08:00:00Z", false, "2026-11-28T22:00:00.000Z", "2026-11-29T08:00:00.000Z"],
  ["of two windows the one that is open", [weekend, nightly], "2026-11-22T05:00:00Z", true, "2026-11-21T22:00:00.000Z", "2026-11-22T08:00:00.000Z"],
  ["of two windows the one that comes first", [weekend, nightly], "2026-11-25T12:00:00Z", false, "2026-11-26T01:00:00.000Z", "2026-11-26T03:00:00.000Z"],
] as const) {
  test(`68 a window: ${name}`, () => {
    const opening = openingAt(windows, new Date(now));
    assert.deepEqual([opening?.isOpen, opening?.opensAt.toISOString(), opening?.closesAt.toISOString()], [isOpen, opensAt, closesAt]);
  });
}

test("68 no windows mean always; a place or a time that is none is refused", () => {
  assert.equal(openingAt([], new Date()), undefined);
  assert.ok(!windowSchema.safeParse({ start: "02:00", duration_minutes: 60, tz: "Europe/Nowhere" }).success);
  assert.ok(!windowSchema.safeParse({ start: "24:00", duration_minutes: 60 }).success);
});

const rollout = (value: object): ReturnType<typeof rolloutSchema.parse> => rolloutSchema.parse({ salt: "1.5.0", ...value });
const now = new Date("2026-11-21T12:00:00Z");

test("80 the same machine is in the same bucket of a release, and in another one of the next", () => {
  const machines = Array.from({ length: 400 }, newMachineId);
  for (const machine of machines) assert.equal(bucketOf(machine, "1.5.0"), bucketOf(machine, "1.5.0"));
  const moved = machines.filter((machine) => bucketOf(machine, "1.5.0") !== bucketOf(machine, "1.6.0"));
  assert.ok(moved.length > 390, `${moved.length} of 400`);
  // The bucket of a known machine is part of the protocol: it must not change with a version of slipway.
  assert.equal(bucketOf("00000000000000000000000000000000", "salt"), 5501);
});

test("80 a tenth of the machines is about a tenth, and more per cent only add machines", () => {
  const machines = Array.from({ length: 2000 }, newMachineId);
  const chosen = (percent: number): readonly string[] => machines.filter((machine) => heldBack(rollout({ percent }), machine, now) === undefined);
  assert.ok(chosen(10).length > 120 && chosen(10).length < 290, `${chosen(10).length} of 2000`);
  const twenty = new Set(chosen(20));
  assert.ok(chosen(10).every((machine) => twenty.has(machine)));
  assert.equal(chosen(100).length, 2000);
  assert.equal(chosen(0).length, 0);
});

test("80 a halt is for everybody, a date is waited for, and a security fix waits for no turn", () => {
  const machine = newMachineId();
  assert.equal(heldBack(undefined, machine, now), undefined);
  assert.equal(heldBack(rollout({ percent: 100, halted: true, bypassCohort: true }), machine, now), "halted");
  assert.equal(heldBack(rollout({ percent: 100, notBefore: "2026-11-22T00:00:00Z" }), machine, now), "not_before");
  assert.equal(heldBack(rollout({ percent: 0 }), machine, now), "cohort");
  assert.equal(heldBack(rollout({ percent: 0, bypassCohort: true }), machine, now), undefined);
});
