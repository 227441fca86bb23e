/** Making a release key in the key folder, and its public half as a key set names it. */
import { type KeyEntry, type KeyType, keyFolderPath, readKey, requireFreeName, storeKey } from "../io/key-folder.ts";
import { readNewPassphrase } from "../io/passphrase.ts";
import { SlipwayError } from "../model/errors.ts";
import { formatApkSecretKey, generateApkKey } from "../trust/apk-signature.ts";
import { formatMinisignPublicKey, formatMinisignSecretKey, generateMinisignKey, parseMinisignPublicKey } from "../trust/minisign-key.ts";
import { describeKey, generateOpenpgpKey, openpgpAlgorithms, readPublicKeys } from "../trust/openpgp.ts";
import { formatTufSecretKey, generateTufKey } from "../trust/tuf-key.ts";
import { type Invocation, textOption } from "./command.ts";

export type MadeKey = { readonly id: string; readonly isProtected: boolean };

/** Throws `key_exists`, `key_locked` where no passphrase can be asked for, `permission_denied`. */
export async function makeKey(invocation: Invocation, entry: KeyEntry): Promise<MadeKey> {
  const folder = keyFolderPath(invocation.env);
  await requireFreeName(folder, entry);
  const passphrase = await newPassphrase(invocation);
  invocation.output.note(
    entry.type === "minisign" && passphrase !== undefined ? "making the key; protecting it takes 1 GiB of memory for some seconds" : "making the key",
  );
  const made = await makers[entry.type](invocation, entry.name, passphrase);
  await storeKey(folder, entry, made.parts);
  return { id: made.id, isProtected: passphrase !== undefined };
}

/** Id and public half of a key of the folder. */
export async function publicKeyOf(
  folder: string,
  entry: { readonly name: string; readonly type: "minisign" | "openpgp" },
): Promise<{ readonly id: string; readonly publicKey: string }> {
  const stored = (await readKey(folder, entry, "pub")).toString("utf8");
  if (entry.type === "minisign") {
    const key = parseMinisignPublicKey(stored);
    return { id: key.keyId, publicKey: formatMinisignPublicKey(key).trim().split("\n").at(-1) ?? "" };
  }
  const [key] = (await readPublicKeys(Buffer.from(stored))).map(describeKey);
  if (key === undefined) throw new SlipwayError("key_invalid", `the public half of ${entry.name} is empty`);
  return { id: key.fingerprint, publicKey: stored };
}

async function newPassphrase({ options, env }: Invocation): Promise<string | undefined> {
  // Commander turns --no-passphrase into passphrase: false.
  if (options["passphrase"] === false) return undefined;
  const terminal = { input: process.stdin, output: process.stderr };
  const passphrase = await readNewPassphrase({ env, file: textOption(options, "passphraseFile"), terminal }, "Passphrase of the new key: ");
  if (passphrase !== undefined) return passphrase;
  throw new SlipwayError("key_locked", "a new key needs a passphrase, and there is no terminal to ask at", {
    hint: "set SLIPWAY_KEY_PASSPHRASE, name a file with --passphrase-file, or say --no-passphrase",
  });
}

type KeyParts = { readonly id: string; readonly parts: { readonly key: string; readonly pub: string; readonly rev?: string } };

const makers: Readonly<Record<KeyType, (invocation: Invocation, name: string, passphrase: string | undefined) => Promise<KeyParts>>> = {
  openpgp: makeOpenpgp,
  minisign: (_, __, passphrase) => makeMinisign(passphrase),
  apk: (_, __, passphrase) => makeApk(passphrase),
  tuf: (_, __, passphrase) => Promise.resolve(makeTuf(passphrase)),
};

async function makeApk(passphrase: string | undefined): Promise<KeyParts> {
  const key = await generateApkKey();
  return { id: key.keyFile, parts: { key: formatApkSecretKey(key, passphrase), pub: key.publicText } };
}

function makeTuf(passphrase: string | undefined): KeyParts {
  const key = generateTufKey();
  return { id: key.keyId, parts: { key: formatTufSecretKey(key, passphrase), pub: key.publicText } };
}

async function makeMinisign(passphrase: string | undefined): Promise<KeyParts> {
  const key = generateMinisignKey();
  const secret = await formatMinisignSecretKey(key, passphrase === undefined ? undefined : { passphrase });
  return { id: key.keyId, parts: { key: secret, pub: formatMinisignPublicKey(key) } };
}

async function makeOpenpgp({ options }: Invocation, name: string, passphrase: string | undefined): Promise<KeyParts> {
  const key = await generateOpenpgpKey({
    userId: textOption(options, "userId") ?? `Slipway release key ${name}`,
    algorithm: openpgpAlgorithms.find((known) => known === textOption(options, "algorithm")) ?? "rsa4096",
    now: new Date(),
    ...(passphrase === undefined ? {} : { passphrase }),
  });
  return { id: key.fingerprint, parts: { key: key.secretKey, pub: key.publicKey, rev: key.revocationCertificate } };
}
