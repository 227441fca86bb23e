/** Advisories: what is refused, what a publication leaves behind, who is affected; on both databases. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { parseVersion } from "../../src/model/version.ts";
import { fixedVersions, listAdvisories } from "../../src/releases/advisories.ts";
import { affectedCustomers } from "../../src/releases/advisory-customers.ts";
import { type AdvisoryFile, parseAdvisory, readAdvisoryFile } from "../../src/releases/advisory-file.ts";
import { publishAdvisory, withdrawAdvisory } from "../../src/releases/publish-advisory.ts";
import { findProduct } from "../../src/releases/products.ts";
import { withdrawRelease } from "../../src/releases/withdraw.ts";
import { isAffected, parseAffectedRange } from "../../src/repositories/affected-range.ts";
import { clearCountedPulls, rollUpPulls } from "../../src/access/pull-rollups.ts";
import { addCustomer } from "../../src/access/customers.ts";
import { appendAuditEvent } from "../../src/store/audit-events.ts";
import type { Store } from "../../src/store/store.ts";
import { storeTest } from "../support/stores.ts";
import { actor, product, publish, sampleRelease, stage, testRepositoryKey } from "./sample-release.ts";

const text = `id: ACME-2026-001
product: ${product}
title: Session tokens are predictable
severity: high
cves: [CVE-2026-12345]
affected: ">=1.1.0 <1.2.1"
fixed_in: 1.2.1
text: |
  An attacker may guess the token of a session.
references: [https://acme.example/ACME-2026-001]
credits: [Ada Finder]
`;
const file = (change: Readonly<Record<string, unknown>> = {}): AdvisoryFile => parseAdvisory({ ...readAdvisoryFile(text, "advisory.yaml"), ...change });

test("an advisory's range holds what it says, and is refused without an end", () => {
  const holds = (range: string, version: string): boolean => isAffected(parseAffectedRange(range), parseVersion(version));
  assert.deepEqual(
    ["1.1.0", "1.2.0", "1.2.1", "1.0.9", "1.2.1-rc.1"].map((version) => holds(">=1.1.0 <1.2.1", version)),
    [true, true, false, false, true],
  );
  assert.deepEqual([holds("<=1.0.0", "1.0.0"), holds("<=1.0.0", "1.0.1"), holds("=1.3.0", "1.3.0"), holds("=1.3.0", "1.3.1")], [true, false, true, false]);
  assert.deepEqual([holds("<1.0.1 || >=2.0.0 <2.0.3", "2.0.2"), holds("<1.0.1 || >=2.0.0 <2.0.3", "1.5.0")], [true, false]);
  for (const bad of ["", ">=1.0.0", "*", "^1.2.0", ">=2.0.0 <1.0.0", ">=1.0.0 <1.0.0", "<1.0.0 <2.0.0", ">=1.0.0 >=1.1.0 <2.0.0", "<1.0.0 ||", "<x"]) {
    assert.throws(() => parseAffectedRange(bad), /is not made of|has no end|ends|begins|not a version/, bad);
  }
});

test("an advisory file with a mistake is refused with its line", () => {
  const refused = (change: string, instead: string): unknown => {
    try {
      readAdvisoryFile(text.replace(change, instead), "a.yaml");
    } catch (error) {
      const { code, place, message } = error as { code: string; place: string; message: string };
      return [code, place, message];
    }
    return undefined;
  };
  assert.deepEqual(refused("severity: high", "severity: critcal"), [
    "advisory_invalid",
    "a.yaml:4:11",
    'severity: "critcal" is not one of critical, high, medium, low - did you mean "critical"?',
  ]);
  assert.deepEqual(refused("credits:", "credit:"), ["advisory_invalid", "a.yaml:11:1", 'unknown key "credit" at the top - did you mean "credits"?']);
  assert.deepEqual((refused("fixed_in: 1.2.1\n", "") as string[])[2], '"fixed_in" is missing');
  assert.match(String((refused("[CVE-2026-12345]", "[CVE-26-1]") as string[])[1]), /^a\.yaml:5:\d+$/);
  assert.deepEqual((refused('">=1.1.0 <1.2.1"', '">=1.1.0"') as string[]).slice(0, 2), ["advisory_invalid", "a.yaml:6:11"]);
  assert.equal((refused("id: ACME-2026-001", "id: ../../etc") as string[])[1], "a.yaml:1:5");
  assert.ok(refused("[https://acme.example/ACME-2026-001]", "[javascript:alert(1)]"));
});

async function released(store: Store, versions: readonly string[]) {
  const repositoryKey = await testRepositoryKey();
  for (const version of versions) {
    const release = await sampleRelease(version);
    await stage(store, release);
    await publish(store, release, repositoryKey);
  }
  return repositoryKey;
}

async function pulled(store: Store, customer: string, version: string): Promise<void> {
  await appendAuditEvent(store.db, store, {
    actor: { kind: "customer", name: customer },
    action: "download",
    result: "complete",
    customer,
    product,
    version: parseVersion(version),
  });
}

/** Of the present head. */
async function updateInfoOf(store: Store): Promise<string | undefined> {
  const row = await store.db
    .selectFrom("snapshot_files")
    .innerJoin("heads", "heads.snapshot_id", "snapshot_files.snapshot_id")
    .select("digest")
    .where("path", "like", "yum/stable/%-updateinfo.xml.gz")
    .executeTakeFirst();
  return row === undefined ? undefined : gunzipSync(await store.blobs.read(row.digest, 1_000_000)).toString();
}

