/**
 * The key-encryption key and the envelope made with it: secrets that must come back (access secrets for SigV4, the repository key)
 * rest in the database as AES-256-GCM ciphertext, bound to the row they belong to.
 *
 * A stolen database alone gives no secret; the key lies beside it in a file 0600 or comes from a setting.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { link, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";

export type KeyEncryptionKey = {
  /** 32 bytes; never printed. */
  readonly key: Buffer;
};

export const keyEncryptionKeyFile = "key-encryption-key";
const keySize = 32;
const nonceSize = 12;
const tagSize = 16;
/** First word of an envelope: its version, so that another cipher or key can follow. */
const envelopeVersion = "a1";

/** Reads 32 bytes written as base64 (44 characters) or hex (64); throws `key_invalid` without repeating the text. */
export function parseKeyEncryptionKey(text: string): KeyEncryptionKey {
  const trimmed = text.trim();
  const key = /^[0-9a-f]{64}$/i.test(trimmed) ? Buffer.from(trimmed, "hex") : Buffer.from(trimmed, "base64");
  if (key.length !== keySize) {
    throw new SlipwayError("key_invalid", `the key-encryption key has ${key.length} bytes, not ${keySize}`, {
      hint: "give 32 random bytes as base64: openssl rand -base64 32",
    });
  }
  return { key };
}

/**
 * The key from `setting` where that is set, else from the file in `dataDir`, which is made on first start. Of several processes that
 * start together one makes it and all read the same. Throws `key_invalid` for a damaged file: it is never replaced by a fresh one,
 * which would make every stored secret unreadable.
 */
export async function openKeyEncryptionKey(options: { readonly dataDir: string; readonly setting?: string }): Promise<KeyEncryptionKey> {
  const present = await readKeyEncryptionKey(options);
  if (present !== undefined) return present;
  const path = join(options.dataDir, keyEncryptionKeyFile);
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  const handle = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    await handle.writeFile(`${randomBytes(keySize).toString("base64")}\n`);
    await handle.sync();
    await link(temporary, path); // unlike rename, fails where another process was first
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await handle.close();
    await rm(temporary, { force: true });
  }
  await syncDirectory(options.dataDir);
  return parseKeyEncryptionKey(await readFileBounded(path, 256).then(String));
}

/** The key from `setting`, else from the file in `dataDir`; undefined where there is none yet. Throws `key_invalid`. */
export async function readKeyEncryptionKey(options: { readonly dataDir: string; readonly setting?: string }): Promise<KeyEncryptionKey | undefined> {
  const text = options.setting ?? (await readIfPresent(join(options.dataDir, keyEncryptionKeyFile)));
  return text === undefined ? undefined : parseKeyEncryptionKey(text);
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return (await readFileBounded(path, 256)).toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Encrypts `secret`; `context` names the row it belongs to and must be given again to open it, so that envelopes cannot be swapped. */
export function seal(kek: KeyEncryptionKey, secret: string, context: string): string {
  const nonce = randomBytes(nonceSize);
  const cipher = createCipheriv("aes-256-gcm", kek.key, nonce).setAAD(Buffer.from(context));
  const body = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
  return `${envelopeVersion}.${Buffer.concat([nonce, body, cipher.getAuthTag()]).toString("base64")}`;
}

/** Throws `key_locked` where the key or the context is another one, or the envelope was changed. */
export function unseal(kek: KeyEncryptionKey, envelope: string, context: string): string {
  const [version, text] = envelope.split(".");
  const bytes = Buffer.from(text ?? "", "base64");
  if (version !== envelopeVersion || bytes.length < nonceSize + tagSize) {
    throw new SlipwayError("key_locked", `the stored secret of ${context} has an unknown form`);
  }
  try {
    const decipher = createDecipheriv("aes-256-gcm", kek.key, bytes.subarray(0, nonceSize))
      .setAAD(Buffer.from(context))
      .setAuthTag(bytes.subarray(bytes.length - tagSize));
    return Buffer.concat([decipher.update(bytes.subarray(nonceSize, bytes.length - tagSize)), decipher.final()]).toString("utf8");
  } catch (error) {
    throw new SlipwayError("key_locked", `the stored secret of ${context} cannot be opened with this key-encryption key`, {
      hint: "start the server with the key-encryption key that belongs to this database",
      cause: error,
    });
  }
}
