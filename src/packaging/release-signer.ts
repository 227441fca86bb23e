/** Opens the release keys that a recipe or a flag names, for `slipway build` and `slipway sign` alike. */
import { resolve } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { type KeyType, keyFolderPath, readKey } from "../io/key-folder.ts";
import { SlipwayError } from "../model/errors.ts";
import { type ApkSigningKey, isApkKeyLocked, readApkSigningKey } from "../trust/apk-signature.ts";
import { type KeyReference, parseKeyReference } from "../trust/key-reference.ts";
import { isMinisignKeyLocked, type MinisignSecretKey, readMinisignSecretKey } from "../trust/minisign-key.ts";
import { isOpenpgpKeyLocked, type OpenpgpSigningKey, openpgpKeySizeLimit, readSigningKey } from "../trust/openpgp.ts";
import { externalMinisign, externalOpenpgp, type ExternalReference } from "./external-signer.ts";
import { createReleaseSigner, type ReleaseSigner } from "../trust/release-signature.ts";
import { isTufKeyLocked, readTufSigningKey, type TufSigningKey } from "../trust/tuf-key.ts";

/** Key references as the recipe's `sign:` and the flags give them. */
export type ReleaseKeyReferences = {
  readonly gpg?: string | undefined;
  readonly minisign?: string | undefined;
  /** The minisign key that follows, during a rotation. */
  readonly minisignNext?: string | undefined;
  readonly apk?: string | undefined;
};

export type SignerOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Relative `file:` paths start here: the recipe's folder, or the working directory. */
  readonly folder: string;
  readonly now: Date;
  /** SOURCE_DATE_EPOCH: the date of every signature, or the key's creation where that is later. */
  readonly epochSeconds: number;
  /** Asked only where a key is locked; undefined means nobody knows one. */
  readonly passphrase: (question: string) => Promise<string | undefined>;
};

/** Throws `key_missing`, `key_invalid`, `key_locked` or `key_unfit`; no message repeats key material. */
export async function loadReleaseSigner(references: ReleaseKeyReferences, options: SignerOptions): Promise<ReleaseSigner> {
  const external = await loadExternal(references, options);
  const inside = {
    gpg: external.openpgp === undefined ? references.gpg : undefined,
    minisign: external.minisign === undefined ? references.minisign : undefined,
  };
  const openpgp = inside.gpg === undefined ? undefined : await loadOpenpgpKey(inside.gpg, options);
  const minisign = inside.minisign === undefined ? undefined : await loadMinisignKey(inside.minisign, options);
  const minisignNext = references.minisignNext === undefined ? undefined : await loadMinisignKey(references.minisignNext, options);
  const apk = references.apk === undefined ? undefined : await loadApkKey(references.apk, options);
  const signer = createReleaseSigner({
    ...(openpgp === undefined ? {} : { openpgp }),
    ...(minisign === undefined ? {} : { minisign }),
    ...(minisignNext === undefined ? {} : { minisignNext }),
    ...(apk === undefined ? {} : { apk }),
    epochSeconds: options.epochSeconds,
  });
  return [external.openpgp, external.minisign].reduce<ReleaseSigner>((all, one) => (one === undefined ? all : joinSigners(all, one)), signer);
}

/** Each has other functions: together they sign everything that one of them could. */
export function joinSigners(one: ReleaseSigner, other: ReleaseSigner): ReleaseSigner {
  return { ...one, ...other, publicKeys: { ...one.publicKeys, ...other.publicKeys }, keyIds: { ...one.keyIds, ...other.keyIds } };
}

async function loadExternal(
  { gpg, minisign }: ReleaseKeyReferences,
  options: SignerOptions,
): Promise<{ readonly openpgp?: ReleaseSigner; readonly minisign?: ReleaseSigner }> {
  const [forOpenpgp, forMinisign] = [gpg, minisign].map((text) => (text === undefined ? undefined : externalOf(text)));
  return {
    ...(forOpenpgp === undefined ? {} : { openpgp: await externalOpenpgp(forOpenpgp, options) }),
    ...(forMinisign === undefined ? {} : { minisign: await externalMinisign(forMinisign, options) }),
  };
}

