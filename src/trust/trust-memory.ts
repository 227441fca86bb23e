/**
 * What a machine remembers of the key sets that verified releases carried. The keys of the installation file are the floor, the memory is
 * what came after: keys that were added count, keys that were retired no longer do, and what was once required stays required, even after
 * the product went back to an older version (trust facts 4.4 step 5).
 */
import { z } from "zod";
import { lazyLooseObject, lazyStrictObject } from "../model/lazy-object.ts";
import { SlipwayError } from "../model/errors.ts";
import { type KeySet, keySetSchema } from "../model/key-set.ts";
import { type ProofKind, proofKinds, type TrustPolicySource } from "./keyring.ts";
import { parseMinisignPublicKey } from "./minisign-key.ts";
import { fingerprintOf, readPublicKeys } from "./openpgp.ts";
import type { ReleaseDescription } from "./verify-release.ts";
import type { Verified } from "./verified.ts";

export const trustMemorySchema = lazyLooseObject(() => ({
  /** The newest key set that was seen. */
  set: keySetSchema,
  /** Version and sequence of the release that brought it. */
  version: z.string().max(128),
  sequence: z.int().nonnegative(),
  /** Everything that any of them required. */
  require: z.array(z.enum(proofKinds)),
  /** Keys that an older set retired and that the newest no longer names: forgetting them would let them sign again. */
  retired: z.array(lazyStrictObject(() => ({ id: z.string().max(64), notAfterSequence: z.int().nonnegative() }))).max(1_000),
}));

export type TrustMemory = z.infer<typeof trustMemorySchema>;

/**
 * The memory after a release was verified: the same object where it says nothing new. A set of an older epoch changes nothing.
 * Throws `upgrade_verification_failed` (`key_set_invalid`) for a set whose ids are not those of its keys, or another set under the same epoch.
 */
export async function rememberKeySet(memory: TrustMemory | undefined, release: Verified<ReleaseDescription>): Promise<TrustMemory | undefined> {
  const set = release.manifest.trust;
  if (set === undefined || (memory !== undefined && set.epoch < memory.set.epoch)) return memory;
  if (memory !== undefined && set.epoch === memory.set.epoch) {
    if (JSON.stringify(set.keys) !== JSON.stringify(memory.set.keys))
      throw refused(`another key set than that of ${memory.version} says it is epoch ${set.epoch}`);
    const require = [...new Set([...memory.require, ...(set.require ?? [])])];
    return require.length === memory.require.length ? memory : { ...memory, require };
  }
  await requireOwnIds(set);
  const named = new Set(set.keys.map((key) => key.id));
  const before = [...(memory?.retired ?? []), ...(memory === undefined ? [] : retirements(memory.set))];
  // A key that the older set trusted and this one does not name at all has ended with the release that says so.
  const dropped = (memory?.set.keys ?? []).filter((key) => key.role !== "retired").map(({ id }) => ({ id, notAfterSequence: release.sequence }));
  const retired = [...before, ...dropped].filter(({ id }, index, all) => !named.has(id) && all.findIndex((other) => other.id === id) === index);
  return { set, version: release.version, sequence: release.sequence, require: [...new Set([...(memory?.require ?? []), ...(set.require ?? [])])], retired };
}

/**
 * The policy of the installation file as the memory changes it: more keys, ends for some, more required. A kind that is required and that
 * nothing here could check is left out and named in `unmet`: it counts as soon as the file knows whom to trust.
 */
export function withMemory(
  source: TrustPolicySource,
  memory: TrustMemory | undefined,
): { readonly source: TrustPolicySource; readonly unmet: readonly ProofKind[] } {
  if (memory === undefined) return { source, unmet: [] };
  const { keys } = memory.set;
  const lastSequences = new Map([...memory.retired, ...retirements(memory.set)].map(({ id, notAfterSequence }) => [id, notAfterSequence]));
  const has = {
    minisign: (source.minisign ?? []).length > 0 || keys.some((key) => key.kind === "minisign"),
    openpgp: source.openpgp !== undefined || keys.some((key) => key.kind === "openpgp"),
    sigstore: source.sigstore !== undefined,
  };
  const unmet = memory.require.filter((kind) => !has[kind]);
  return {
    unmet,
    source: {
      ...source,
      minisign: [...new Set([...(source.minisign ?? []), ...keys.filter((key) => key.kind === "minisign").map((key) => key.publicKey)])],
      addedOpenpgp: keys.filter((key) => key.kind === "openpgp").map((key) => ({ publicKey: Buffer.from(key.publicKey), fingerprint: key.id })),
      lastSequences,
      require: [...new Set([...source.require, ...memory.require.filter((kind) => has[kind])])],
    },
  };
}

/** Throws `upgrade_verification_failed` (`key_set_invalid`), or what the key's own reading throws: an id that is not its key's would retire another. */
export async function requireOwnIds(set: KeySet): Promise<void> {
  for (const key of set.keys) {
    const ids =
      key.kind === "minisign"
        ? [parseMinisignPublicKey(key.publicKey).keyId]
        : (await readPublicKeys(Buffer.from(key.publicKey))).map((one) => fingerprintOf(one));
    if (ids.length !== 1 || ids[0] !== key.id) throw refused(`the key set calls a key ${key.id} that is ${ids.join(" and ")}`);
  }
}

function retirements(set: KeySet): readonly { readonly id: string; readonly notAfterSequence: number }[] {
  return set.keys.flatMap(({ id, notAfterSequence }) => (notAfterSequence === undefined ? [] : [{ id, notAfterSequence }]));
}

function refused(message: string): SlipwayError {
  return new SlipwayError("upgrade_verification_failed", message, { detail: "key_set_invalid" });
}
