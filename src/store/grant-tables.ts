/** Tables of what customers may read: grants per customer, and the products that an access key opens. */
import type { Version } from "../model/version.ts";

/** What one customer may read of one product (src/model/grant.ts). */
export type CustomerGrantTable = {
  customer_id: string;
  product_id: string;
  channel: string | null;
  /** Separated by commas; null: all. */
  formats: string | null;
  versions: string | null;
  entitled_until: number | null;
  lapse: "keep" | "cut";
  pin: Version | null;
  pin_until: number | null;
  created_at: number;
  changed_at: number;
};

/** What a key opens at most: the right itself is the customer's grant. */
export type AccessKeyProductTable = {
  access_key_id: string;
  product_id: string;
  created_at: number;
};
