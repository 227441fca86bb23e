/** The abuse score as a table of days: whose looks stolen, and whose must not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type AbuseFacts, levelOf, scoreAbuse } from "../../src/policy/abuse.ts";

const quiet: AbuseFacts = { networks: 1, addresses: 2, bytes: 2e8, usualBytes: 1e8, versions: 1, failedLogins: 0, retiredSecretUses: 0 };

const days: readonly (readonly [what: string, facts: Partial<AbuseFacts>, level: string])[] = [
  ["a quiet day", {}, "none"],
  ["build machines behind 2,000 addresses of 6 networks", { addresses: 2_000, networks: 6 }, "none"],
  ["a first big download, with no past to compare with", { bytes: 9e11, usualBytes: undefined }, "none"],
  ["a mirror that fetches everything once", { versions: 500, bytes: 1e11, usualBytes: undefined }, "none"],
  ["strangers who guess at an id all day", { failedLogins: 100_000 }, "none"],
  ["one machine that kept the old secret", { retiredSecretUses: 3 }, "none"],
  ["many machines that kept the old secret", { retiredSecretUses: 500 }, "suspicious"],
  ["a pair that stands in a public place", { networks: 60, addresses: 80 }, "suspicious"],
  ["such a pair, and everything is fetched", { networks: 60, addresses: 400, versions: 80 }, "throttled"],
  ["such a pair after a rotation", { networks: 60, addresses: 400, retiredSecretUses: 900 }, "suspendable"],
];

test("C9 abuse is scored by networks, volume, versions, failures and old secrets; build fleets and guessing strangers alone raise no alarm", () => {
  for (const [what, facts, level] of days) {
    const { score, reasons } = scoreAbuse({ ...quiet, ...facts });
    assert.equal(levelOf(score), level, `${what}: ${score} ${JSON.stringify(reasons)}`);
    assert.equal(
      score,
      Math.min(
        100,
        reasons.reduce((sum, { points }) => sum + points, 0),
      ),
    );
  }
});
