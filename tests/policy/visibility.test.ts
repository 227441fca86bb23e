/** What a customer sees, as a table of grants, and what must hold for every rollout. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Grant } from "../../src/model/grant.ts";
import { parseVersion } from "../../src/model/version.ts";
import { decideVisibility, isRolledOut, type ListedRelease, rankOf, type Rollout, rolloutBucket } from "../../src/policy/visibility.ts";

const now = new Date("2026-03-15T00:00:00Z");
const day = (text: string): Date => new Date(`2026-03-${text}T00:00:00Z`);
const full: Rollout = { share: 10_000, salt: "s", isBypass: false, members: new Set() };

function listed(version: string, channel: string, promotedAt: Date, rollout: Partial<Rollout> = {}): ListedRelease {
  return { releaseId: `r-${version}`, version: parseVersion(version), channel, promotedAt, rollout: { ...full, ...rollout } };
}

const all: readonly ListedRelease[] = [
  listed("1.4.0", "stable", day("01")),
  listed("1.5.0", "beta", day("05")),
  listed("1.5.0", "stable", day("10")),
  listed("2.0.0", "stable", day("12")),
  listed("2.1.0-rc.1", "preview", day("13")),
];
const open: Grant = {
  channel: undefined,
  formats: undefined,
  versions: undefined,
  entitledUntil: undefined,
  lapse: "keep",
  pin: undefined,
  changedAt: day("01"),
  isOriginal: true,
};
const ranks = new Map([["beta", 50]]);
const see = (grant: Partial<Grant>, list = all) => decideVisibility({ listed: list, ranks, holder: { customerId: "c", grant: { ...open, ...grant } }, now });
const pin = (version: string, until?: Date) => ({ version: parseVersion(version), until });

const cases: readonly { readonly name: string; readonly grant: Partial<Grant>; readonly hidden: readonly string[] }[] = [
  { name: "no limits", grant: {}, hidden: [] },
  { name: "stable alone", grant: { channel: "stable" }, hidden: ["1.5.0 beta channel", "2.1.0-rc.1 preview channel"] },
  { name: "beta and what is more stable", grant: { channel: "beta" }, hidden: ["2.1.0-rc.1 preview channel"] },
  { name: "an unknown channel has the lowest rank", grant: { channel: "nightly" }, hidden: [] },
  { name: "a range", grant: { versions: ">=1.5.0 <2.0.0" }, hidden: ["1.4.0 stable range", "2.0.0 stable range", "2.1.0-rc.1 preview range"] },
  { name: "a pin hides what is newer", grant: { pin: pin("1.5.0") }, hidden: ["2.0.0 stable pin", "2.1.0-rc.1 preview pin"] },
  { name: "a pin that has ended", grant: { pin: pin("1.5.0", now) }, hidden: [] },
  {
    name: "an ended entitlement keeps what each channel had then",
    grant: { entitledUntil: day("07") },
    hidden: ["1.5.0 stable entitlement", "2.0.0 stable entitlement", "2.1.0-rc.1 preview entitlement"],
  },
  { name: "an entitlement that lasts", grant: { entitledUntil: day("16"), lapse: "cut" }, hidden: [] },
];

for (const { name, grant, hidden } of cases) {
  test(`C3 C9 ${name}`, () => {
    const seen = [...see(grant).hidden].map(([key, reason]) => `${key.replace("r-", "")} ${reason}`);
    assert.deepEqual(seen.toSorted(), hidden.toSorted());
  });
}

test("C9 a cut takes everything; the view's key names what is hidden, and changes by time are known beforehand", () => {
  const cut = see({ entitledUntil: day("14"), lapse: "cut" });
  assert.deepEqual([cut.isCut, cut.hidden.size], [true, all.length]);
  assert.equal(see({}).key, "");
  assert.equal(see({ pin: pin("1.5.0") }).key, see({ versions: "<2.0.0-0" }).key, "the same is hidden: one view");
  assert.notEqual(see({ channel: "beta" }).key, see({ versions: "<2.1.0-0" }).key, "a channel that is not his has no index at all");
  assert.deepEqual(see({ entitledUntil: day("20"), pin: pin("1.5.0", day("18")) }).validUntil, day("18"));
  assert.deepEqual(see({ entitledUntil: day("09"), pin: pin("1.5.0", day("11")) }).changedAt, day("11"));
  assert.equal(see({ pin: pin("1.5.0") }).changedAt, undefined, "he never saw another");
  assert.deepEqual(see({ changedAt: day("10"), isOriginal: false }).changedAt, day("10"));
  assert.equal(rankOf("stable", new Map()), 100);
});

test("C3 who is in a rollout stays in while it grows, whoever is outside sees nothing of it, and about the share is in", () => {
  const customers = fc.uniqueArray(fc.uuid(), { minLength: 1, maxLength: 50 });
  fc.assert(
    fc.property(customers, fc.string({ minLength: 8 }), fc.nat({ max: 10_000 }), fc.nat({ max: 10_000 }), (ids, salt, one, other) => {
      const [less, more] = [Math.min(one, other), Math.max(one, other)];
      for (const id of ids) {
        if (isRolledOut({ ...full, salt, share: less }, id)) assert.ok(isRolledOut({ ...full, salt, share: more }, id));
        assert.ok(!isRolledOut({ ...full, salt, share: 0 }, id));
        assert.ok(isRolledOut({ ...full, salt, share: 0, members: new Set([id]) }, id));
        assert.ok(isRolledOut({ ...full, salt, share: 0, isBypass: true }, id));
      }
    }),
  );
  const inside = Array.from({ length: 10_000 }, (_, index) => rolloutBucket("salt", `customer-${index}`)).filter((bucket) => bucket < 1_000).length;
  assert.ok(inside > 900 && inside < 1_100, `${inside} of 10,000 for 10 %`);
});
