/** `slipway keys new|list|export`: release keys in the key folder; private halves are written, never shown. */
import { resolve } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { systemClock } from "../io/clock.ts";
import { type KeyEntry, keyFolderPath, keyTypes, listKeys, readKey } from "../io/key-folder.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseWord } from "../model/names.ts";
import { formatKeySetFile, type KeySetFile, type KeySetFileKey, keySetFileName } from "../packaging/key-set-file.ts";
import { readApkPublicKey } from "../trust/apk-signature.ts";
import { parseMinisignPublicKey } from "../trust/minisign-key.ts";
import { readTufPublicKey } from "../trust/tuf-key.ts";
import { describeKey, exportPublicKeys, keyExpiry, readPublicKeys } from "../trust/openpgp.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { makeKey, publicKeyOf } from "./make-key.ts";
import { newStandby, readKeySetFile } from "./rotate.ts";

export const runNew: CommandRun = async (invocation) => {
  const { args, options, output, env } = invocation;
  const folder = keyFolderPath(env);
  const entry: KeyEntry = { name: parseWord("key", args[0] ?? "release"), type: keyTypes.find((known) => known === textOption(options, "type")) ?? "openpgp" };
  const made = await makeKey(invocation, entry);
  output.result({ name: entry.name, type: entry.type, id: made.id, protected: made.isProtected, folder });
  output.line(`${entry.type} key ${entry.name}: ${made.id}`);
  output.line(`private half in ${folder}${made.isProtected ? "" : ", not protected by a passphrase"}; keep a copy offline`);
  output.line(`public half: slipway keys export ${entry.name}${entry.type === "openpgp" ? "" : ` --format ${entry.type}`}`);
  if (flagOption(options, "standby")) await beginKeySet(invocation, entry);
  return 0;
};

/** A key and one to follow it, from day one: after a theft it is too late to introduce a successor (trust facts 4.4 step 0). */
async function beginKeySet(invocation: Invocation, entry: KeyEntry): Promise<void> {
  const { output, cwd, options, env } = invocation;
  const { type: kind, name } = entry;
  if (kind !== "minisign" && kind !== "openpgp") throw new SlipwayError("usage", "--standby is for minisign and OpenPGP keys");
  const path = resolve(cwd, textOption(options, "keys") ?? keySetFileName);
  const present = await readKeySetFile(invocation).catch((error: unknown) => {
    if (error instanceof SlipwayError && error.code === "source_missing") return undefined;
    throw error;
  });
  if (present?.file.keys.some((key) => key.kind === kind) === true) {
    throw new SlipwayError("key_exists", `${path} names a ${kind} key already`, { hint: "`slipway keys rotate` makes one follow another" });
  }
  const active: KeySetFileKey = { ...(await publicKeyOf(keyFolderPath(env), { name, type: kind })), name, kind, role: "active" };
  const standby = await newStandby(invocation, name, kind);
  const file: KeySetFile = { schema: 1, epoch: (present?.file.epoch ?? 0) + 1, keys: [...(present?.file.keys ?? []), active, standby] };
  await writeFileAtomic(path, formatKeySetFile(file), { mode: 0o644 });
  output.line(`key set of epoch ${file.epoch} in ${path}: commit it, and name it in the recipe (sign: keys: ${keySetFileName})`);
}

export const runList: CommandRun = async ({ output, env }) => {
  const folder = keyFolderPath(env);
  const keys = await Promise.all((await listKeys(folder)).map((entry) => describeEntry(folder, entry)));
  output.result({ folder, keys });
  if (keys.length === 0) output.line(`no keys in ${folder}`);
  else
    output.table(
      ["NAME", "TYPE", "ID", "ALGORITHM", "EXPIRES", "USER ID"],
      keys.map((key) => [key.name, key.type, key.id, key.algorithm, expiryText(key.expiresAt), key.userId ?? ""]),
    );
  return 0;
};

export const runExport: CommandRun = async ({ args, options, output, env, cwd }) => {
  const folder = keyFolderPath(env);
  const name = parseWord("key", args[0] ?? "");
  const format = textOption(options, "format") ?? (await defaultFormat(folder, name));
  const entry: KeyEntry = { name, type: format === "minisign" || format === "apk" || format === "tuf" ? format : "openpgp" };
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

type KeyDescription = {
  readonly name: string;
  readonly type: string;
  readonly id: string;
  readonly algorithm: string;
  readonly userId?: string;
  /** OpenPGP keys that end. */
  readonly expiresAt?: Date;
};

function expiryText(expiresAt: Date | undefined): string {
  if (expiresAt === undefined) return "never";
  const days = Math.floor((expiresAt.getTime() - systemClock.now().getTime()) / 86_400_000);
  return days < 0 ? "EXPIRED" : `in ${days} days`;
}

async function describeEntry(folder: string, entry: KeyEntry): Promise<KeyDescription> {
  const stored = await readKey(folder, entry, "pub");
  if (entry.type === "minisign") return { ...entry, id: parseMinisignPublicKey(stored.toString("utf8")).keyId, algorithm: "ed25519" };
  if (entry.type === "tuf") return { ...entry, id: readTufPublicKey(stored.toString("utf8")).keyId, algorithm: "ed25519" };
  if (entry.type === "apk") {
    const { keyFile, publicKey } = readApkPublicKey(stored.toString("utf8"));
    return { ...entry, id: keyFile, algorithm: `rsa${publicKey.asymmetricKeyDetails?.modulusLength ?? ""}` };
  }
  const [found] = await readPublicKeys(stored);
  if (found === undefined) throw new SlipwayError("key_invalid", `the public half of ${entry.name} is empty`);
  const [key, expiresAt] = [describeKey(found), await keyExpiry(found)];
  return { ...entry, id: key.fingerprint, algorithm: key.algorithm, userId: key.userIds.join(", "), ...(expiresAt === undefined ? {} : { expiresAt }) };
}

async function defaultFormat(folder: string, name: string): Promise<"asc" | "minisign" | "apk" | "tuf"> {
  const [type, ...others] = (await listKeys(folder)).filter((entry) => entry.name === name).map((entry) => entry.type);
  return type === undefined || type === "openpgp" || others.length > 0 ? "asc" : type;
}
