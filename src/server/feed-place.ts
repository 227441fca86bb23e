/** Who speaks in the feeds and pages of a product: the vendor's name and address as the settings give them. */
import type { FeedPlace } from "../repositories/advisory.ts";
import { publicAddress } from "./public-address.ts";
import type { Call } from "./route.ts";

export function feedPlace(call: Pick<Call, "context" | "request">, product: string): FeedPlace {
  const { settings } = call.context;
  const baseUrl = publicAddress(call);
  const vendor = settings.vendorName === "" ? new URL(baseUrl).hostname : settings.vendorName;
  return { baseUrl, product, vendor, isPublic: settings.publicAdvisories.includes(product) };
}
