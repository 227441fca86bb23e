/** `slipway keys new|list|export`: release keys in the key folder; private halves are written, never shown. */
import { resolve } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { type KeyEntry, type KeyType, keyFolderPath, keyTypes, listKeys, readKey, requireFreeName, storeKey } from "../io/key-folder.ts";
import { readNewPassphrase } from "../io/passphrase.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseWord } from "../model/names.ts";
import { formatApkSecretKey, generateApkKey, readApkPublicKey } from "../trust/apk-signature.ts";
import { formatMinisignPublicKey, formatMinisignSecretKey, generateMinisignKey, parseMinisignPublicKey } from "../trust/minisign-key.ts";
import { describeKey, exportPublicKeys, generateOpenpgpKey, openpgpAlgorithms, readPublicKeys } from "../trust/openpgp.ts";
import { type CommandRun, type Invocation, textOption } from "./command.ts";

export const runNew: CommandRun = async (invocation) => {
  const { args, options, output, env } = invocation;
  const folder = keyFolderPath(env);
  const entry: KeyEntry = { name: parseWord("key", args[0] ?? "release"), type: keyTypes.find((known) => known === textOption(options, "type")) ?? "openpgp" };
  await requireFreeName(folder, entry);
  const passphrase = await newPassphrase(invocation);
  output.note(
    entry.type === "minisign" && passphrase !== undefined ? "making the key; protecting it takes 1 GiB of memory for some seconds" : "making the key",
  );
  const made = await makers[entry.type](invocation, entry.name, passphrase);
  await storeKey(folder, entry, made.parts);
  output.result({ name: entry.name, type: entry.type, id: made.id, protected: passphrase !== undefined, folder });
  output.line(`${entry.type} key ${entry.name}: ${made.id}`);
  output.line(`private half in ${folder}${passphrase === undefined ? ", not protected by a passphrase" : ""}; keep a copy offline`);
  output.line(`public half: slipway keys export ${entry.name}${entry.type === "openpgp" ? "" : ` --format ${entry.type}`}`);
  return 0;
};

export const runList: CommandRun = async ({ output, env }) => {
  const folder = keyFolderPath(env);
  const keys = await Promise.all((await listKeys(folder)).map((entry) => describeEntry(folder, entry)));
  output.result({ folder, keys });
  if (keys.length === 0) output.line(`no keys in ${folder}`);
  else
    output.table(
      ["NAME", "TYPE", "ID", "ALGORITHM", "USER ID"],
      keys.map((key) => [key.name, key.type, key.id, key.algorithm, key.userId ?? ""]),
    );
  return 0;
};

export const runExport: CommandRun = async ({ args, options, output, env, cwd }) => {
  const folder = keyFolderPath(env);
  const name = parseWord("key", args[0] ?? "");
  const format = textOption(options, "format") ?? (await defaultFormat(folder, name));
  const entry: KeyEntry = { name, type: format === "minisign" || format === "apk" ? format : "openpgp" };
  const stored = await readKey(folder, entry, "pub");
  const bytes = format === "gpg" ? await exportPublicKeys([stored], "gpg") : stored;
  // apk finds a key by its file name, so the name is part of what is exported.
  const keyFile = format === "apk" ? { keyFile: readApkPublicKey(stored.toString("utf8")).keyFile } : {};
  if (keyFile.keyFile !== undefined) output.note(`customers keep it as /etc/apk/keys/${keyFile.keyFile}`);
  const out = textOption(options, "out");
  if (out !== undefined) {
    await writeFileAtomic(resolve(cwd, out), bytes, { mode: 0o644 });
    output.note(`wrote ${out}`);
  } else if (!output.isJson) {
    process.stdout.write(bytes);
  }
  const content = format === "gpg" ? { base64: Buffer.from(bytes).toString("base64") } : { text: Buffer.from(bytes).toString("utf8") };
  output.result({ name, type: entry.type, format, ...keyFile, ...(out === undefined ? content : { out }) });
  return 0;
};

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

type MadeKey = { readonly id: string; readonly parts: { readonly key: string; readonly pub: string; readonly rev?: string } };

type MakeKey = (invocation: Invocation, name: string, passphrase: string | undefined) => Promise<MadeKey>;

const makers: Readonly<Record<KeyType, MakeKey>> = {
  openpgp: makeOpenpgp,
  minisign: (_, __, passphrase) => makeMinisign(passphrase),
  apk: (_, __, passphrase) => makeApk(passphrase),
};

async function makeApk(passphrase: string | undefined): Promise<MadeKey> {
  const key = await generateApkKey();
  return { id: key.keyFile, parts: { key: formatApkSecretKey(key, passphrase), pub: key.publicText } };
}

async function makeMinisign(passphrase: string | undefined): Promise<MadeKey> {
  const key = generateMinisignKey();
  const secret = await formatMinisignSecretKey(key, passphrase === undefined ? undefined : { passphrase });
  return { id: key.keyId, parts: { key: secret, pub: formatMinisignPublicKey(key) } };
}

async function makeOpenpgp({ options }: Invocation, name: string, passphrase: string | undefined): Promise<MadeKey> {
  const key = await generateOpenpgpKey({
    userId: textOption(options, "userId") ?? `Slipway release key ${name}`,
    algorithm: openpgpAlgorithms.find((known) => known === textOption(options, "algorithm")) ?? "rsa4096",
    now: new Date(),
    ...(passphrase === undefined ? {} : { passphrase }),
  });
  return { id: key.fingerprint, parts: { key: key.secretKey, pub: key.publicKey, rev: key.revocationCertificate } };
}

type KeyDescription = { readonly name: string; readonly type: string; readonly id: string; readonly algorithm: string; readonly userId?: string };

async function describeEntry(folder: string, entry: KeyEntry): Promise<KeyDescription> {
  const stored = await readKey(folder, entry, "pub");
  if (entry.type === "minisign") return { ...entry, id: parseMinisignPublicKey(stored.toString("utf8")).keyId, algorithm: "ed25519" };
  if (entry.type === "apk") {
    const { keyFile, publicKey } = readApkPublicKey(stored.toString("utf8"));
    return { ...entry, id: keyFile, algorithm: `rsa${publicKey.asymmetricKeyDetails?.modulusLength ?? ""}` };
  }
  const [key] = (await readPublicKeys(stored)).map(describeKey);
  if (key === undefined) throw new SlipwayError("key_invalid", `the public half of ${entry.name} is empty`);
  return { ...entry, id: key.fingerprint, algorithm: key.algorithm, userId: key.userIds.join(", ") };
}

async function defaultFormat(folder: string, name: string): Promise<"asc" | "minisign" | "apk"> {
  const [type, ...others] = (await listKeys(folder)).filter((entry) => entry.name === name).map((entry) => entry.type);
  return type === undefined || type === "openpgp" || others.length > 0 ? "asc" : type;
}
