/** Opens the release keys that a recipe or a flag names, for `slipway build` and `slipway sign` alike. */
import { resolve } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { type KeyType, keyFolderPath, readKey } from "../io/key-folder.ts";
import { SlipwayError } from "../model/errors.ts";
import { type ApkSigningKey, isApkKeyLocked, readApkSigningKey } from "../trust/apk-signature.ts";
import { type KeyReference, parseKeyReference } from "../trust/key-reference.ts";
import { isMinisignKeyLocked, type MinisignSecretKey, readMinisignSecretKey } from "../trust/minisign-key.ts";
import { isOpenpgpKeyLocked, type OpenpgpSigningKey, openpgpKeySizeLimit, readSigningKey } from "../trust/openpgp.ts";
import { createReleaseSigner, type ReleaseSigner } from "../trust/release-signature.ts";

/** Key references as the recipe's `sign:` and the flags give them. */
export type ReleaseKeyReferences = { readonly gpg?: string | undefined; readonly minisign?: string | undefined; readonly apk?: string | undefined };

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
  const openpgp = references.gpg === undefined ? undefined : await loadOpenpgpKey(references.gpg, options);
  const minisign = references.minisign === undefined ? undefined : await loadMinisignKey(references.minisign, options);
  const apk = references.apk === undefined ? undefined : await loadApkKey(references.apk, options);
  return createReleaseSigner({
    ...(openpgp === undefined ? {} : { openpgp }),
    ...(minisign === undefined ? {} : { minisign }),
    ...(apk === undefined ? {} : { apk }),
    epochSeconds: options.epochSeconds,
  });
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

async function resolveKey(reference: KeyReference, type: KeyType, options: SignerOptions): Promise<Buffer> {
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
    default:
      return readKey(keyFolderPath(options.env), { name: reference.name, type }, "key");
  }
}
