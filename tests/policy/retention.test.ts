/** Retention as a pure decision: tables of cases and properties. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareVersions, isStable, newestStable, parseVersion } from "../../src/model/version.ts";
import { planRetention, type RetentionFacts, replacementFor } from "../../src/policy/retention.ts";
import { findWay, type KnownRelease } from "../../src/model/upgrade-path.ts";
import { isOutOfReach, neededByUpgrades } from "../../src/policy/upgrade-need.ts";

function factsOf(keep: number, ...versions: readonly string[]): RetentionFacts {
  return { product: "coequal", keep, published: versions.map((version) => ({ version: parseVersion(version), files: 3, bytes: 100 })) };
}

const cases: readonly { readonly name: string; readonly facts: RetentionFacts; readonly retires: readonly (readonly [string, string | undefined])[] }[] = [
  { name: "ten of ten stay", facts: factsOf(10, ...Array.from({ length: 10 }, (_, index) => `1.${index}.0`)), retires: [] },
  {
    name: "the eleventh pushes out the oldest",
    facts: factsOf(10, ...Array.from({ length: 11 }, (_, index) => `1.${index}.0`)),
    retires: [["1.0.0", "1.10.0"]],
  },
  { name: "nothing published", facts: factsOf(10), retires: [] },
  {
    name: "one kept",
    facts: factsOf(1, "1.0.0", "1.0.1", "1.1.0"),
    retires: [
      ["1.0.0", "1.1.0"],
      ["1.0.1", "1.1.0"],
    ],
  },
  { name: "the same line is the better replacement", facts: factsOf(2, "1.4.0", "1.4.1", "1.5.0"), retires: [["1.4.0", "1.4.1"]] },
  { name: "previews are counted apart", facts: factsOf(2, "1.4.0", "1.5.0-rc.1", "1.5.0-rc.2", "1.5.0-rc.10"), retires: [["1.5.0-rc.1", "1.4.0"]] },
  { name: "previews alone have no stable to point to", facts: factsOf(1, "1.0.0-rc.1", "1.0.0-rc.2"), retires: [["1.0.0-rc.1", undefined]] },
  { name: "a patch of an old line does not outlive newer versions", facts: factsOf(2, "1.5.0", "2.0.0", "1.4.9"), retires: [["1.4.9", "2.0.0"]] },
  { name: "keep 0 still keeps latest", facts: factsOf(0, "1.0.0", "1.1.0"), retires: [["1.0.0", "1.1.0"]] },
];

for (const { name, facts, retires } of cases) {
  test(`C6 ${name}`, () => {
    assert.deepEqual(
      planRetention(facts).retires.map((release) => [release.version, release.replacement]),
      retires,
    );
  });
}

const versionArbitrary = fc
  .record({ minor: fc.nat({ max: 4 }), patch: fc.nat({ max: 4 }), pre: fc.option(fc.nat({ max: 12 }), { nil: undefined }) })
  .map(({ minor, patch, pre }) => parseVersion(`1.${minor}.${patch}${pre === undefined ? "" : `-preview${pre}`}`));
const factsArbitrary = fc.record({ keep: fc.nat({ max: 12 }), versions: fc.uniqueArray(versionArbitrary, { maxLength: 40 }) });

test("C6 latest always stays, every version is either kept or retired, and a replacement is one that stays", () => {
  fc.assert(
    fc.property(factsArbitrary, ({ keep, versions }) => {
      const plan = planRetention(factsOf(keep, ...versions));
      const latest = newestStable(versions);
      if (latest !== undefined) assert.ok(plan.keeps.includes(latest));
      const retired = plan.retires.map((release) => release.version);
      assert.deepEqual([...plan.keeps, ...retired].sort(compareVersions), [...versions].sort(compareVersions));
      for (const isKind of [isStable, (version: (typeof versions)[number]) => !isStable(version)]) {
        const of = versions.filter(isKind);
        assert.equal(plan.keeps.filter(isKind).length, Math.min(of.length, Math.max(1, keep)));
        for (const gone of retired.filter(isKind)) for (const stays of plan.keeps.filter(isKind)) assert.ok(compareVersions(gone, stays) < 0);
      }
      for (const { replacement } of plan.retires)
        assert.ok(replacement === undefined ? latest === undefined : plan.keeps.includes(replacement) && isStable(replacement));
    }),
  );
});

test("the basis tells whether anything changed, and the order in which releases are given does not matter", () => {
  const plan = planRetention(factsOf(2, "1.0.0", "1.1.0", "1.2.0"));
  assert.equal(planRetention(factsOf(2, "1.2.0", "1.0.0", "1.1.0")).basis, plan.basis);
  assert.notEqual(planRetention(factsOf(3, "1.0.0", "1.1.0", "1.2.0")).basis, plan.basis);
  assert.notEqual(planRetention(factsOf(2, "1.0.0", "1.1.0", "1.2.0", "1.3.0")).basis, plan.basis);
  assert.equal(replacementFor(parseVersion("1.0.0"), [parseVersion("1.0.0")]), undefined, "a version does not replace itself");
});

const day = (text: string): Date => new Date(`2026-03-${text}T00:00:00Z`);
const policy = { announceDays: 10, unlistDays: 5, graceDays: 0, keepIfPulledDays: undefined };

type StageCase = {
  readonly name: string;
  readonly stage?: RetentionFacts["published"][number]["stage"];
  readonly policy?: Partial<typeof policy>;
  readonly blockedBy?: RetentionFacts["published"][number]["blockedBy"];
  readonly keep?: number;
  readonly step: readonly [step: string, dueAt: Date | undefined, isDue: boolean] | undefined;
};

const stages: readonly StageCase[] = [
  { name: "it is announced first", step: ["announce", undefined, true] },
  { name: "an announced version waits", stage: { name: "announced", since: day("05") }, step: ["unlist", day("15"), false] },
  { name: "then leaves the indexes", stage: { name: "announced", since: day("02") }, step: ["unlist", day("12"), true] },
  { name: "an unlisted one waits", stage: { name: "unlisted", since: day("10") }, step: ["retire", day("15"), false] },
  { name: "then is gone", stage: { name: "unlisted", since: day("07") }, step: ["retire", day("12"), true] },
  { name: "no announcement without its days", policy: { announceDays: 0 }, step: ["unlist", undefined, true] },
  {
    name: "an announced one is gone at once where nothing is unlisted",
    policy: { unlistDays: 0 },
    stage: { name: "announced", since: day("02") },
    step: ["retire", day("12"), true],
  },
  {
    name: "what is needed stays, and is listed again",
    stage: { name: "unlisted", since: day("01") },
    blockedBy: [{ kind: "pin", text: "acme" }],
    step: undefined,
  },
  { name: "so does what is no surplus any more", stage: { name: "announced", since: day("01") }, keep: 3, step: undefined },
];

for (const one of stages) {
  test(`C6 ${one.name}`, () => {
    const { published } = factsOf(1, "1.0.0", "1.1.0");
    const facts: RetentionFacts = {
      product: "coequal",
      keep: one.keep ?? 1,
      published: published.map((release) => (release.version === "1.0.0" ? { ...release, stage: one.stage, blockedBy: one.blockedBy ?? [] } : release)),
      policy: { ...policy, ...one.policy },
      now: day("12"),
    };
    const plan = planRetention(facts);
    const [step] = plan.steps;
    assert.deepEqual(step === undefined ? undefined : [step.step, step.dueAt, step.isDue], one.step);
    assert.deepEqual(plan.restores, one.step === undefined ? ["1.0.0"] : []);
    assert.equal(planRetention({ ...facts, now: new Date(day("12").getTime() + 1_000) }).basis, plan.basis, "a second later it is the same plan");
    assert.notEqual(planRetention({ ...facts, now: day("01"), published: [] }).basis, plan.basis);
  });
}

test("C6 the newest of each type stay, also where not every version has all types", () => {
  const version = (text: string, types: readonly string[]) => ({ version: parseVersion(text), files: 1, bytes: 1, types });
  const published = [version("1.0.0", ["deb", "file"]), version("1.1.0", ["file"]), version("1.2.0", ["file"]), version("1.3.0", ["deb", "file"])];
  assert.deepEqual(
    planRetention({ product: "coequal", keep: 2, published }).retires.map((release) => release.version),
    ["1.1.0"],
    "1.0.0 has one of the two newest debs",
  );
});

test("C3 C6 what has not come to stable pushes nothing out of it, and what everybody sees stays while a rollout is under way", () => {
  const [first, second] = factsOf(1, "1.0.0", "1.1.0").published;
  assert.ok(first && second);
  const retires = (...published: RetentionFacts["published"]) =>
    planRetention({ product: "coequal", keep: 1, published }).retires.map(({ version }) => version);
  assert.deepEqual(retires(first, second), ["1.0.0"]);
  assert.deepEqual(retires(first, { ...second, isOffered: false }), []);
  assert.deepEqual(retires(first, { ...second, isPartial: true }), []);
});

const known = (text: string): KnownRelease => {
  const [version = "", upgradeFrom = "", mark = ""] = text.split(" from ").flatMap((part) => part.split(" as "));
  const compat = { ...(upgradeFrom === "" ? {} : { upgradeFrom }), ...(mark === "" ? {} : { waypoint: true }) };
  return { version: parseVersion(version), compat };
};

/** Published releases, oldest first, those with a minus would leave -> what keeps which. */
const needs: readonly {
  readonly name: string;
  readonly published: readonly string[];
  readonly retired?: readonly string[];
  readonly kept: readonly string[];
}[] = [
  { name: "a waypoint stays", published: ["-1.1.0 from * as waypoint", "1.2.0"], kept: ["waypoint 1.1.0"] },
  { name: "a hop stays that an older one needs", published: ["1.0.0", "-1.1.0", "1.2.0 from >=1.1.0"], kept: ["path 1.1.0"] },
  { name: "the line before is a hop", published: ["1.0.0", "-1.1.0 from previous-line", "1.2.0 from previous-line"], kept: ["path 1.1.0"] },
  { name: "who gets there at once needs none", published: ["1.0.0", "-1.1.0", "1.2.0 from >=1.0.0"], kept: [] },
  { name: "where nothing older stays there is nobody to lead", published: ["-1.0.0", "-1.1.0", "1.2.0 from >=1.1.0"], kept: [] },
  { name: "of two ways the newer one stays", published: ["1.0.0", "-1.1.0", "-1.1.1", "1.2.0 from >=1.1.0"], kept: ["path 1.1.1"] },
  { name: "of one way all hops stay", published: ["1.0.0", "-1.1.0", "-1.2.0 from ~1.1", "1.3.0 from ~1.2"], kept: ["path 1.1.0", "path 1.2.0"] },
  { name: "a preview is no way", published: ["1.0.0", "-1.1.0-rc.1", "-1.1.0", "1.2.0 from >=1.1.0-0"], kept: ["path 1.1.0"] },
  {
    name: "a line that left long ago still lies between, so nobody is led anyway",
    published: ["1.0.0", "-1.2.0 from previous-line", "1.3.0 from previous-line"],
    retired: ["1.1.0"],
    kept: [],
  },
];

