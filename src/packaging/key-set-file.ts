/**
 * The key set file of a product (`slipway-keys.json`, beside the recipe, in version control): the epochs of its release keys, as
 * `slipway keys rotate` writes them and as `slipway build` puts them into release.json. It holds public halves only.
 *
 * One more role than release.json knows: `retiring`. The retiring key signs the one release that introduces its successor, and ends with it.
 */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { type KeySet, keySetSchema } from "../model/key-set.ts";
import type { ReleaseSigner } from "../trust/release-signature.ts";

export const keySetFileName = "slipway-keys.json";
export const keySetFileLimit = 512 * 1024;

const fileKeySchema = z.strictObject({
  /** In the key folder. */
  name: z.string().max(100),
  kind: z.enum(["minisign", "openpgp"]),
  id: z.string().max(64),
  publicKey: z.string().max(20_000),
  role: z.enum(["active", "standby", "retiring", "retired"]),
  notAfterSequence: z.int().nonnegative().optional(),
});

const keySetFileSchema = z.strictObject({
  schema: z.literal(1),
  epoch: z.int().positive(),
  keys: z.array(fileKeySchema).min(1).max(16),
  require: z.array(z.enum(["minisign", "openpgp", "sigstore"])).optional(),
});

export type KeySetFile = z.infer<typeof keySetFileSchema>;
export type KeySetFileKey = KeySetFile["keys"][number];

/** Throws `policy_invalid` with the first problem. */
export function parseKeySetFile(text: string, place: string): KeySetFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SlipwayError("policy_invalid", "the key set is not JSON", { place, cause: error });
  }
  const parsed = keySetFileSchema.safeParse(value);
  if (!parsed.success) throw new SlipwayError("policy_invalid", `the key set: ${z.prettifyError(parsed.error).split("\n")[0] ?? ""}`, { place });
  keySetOf(parsed.data, 0, place);
  return parsed.data;
}

export function formatKeySetFile(file: KeySetFile): string {
  return `${JSON.stringify(keySetFileSchema.parse(file), undefined, 2)}\n`;
}

/** What release.json carries in a release of this sequence: a retiring key's end is this very release. Throws `policy_invalid`. */
export function keySetOf(file: KeySetFile, sequence: number, place?: string): KeySet {
  const parsed = keySetSchema.safeParse({
    epoch: file.epoch,
    keys: file.keys.map(({ kind, id, publicKey, role, notAfterSequence }) => ({
      kind,
      id,
      publicKey,
      role: role === "retiring" ? "retired" : role,
      ...(role === "retiring" ? { notAfterSequence: sequence } : notAfterSequence === undefined ? {} : { notAfterSequence }),
    })),
    ...(file.require === undefined ? {} : { require: file.require }),
  });
  if (parsed.success) return parsed.data;
  throw new SlipwayError("policy_invalid", `the key set: ${z.prettifyError(parsed.error).split("\n")[0] ?? ""}`, place === undefined ? {} : { place });
}

/** The key that signs now: the retiring one for the release that introduces its successor, else the active one; undefined where the set knows none of the kind. */
export function signingKeyOf(file: KeySetFile, kind: KeySetFileKey["kind"]): KeySetFileKey | undefined {
  const ofKind = file.keys.filter((key) => key.kind === kind);
  return ofKind.find((key) => key.role === "retiring") ?? ofKind.find((key) => key.role === "active");
}

/**
 * A release is signed by the keys that its set says: customers would refuse it otherwise, or worse, only some of them.
 * Throws `policy_invalid` with detail `rotation_order`.
 */
export function requireRotationOrder(file: KeySetFile, signer: Pick<ReleaseSigner, "keyIds" | "minisignNext">): void {
  const refuse = (message: string, hint: string): never => {
    throw new SlipwayError("policy_invalid", message, { detail: "rotation_order", hint });
  };
  for (const kind of ["minisign", "openpgp"] as const) {
    const expected = signingKeyOf(file, kind);
    const used = signer.keyIds[kind];
    if (expected === undefined || used === undefined || expected.id === used) continue;
    refuse(
      `this release would be signed by the ${kind} key ${used}; the key set wants ${expected.name} (${expected.id}), which ${expected.role === "retiring" ? "introduces its successor" : "is active"}`,
      `name key:${expected.name} in the recipe's sign, or run \`slipway keys rotate\` if the release that introduces the new key is published`,
    );
  }
  const successor = file.keys.find((key) => key.kind === "minisign" && key.role === "active");
  if (file.keys.some((key) => key.kind === "minisign" && key.role === "retiring") && signer.minisignNext?.keyId !== successor?.id) {
    refuse(
      `the release that introduces ${successor?.name ?? "the new key"} must be signed by it as well: it proves that somebody has it`,
      `add minisign_next: key:${successor?.name ?? ""} to the recipe's sign`,
    );
  }
}
