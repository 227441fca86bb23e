/** Whether a customer can be pinned to a version: a slip of the pen would hide every release from him, or hold nothing back. */
import type { Kysely } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { nearestWord } from "../model/names.ts";
import { compareVersions, type Version } from "../model/version.ts";
import type { Database } from "../store/schema.ts";

const namedVersions = 3;

/**
 * A published release; with `isFutureAllowed` also a version that is not published yet. Throws `not_found` with the nearest or the newest versions,
 * and `gone` for one that left: it could be fetched by nobody.
 */
export async function requirePinnable(
  db: Kysely<Database>,
  product: { readonly id: string; readonly name: string },
  pin: { readonly version: Version; readonly isFutureAllowed: boolean },
): Promise<void> {
  const { version, isFutureAllowed } = pin;
  const releases = await db.selectFrom("releases").select(["version", "state", "replacement"]).where("product_id", "=", product.id).execute();
  const release = releases.find((one) => one.version === version);
  if (release?.state === "published") return;
  if (release?.state === "withdrawn" || release?.state === "retired") {
    const instead = release.replacement === null ? "" : `; use ${release.replacement} instead`;
    throw new SlipwayError("gone", `${product.name} ${version} ${release.state === "withdrawn" ? "was withdrawn" : "is no longer kept"}${instead}`, {
      hint: `to limit the customer to versions up to it, use a range: --versions "<=${version}"`,
    });
  }
  if (isFutureAllowed) return;
  const published = releases
    .filter(({ state }) => state === "published")
    .map((one) => one.version)
    .toSorted((left, right) => compareVersions(right, left));
  const near = nearestWord(version, published);
  const others =
    published.length === 0 ? "nothing is" : `published: ${published.slice(0, namedVersions).join(", ")}${published.length > namedVersions ? ", …" : ""}`;
  throw new SlipwayError("not_found", `${product.name} ${version} is not published${near === undefined ? "" : ` - did you mean "${near}"?`}`, {
    hint: `${others}; --allow-future pins to a version that is still to come`,
  });
}