for (const { name, published, retired = [], kept } of needs) {
  test(`C18 what upgrades need: ${name}`, () => {
    const releases = published.map((text) => known(text.replace(/^-/, "")));
    const leaving = releases.filter((_, index) => published[index]?.startsWith("-")).map(({ version }) => version);
    const needed = neededByUpgrades({ published: releases, retired: retired.map(known), leaving });
    assert.deepEqual(
      [...needed].map(([version, { kind }]) => `${kind} ${version}`),
      kept,
    );
  });
}

test("C18 whatever leaves, every version that stays and had a way to the newest has one after", () => {
  const lines = fc.array(
    fc.record({ line: fc.integer({ min: 0, max: 6 }), from: fc.integer({ min: 1, max: 3 }), leaves: fc.boolean(), isWaypoint: fc.boolean() }),
    {
      minLength: 2,
      maxLength: 12,
    },
  );
  fc.assert(
    fc.property(lines, (drawn) => {
      const releases = drawn.map(({ line, from, isWaypoint }, patch): KnownRelease => {
        const upgradeFrom = `>=1.${Math.max(0, line - from)}.0`;
        return { version: parseVersion(`1.${line}.${patch}`), compat: { upgradeFrom, ...(isWaypoint && patch % 5 === 0 ? { waypoint: true } : {}) } };
      });
      const [newest] = releases.map(({ version }) => version).toSorted((left, right) => compareVersions(right, left));
      const leaving = releases.filter(({ version }, index) => version !== newest && drawn[index]?.leaves === true).map(({ version }) => version);
      const needed = neededByUpgrades({ published: releases, retired: [], leaving });
      const staying = releases.filter(({ version }) => !leaving.includes(version) || needed.has(version));
      const goal = releases.find(({ version }) => version === newest);
      assert.ok(goal);
      for (const from of staying.filter((one) => one !== goal)) {
        const isLed = (hops: readonly KnownRelease[]): boolean => findWay({ from, to: goal, hops, everything: releases }) !== undefined;
        assert.equal(isLed(staying), isLed(releases), `${from.version} to ${goal.version}`);
      }
    }),
    { numRuns: 300 },
  );
});

test("K1 a release that no published version can be upgraded to is out of reach; one that is the first, a preview or says nothing is not", () => {
  const published = ["1.0.0", "1.1.0"].map(known);
  const out = (text: string, others = published): boolean => isOutOfReach(known(text), { published: others, retired: [] });
  assert.equal(out("2.0.0 from >=1.9.0 <2.0.0"), true);
  assert.equal(out("2.0.0 from >=1.1.0"), false);
  assert.equal(out("2.0.0 from >=1.9.0", []), false);
  assert.equal(out("2.0.0"), false);
  assert.equal(out("2.0.0-rc.1 from >=1.9.0"), false);
  assert.equal(isOutOfReach(known("2.0.0"), { published, retired: [known("1.5.0 from * as waypoint")] }), true, "its waypoint has left");
});
