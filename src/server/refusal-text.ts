/** Why a customer does not get a file: one sentence for every protocol, short enough for the reason phrase that apt prints. */
import type { Settings } from "../config/settings.ts";
import type { Grant } from "../model/grant.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ResolvedDenied } from "../releases/resolve.ts";

type GoneVersion = {
  readonly version: string;
  readonly state: "withdrawn" | "retired";
  readonly replacement?: string | undefined;
  readonly reason?: string | undefined;
};

/** `coequal 1.4.0 was withdrawn by the vendor; use 1.4.1 instead (loses data)`: what to do before why, since phrases are cut. */
export function goneText(product: string, gone: GoneVersion): string {
  const what = gone.state === "withdrawn" ? "was withdrawn by the vendor" : "is no longer kept";
  const instead = gone.replacement === undefined ? "" : `; use ${gone.replacement} instead`;
  return `${product} ${gone.version} ${what}${instead}${gone.reason === undefined ? "" : ` (${gone.reason})`}`;
}

const day = (date: Date): string => date.toISOString().slice(0, 10);

/** `entitlement to coequal ended 2026-11-01, see https://vendor.example/renew`. */
export function deniedText(product: string, denied: Omit<ResolvedDenied, "kind">, settings: Pick<Settings, "supportUrl">): string {
  const see = settings.supportUrl === "" ? "" : `, see ${settings.supportUrl}`;
  return `${reasonText(product, denied)}${see}`;
}

function reasonText(product: string, { reason, grant, version }: Omit<ResolvedDenied, "kind">): string {
  const what = version === undefined ? product : `${product} ${version}`;
  if (reason === "pin") return `access to ${product} is pinned to ${pinOf(grant)}`;
  if (reason === "range") return `${what} is not covered by the entitlement (${grant.versions ?? ""})`;
  if (reason === "format") return `the entitlement to ${product} has only ${grant.formats?.join(", ") ?? ""}`;
  const isWhole = version === undefined || grant.lapse === "cut";
  return isWhole ? `entitlement to ${product} ended ${endOf(grant)}` : `${what} came after the entitlement ended ${endOf(grant)}`;
}

function endOf(grant: Grant): string {
  return grant.entitledUntil === undefined ? "" : day(grant.entitledUntil);
}

function pinOf(grant: Grant): string {
  if (grant.pin === undefined) return "another version";
  return grant.pin.until === undefined ? grant.pin.version : `${grant.pin.version} until ${day(grant.pin.until)}`;
}

/** The refusal as an error: 403, and its message is the reason phrase. */
export function deniedError(product: string, denied: Omit<ResolvedDenied, "kind">, settings: Pick<Settings, "supportUrl">): SlipwayError {
  const hint = settings.supportUrl === "" ? "ask the vendor" : `see ${settings.supportUrl}`;
  return new SlipwayError("forbidden", `Forbidden - ${deniedText(product, denied, settings)}`, { hint });
}

/** What of a product the caller reads with this protocol at all; undefined: nothing forbids it. */
export function protocolDenial(grant: Grant, format: "oci" | "s3", now: Date): Omit<ResolvedDenied, "kind"> | undefined {
  if (grant.lapse === "cut" && grant.entitledUntil !== undefined && grant.entitledUntil <= now) return { reason: "entitlement", grant };
  return grant.formats === undefined || grant.formats.includes(format) ? undefined : { reason: "format", grant };
}
