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

type Customer = { readonly name: string };

const dayMs = 24 * 3_600_000;

export type Pull = { readonly id: string; readonly name: string; readonly version: Version /** The last time. */; readonly at: Date };

/**
 * What each customer, or this one, pulled of a product: days that are counted from their roll-up, the others from their events. A day's
 * roll-up has broken-off pulls too; whether a fix was fetched whole is then not certain, whether a version is in use is.
 */
export async function pulledVersions(store: Store, productName: string, customer?: Customer): Promise<readonly Pull[]> {
  const counted = await store.db.selectFrom("rolled_days").select("day").orderBy("day", "desc").limit(1).executeTakeFirst();
  let events = store.db
    .selectFrom("audit_events")
    .innerJoin("customers", "customers.name", "audit_events.customer")
    .select((expression) => ["customers.id", "customers.name", "audit_events.version", expression.fn.max("audit_events.at").as("at")])
    .where("audit_events.product", "=", productName)
    .where("audit_events.action", "=", "download")
    .where("audit_events.result", "=", "complete")
    .where("audit_events.version", "is not", null)
    .where("audit_events.at", ">=", counted === undefined ? 0 : Date.parse(`${counted.day}T00:00:00Z`) + dayMs)
    .groupBy(["customers.id", "customers.name", "audit_events.version"]);
  let days = store.db
    .selectFrom("pull_rollups")
    .innerJoin("customers", "customers.name", "pull_rollups.customer")
    .select((expression) => ["customers.id", "customers.name", "pull_rollups.version", expression.fn.max("pull_rollups.last_at").as("at")])
    .where("pull_rollups.product", "=", productName)
    .groupBy(["customers.id", "customers.name", "pull_rollups.version"]);
  if (customer !== undefined) {
    events = events.where("audit_events.customer", "=", customer.name);
    days = days.where("pull_rollups.customer", "=", customer.name);
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

/** Of one customer's pulls what the advisory says of them; undefined where none is affected. */
export function exposureOf(advisory: Advisory, pulls: readonly Pull[]): Pick<AffectedCustomer, "versions" | "lastPullAt" | "hasFix"> | undefined {
  const hit = pulls.filter((pull) => isAffected(advisory.range, pull.version));
  if (hit.length === 0) return undefined;
  const lastPullAt = new Date(Math.max(...hit.map((pull) => pull.at.getTime())));
  const hasFix = pulls.some((pull) => !hit.includes(pull) && compareVersions(pull.version, advisory.fixedIn) >= 0 && pull.at >= lastPullAt);
  return { versions: hit.map((pull) => pull.version).sort(compareVersions), lastPullAt, hasFix };
}

/** By name. A customer with a grant that never pulled an affected version has nothing to mend and is not listed. */
export async function affectedCustomers(store: Store, advisory: Advisory): Promise<readonly AffectedCustomer[]> {
  const byCustomer = Map.groupBy(await pulledVersions(store, advisory.product), (pull) => pull.id);
  return [...byCustomer.values()]
    .flatMap((pulls) => {
      const [first] = pulls;
      const exposure = exposureOf(advisory, pulls);
      return first === undefined || exposure === undefined ? [] : [{ id: first.id, name: first.name, ...exposure }];
    })
    .sort((left, right) => (left.name < right.name ? -1 : 1));
}
