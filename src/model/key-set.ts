/**
 * The key set of a product: which release keys count, in one numbered state after the other (epochs). It is carried by release.json, so that
 * a machine that has verified one release knows what may sign the next (J10). Public keys only.
 */
import { z } from "zod";
import { lazyStrictObject } from "./lazy-object.ts";

/** `active` signs now; `standby` is trusted and rests offline, for the day that active is stolen; `retired` counts up to `notAfterSequence`. */
export const keyRoles = ["active", "standby", "retired"] as const;
export type KeyRole = (typeof keyRoles)[number];

const keySchema = lazyStrictObject(() => ({
  kind: z.enum(["minisign", "openpgp"]),
  /** minisign's key id (16 hex digits) or OpenPGP's fingerprint (40). */
  id: z.string().regex(/^([0-9A-F]{16}|[0-9A-F]{40})$/, "must be a minisign key id or an OpenPGP fingerprint, in upper-case hex"),
  /** `RW…` or an armored key. */
  publicKey: z.string().min(1).max(20_000),
  role: z.enum(keyRoles),
  /** Sequence of the last release that a retired key may have signed. */
  notAfterSequence: z.int().nonnegative().optional(),
}));

export type KeySetKey = z.infer<typeof keySchema>;

/** What stands in release.json under `trust`. */
export const keySetSchema = lazyStrictObject(() => ({
  /** Grows by one with every change of the keys. */
  epoch: z.int().positive().max(1_000_000),
  keys: z.array(keySchema).min(1).max(16),
  /** Kinds of proof that every later release must have; clients add them to their own and never drop one. */
  require: z
    .array(z.enum(["minisign", "openpgp", "sigstore"]))
    .max(3)
    .optional(),
})).superRefine((set, context) => {
  if (!set.keys.some((key) => key.role === "active")) context.addIssue({ code: "custom", message: "no key is active", path: ["keys"] });
  const seen = new Set<string>();
  for (const [index, key] of set.keys.entries()) {
    if (seen.has(key.id)) context.addIssue({ code: "custom", message: `${key.id} stands here twice`, path: ["keys", index, "id"] });
    seen.add(key.id);
    if ((key.role === "retired") !== (key.notAfterSequence !== undefined)) {
      context.addIssue({ code: "custom", message: "a retired key, and no other, has notAfterSequence", path: ["keys", index, "notAfterSequence"] });
    }
  }
});

export type KeySet = z.infer<typeof keySetSchema>;
