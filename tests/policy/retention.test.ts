/** Retention as a pure decision: tables of cases and properties. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareVersions, isStable, newestStable, parseVersion } from "../../src/model/version.ts";
import { planRetention, type RetentionFacts, replacementFor } from "../../src/policy/retention.ts";

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
