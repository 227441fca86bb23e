/** The public halves of a vendor's release keys, for registering them on the server: from files, or from what the recipe signs with. */
import { dirname, resolve } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { keyFolderPath, readKey } from "../io/key-folder.ts";
import { readPassphrase } from "../io/passphrase.ts";
import { SlipwayError } from "../model/errors.ts";
import { externalPublicKey } from "../packaging/external-signer.ts";
import type { Recipe } from "../packaging/recipe.ts";
import { parseKeyReference } from "../trust/key-reference.ts";
import { isApkKeyLocked, readApkPublicKey, readApkSigningKey } from "../trust/apk-signature.ts";
import { kindOfPublicKey, type ReleaseKeyKind } from "../trust/keyring.ts";
import { formatMinisignPublicKey, isMinisignKeyLocked, parseMinisignPublicKey, readMinisignSecretKey } from "../trust/minisign-key.ts";
import { exportPublicKeys, openpgpKeySizeLimit } from "../trust/openpgp.ts";
import { type Invocation, textOption } from "./command.ts";

export type PublicKeys = Readonly<Partial<Record<ReleaseKeyKind, string>>>;

/** From `--release-key`: OpenPGP (armored or binary), minisign and apk (PEM) files, told apart by their content. Throws `key_missing`, `key_invalid`. */
export async function readPublicKeyFiles(files: readonly string[], cwd: string): Promise<PublicKeys> {
  const keyrings: Uint8Array[] = [];
  const single: { minisign?: string; apk?: string } = {};
  for (const file of files) {
    const bytes = await readKeyFile(resolve(cwd, file));
    const kind = kindOfPublicKey(bytes);
    if (kind === "openpgp") keyrings.push(bytes);
    else if (kind === "apk") single.apk = readApkPublicKey(bytes.toString("utf8")).publicText;
    else single.minisign = formatMinisignPublicKey(parseMinisignPublicKey(bytes.toString("utf8")));
  }
  return { ...(keyrings.length === 0 ? {} : { openpgp: await armored(keyrings) }), ...single };
}

/** From the recipe's `sign:`; only the kinds that are asked for, so that nobody types a passphrase for a key that is registered already. */
export async function readRecipeKeys(invocation: Invocation, recipe: Recipe, kinds: readonly ReleaseKeyKind[]): Promise<PublicKeys> {
  const { gpg, minisign, apk } = recipe.sign ?? {};
  return {
    ...(gpg === undefined || !kinds.includes("openpgp")
      ? {}
      : { openpgp: await armored([await keyBytes(invocation, { reference: gpg, recipe, type: "openpgp" })]) }),
    ...(minisign === undefined || !kinds.includes("minisign") ? {} : { minisign: await minisignPublic(invocation, { reference: minisign, recipe }) }),
    ...(apk === undefined || !kinds.includes("apk") ? {} : { apk: await apkPublic(invocation, { reference: apk, recipe }) }),
  };
}

async function armored(keyrings: readonly Uint8Array[]): Promise<string> {
  return Buffer.from(await exportPublicKeys(keyrings, "asc")).toString("utf8");
}

type Asked = { readonly reference: string; readonly recipe: Recipe };

/** `key:` gives the public half itself; `env:` and `file:` the secret key, from which the public half is taken. */
async function keyBytes(invocation: Invocation, asked: Asked & { readonly type: ReleaseKeyKind }): Promise<Buffer> {
  const reference = parseKeyReference(asked.reference);
  switch (reference.kind) {
    case "env": {
      const content = invocation.env[reference.name];
      if (content === undefined || content.trim() === "") throw new SlipwayError("key_missing", `the variable ${reference.name} is not set`);
      return Buffer.from(content);
    }
    case "file":
      return readKeyFile(resolve(invocation.cwd, dirname(asked.recipe.fileName), reference.path));
    case "agent":
    case "command": {
      if (asked.type === "apk") throw new SlipwayError("key_unfit", "an apk key is a file");
      const folder = resolve(invocation.cwd, dirname(asked.recipe.fileName));
      return Buffer.from(await externalPublicKey(reference, asked.type, { env: invocation.env, folder }));
    }
    case "key":
    default:
      return readKey(keyFolderPath(invocation.env), { name: reference.name, type: asked.type }, "pub");
  }
}

async function minisignPublic(invocation: Invocation, asked: Asked): Promise<string> {
  const text = (await keyBytes(invocation, { ...asked, type: "minisign" })).toString("utf8");
  if (asked.reference.startsWith("key:") || asked.reference.startsWith("command:")) return formatMinisignPublicKey(parseMinisignPublicKey(text));
  const passphrase = isMinisignKeyLocked(text) ? await passphraseOf(invocation, `the minisign key ${asked.reference}`) : undefined;
  return formatMinisignPublicKey(await readMinisignSecretKey(text, passphrase));
}

async function apkPublic(invocation: Invocation, asked: Asked): Promise<string> {
  const text = (await keyBytes(invocation, { ...asked, type: "apk" })).toString("utf8");
  if (asked.reference.startsWith("key:")) return readApkPublicKey(text).publicText;
  const passphrase = isApkKeyLocked(text) ? await passphraseOf(invocation, `the apk key ${asked.reference}`) : undefined;
  return readApkSigningKey(text, passphrase).publicText;
}

function passphraseOf(invocation: Invocation, keyName: string): Promise<string | undefined> {
  const source = {
    env: invocation.env,
    file: textOption(invocation.options, "passphraseFile"),
    terminal: { input: process.stdin, output: process.stderr },
  };
  return readPassphrase(source, `Passphrase of ${keyName}: `);
}

async function readKeyFile(path: string): Promise<Buffer> {
  try {
    return await readFileBounded(path, openpgpKeySizeLimit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("key_missing", `there is no key file ${path}`, { cause: error });
  }
}
