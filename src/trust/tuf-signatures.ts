/** Do enough keys of a role stand behind a TUF file? Counted by key, not by key id: one key under two names is one key. */
import { Key, type Metadata, type Root, Signature } from "@tufjs/models";
import { SlipwayError } from "../model/errors.ts";
import type { TufFile, TufKeys, TufKind, TufRole } from "./tuf-metadata.ts";

/** Ids of the role's keys whose signatures hold. Keys of unknown type, or none, count nothing. */
export function goodSignatures(file: TufFile<TufKind>, role: TufRole, keys: TufKeys): readonly string[] {
  const good = new Map<string, string>();
  for (const keyId of role.keyids) {
    const json = Object.hasOwn(keys, keyId) ? keys[keyId] : undefined;
    const sig = file.signatures.get(keyId);
    if (json === undefined || sig === undefined) continue;
    const key = Key.fromJSON(keyId, { keytype: json.keytype, scheme: json.scheme, keyval: json.keyval });
    // The models verify over `signed.toJSON()`: here the value as it was sent, so that what is signed is what was sent.
    const signable = { signed: { toJSON: () => file.raw }, signatures: { [keyId]: new Signature({ keyID: keyId, sig }) } };
    try {
      key.verifySignature(signable as unknown as Metadata<Root>);
      good.set(json.keyval["public"] ?? keyId, keyId);
    } catch {
      // A bad signature of one key is no signature of it; whether enough others are good is judged by the threshold.
    }
  }
  return [...good.values()];
}

/** Throws `metadata_threshold` where fewer keys than the role demands signed the file. */
export function requireThreshold(file: TufFile<TufKind>, by: { readonly name: string; readonly role: TufRole; readonly keys: TufKeys }): void {
  const good = goodSignatures(file, by.role, by.keys).length;
  if (good >= by.role.threshold) return;
  throw new SlipwayError(
    "metadata_threshold",
    `${by.name} metadata version ${file.signed.version} has ${good} good signatures of the ${by.role.threshold} that it needs`,
  );
}
