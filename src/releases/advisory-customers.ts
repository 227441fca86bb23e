/** Who is hit by an advisory: customers whose pulls include an affected version, and whether they have fetched the fix since. */
import { compareVersions, tryParseVersion, type Version } from "../model/version.ts";
import type { Advisory } from "../repositories/advisory.ts";
import { isAffected } from "../repositories/affected-range.ts";
import type { Store } from "../store/store.ts";

export type AffectedCustomer = {
  readonly id: string;
  readonly name: string;
  /** Affected versions that it pulled, oldest first. */
  readonly versions: readonly Version[];
  /** When it last pulled one of them. */
  readonly lastPullAt: Date;
  /** It pulled a version that is not affected after it last pulled one that is. */
  readonly hasFix: boolean;
};

export type Pull = { readonly id: string; readonly name: string; readonly version: Version /** The last time. */; readonly at: Date };

/** What each customer, or this one, pulled of a product: from the audit trail, and for days whose events are cleared from their roll-up. */
export async function pulledVersions(store: Store, productName: string, customerId?: string): Promise<readonly Pull[]> {
  let events = store.db
    .selectFrom("audit_events")
    .innerJoin("customers", "customers.name", "audit_events.customer")
    .select((expression) => ["customers.id", "customers.name", "audit_events.version", expression.fn.max("audit_events.at").as("at")])
    .where("audit_events.product", "=", productName)
    .where("audit_events.action", "=", "download")
    .where("audit_events.result", "=", "complete")
    .where("audit_events.version", "is not", null)
    .groupBy(["customers.id", "customers.name", "audit_events.version"]);
  let days = store.db
    .selectFrom("pull_rollups")
    .innerJoin("customers", "customers.name", "pull_rollups.customer")
    .select((expression) => ["customers.id", "customers.name", "pull_rollups.version", expression.fn.max("pull_rollups.last_at").as("at")])
    .where("pull_rollups.product", "=", productName)
    .groupBy(["customers.id", "customers.name", "pull_rollups.version"]);
  if (customerId !== undefined) {
    events = events.where("customers.id", "=", customerId);
    days = days.where("customers.id", "=", customerId);
  }
  const newest = new Map<string, Pull>();
  for (const row of [...(await events.execute()), ...(await days.execute())]) {
    const version = tryParseVersion(row.version ?? "");
    if (version === undefined) continue;
    const key = `${row.id} ${version}`;
    const known = newest.get(key);
    if (known === undefined || known.at.getTime() < row.at) newest.set(key, { id: row.id, name: row.name, version, at: new Date(row.at) });
  }
  return [...newest.values()];
}

/** By name. A customer with a grant that never pulled an affected version has nothing to mend and is not listed. */
export async function affectedCustomers(store: Store, advisory: Advisory): Promise<readonly AffectedCustomer[]> {
  const byCustomer = Map.groupBy(await pulledVersions(store, advisory.product), (pull) => pull.id);
  return [...byCustomer.values()]
    .flatMap((pulls) => {
      const [first] = pulls;
      const hit = pulls.filter((pull) => isAffected(advisory.range, pull.version));
      if (first === undefined || hit.length === 0) return [];
      const lastPullAt = new Date(Math.max(...hit.map((pull) => pull.at.getTime())));
      const hasFix = pulls.some(
        (pull) =>
          !isAffected(advisory.range, pull.version) && compareVersions(pull.version, advisory.fixedIn) >= 0 && pull.at.getTime() >= lastPullAt.getTime(),
      );
      return [{ id: first.id, name: first.name, versions: hit.map((pull) => pull.version).sort(compareVersions), lastPullAt, hasFix }];
    })
    .sort((left, right) => (left.name < right.name ? -1 : 1));
}