storeTest(
  "C8 C17 a fix must be published, outside the range, and of the newest minor; the advisory enters the index with one switch",
  async (_t, { store, clock }) => {
    const repositoryKey = await released(store, ["1.1.0", "1.2.0", "1.2.1"]);
    for (const name of ["hit", "mended", "fresh"]) await addCustomer(store, { name, actor });
    await pulled(store, "hit", "1.2.0");
    await pulled(store, "mended", "1.1.0");
    clock.advance(1_000);
    await pulled(store, "mended", "1.2.1");
    await pulled(store, "fresh", "1.2.1");
    const attempt = (change: Readonly<Record<string, unknown>>, isBackport = false) =>
      publishAdvisory(store, { file: file(change), isBackport, repositoryKey, actor });
    await assert.rejects(attempt({ fixed_in: "1.2.2" }), /the fix .* 1\.2\.2 is not there/);
    await assert.rejects(attempt({ affected: "<=1.2.1" }), /lies in the affected range/);
    await assert.rejects(attempt({ affected: "<0.5.0" }), /no version .* was ever published/);
    await assert.rejects(attempt({ product: "other" }), /there is no product/);
    assert.equal(await updateInfoOf(store), undefined);

    const dry = await publishAdvisory(store, { file: file(), isBackport: false, repositoryKey, actor, isDryRun: true });
    assert.deepEqual([dry.outcome, dry.told], ["published", ["hit"]]);
    assert.deepEqual(await listAdvisories(store), []);

    assert.deepEqual((await attempt({})).told, ["hit"]);
    assert.equal((await attempt({})).outcome, "unchanged");
    const info = (await updateInfoOf(store)) ?? "";
    assert.match(info, /<update from="[a-z]+" status="final" type="security" version="1">/);
    assert.match(info, /<id>ACME-2026-001<\/id>/);
    assert.match(info, /<filename>[a-z]+-1\.2\.1-1\.x86_64\.rpm<\/filename>/);
    const { id } = (await findProduct(store, product)) ?? { id: "" };
    assert.deepEqual(await fixedVersions(store, id), ["1.2.1"]);
    const notices = await store.db.selectFrom("notices").select(["dedupe_key", "customer_id"]).where("kind", "=", "advisory").orderBy("id").execute();
    assert.equal(notices.length, 2, "one for the customer that is hit, one for the vendor");

    const [first] = await listAdvisories(store);
    assert.ok(first);
    // Days that were counted and cleared count as much as the events did.
    clock.advance(3 * 86_400_000);
    await rollUpPulls(store);
    assert.ok((await clearCountedPulls(store, 0)) > 0);
    const affected = await affectedCustomers(store, first);
    assert.deepEqual(
      affected.map(({ name, versions, hasFix }) => ({ name, versions, hasFix })),
      [
        { name: "hit", versions: ["1.2.0"], hasFix: false },
        { name: "mended", versions: ["1.1.0"], hasFix: true },
      ],
    );

    clock.advance(60_000);
    assert.equal((await attempt({ title: "Session tokens are predictable after a restart" })).outcome, "revised");
    assert.match((await updateInfoOf(store)) ?? "", /version="2"/);

    // A newer minor: from now on the older line is a backport.
    await released(store, ["1.3.0"]);
    assert.match((await updateInfoOf(store)) ?? "", /ACME-2026-001/, "a publication keeps the advisories");
    await assert.rejects(attempt({ id: "ACME-2026-002" }), /not of the newest minor, 1\.3/);
    assert.equal((await attempt({ id: "ACME-2026-002" }, true)).outcome, "published");

    await withdrawAdvisory(store, { id: "ACME-2026-002", reason: "not a flaw", repositoryKey, actor });
    assert.doesNotMatch((await updateInfoOf(store)) ?? "", /ACME-2026-002/);
    const states = (await listAdvisories(store)).map(({ id: name, state, revisions }) => [name, state, revisions.length]);
    assert.deepEqual(states, [
      ["ACME-2026-002", "withdrawn", 2],
      ["ACME-2026-001", "published", 2],
    ]);

    // Without its fix an update has no package to name.
    await withdrawRelease(store, { product, version: "1.2.1", repositoryKey, actor });
    assert.equal(await updateInfoOf(store), undefined);
    const actions = await store.db.selectFrom("audit_events").select("action").where("action", "like", "advisory.%").orderBy("id").execute();
    assert.deepEqual(
      actions.map(({ action }) => action),
      ["advisory.publish", "advisory.publish", "advisory.publish", "advisory.withdraw"],
    );
  },
);