function externalOf(text: string): ExternalReference | undefined {
  const reference = parseKeyReference(text);
  return reference.kind === "agent" || reference.kind === "command" ? reference : undefined;
}

/** The opened keys themselves, for who signs other things than releases (a mirror's indexes). Throws as loadReleaseSigner does. */
export async function loadSigningKeys(
  references: Pick<ReleaseKeyReferences, "gpg" | "apk">,
  options: SignerOptions,
): Promise<{ readonly openpgp?: OpenpgpSigningKey; readonly apk?: ApkSigningKey }> {
  return {
    ...(references.gpg === undefined ? {} : { openpgp: await loadOpenpgpKey(references.gpg, options) }),
    ...(references.apk === undefined ? {} : { apk: await loadApkKey(references.apk, options) }),
  };
}

async function loadOpenpgpKey(reference: string, options: SignerOptions): Promise<OpenpgpSigningKey> {
  const bytes = await resolveKey(parseKeyReference(reference), "openpgp", options);
  const passphrase = (await isOpenpgpKeyLocked(bytes)) ? await options.passphrase(`Passphrase of the OpenPGP key ${reference}: `) : undefined;
  return readSigningKey(bytes, { now: options.now, ...(passphrase === undefined ? {} : { passphrase }) });
}

async function loadMinisignKey(reference: string, options: SignerOptions): Promise<MinisignSecretKey> {
  const text = (await resolveKey(parseKeyReference(reference), "minisign", options)).toString("utf8");
  const passphrase = isMinisignKeyLocked(text) ? await options.passphrase(`Passphrase of the minisign key ${reference}: `) : undefined;
  return readMinisignSecretKey(text, passphrase);
}

async function loadApkKey(reference: string, options: SignerOptions): Promise<ApkSigningKey> {
  const text = (await resolveKey(parseKeyReference(reference), "apk", options)).toString("utf8");
  const passphrase = isApkKeyLocked(text) ? await options.passphrase(`Passphrase of the apk key ${reference}: `) : undefined;
  return readApkSigningKey(text, passphrase);
}

/** The key that signs TUF metadata. Throws what loadReleaseSigner throws. */
export async function loadTufKey(reference: string, options: Pick<SignerOptions, "env" | "folder" | "passphrase">): Promise<TufSigningKey> {
  const text = (await resolveKey(parseKeyReference(reference), "tuf", options)).toString("utf8");
  const passphrase = isTufKeyLocked(text) ? await options.passphrase(`Passphrase of the TUF key ${reference}: `) : undefined;
  return readTufSigningKey(text, passphrase);
}

async function resolveKey(reference: KeyReference, type: KeyType, options: Pick<SignerOptions, "env" | "folder">): Promise<Buffer> {
  switch (reference.kind) {
    case "env": {
      const content = options.env[reference.name];
      if (content === undefined || content.trim() === "") throw new SlipwayError("key_missing", `the variable ${reference.name} is not set`);
      return Buffer.from(content);
    }
    case "file":
      try {
        return await readFileBounded(resolve(options.folder, reference.path), openpgpKeySizeLimit);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        throw new SlipwayError("key_missing", `there is no key file ${reference.path}`, { cause: error });
      }
    case "key":
      return readKey(keyFolderPath(options.env), { name: reference.name, type }, "key");
    case "agent":
    case "command":
    default:
      throw new SlipwayError("key_unfit", `a ${type} key cannot sign from ${reference.kind === "agent" ? "gpg's agent" : "behind a command"} here`, {
        hint: "agent: and command: are for sign.gpg, command: also for sign.minisign",
      });
  }
}
