/**
 * The pairs of a mirror that is served: a file with one `<key id>:<SHA-256 of the secret in hex>` per line, `#` for comments. The secrets are made
 * here, of 256 random bits: a fast hash is enough for those, and a file of them tells nobody a secret.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { open } from "node:fs/promises";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";

const fileLimit = 1024 * 1024;
const keyIdPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{2,63}$/;

/** By key id: the hash of its secret. */
export type MirrorPairs = ReadonlyMap<string, Buffer>;

/** Throws `setting_invalid` with file and line. */
export async function readPairs(path: string): Promise<MirrorPairs> {
  const pairs = new Map<string, Buffer>();
  const lines = (await readFileBounded(path, fileLimit)).toString("utf8").split("\n");
  for (const [at, line] of lines.entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, keyId, hex] = /^([^:]+):([0-9a-f]{64})\s*$/.exec(line) ?? [];
    if (keyId === undefined || hex === undefined || !keyIdPattern.test(keyId) || pairs.has(keyId)) {
      throw new SlipwayError("setting_invalid", "this line is no pair, or names a key id again", {
        place: `${path}:${at + 1}`,
        hint: "`slipway mirror pair` writes the lines",
      });
    }
    pairs.set(keyId, Buffer.from(hex, "hex"));
  }
  return pairs;
}

/** Adds a pair to the file, which is made (0600) where it is not there. The secret is in no file: it is returned once. */
export async function addPair(path: string, keyId: string): Promise<{ readonly keyId: string; readonly secret: string }> {
  if (!keyIdPattern.test(keyId)) throw new SlipwayError("name_invalid", "a key id has 3 to 64 letters, digits, dashes and underscores");
  const known = await readPairs(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Map<string, Buffer>();
    throw error;
  });
  if (known.has(keyId)) throw new SlipwayError("conflict", `${path} has a pair ${keyId} already`, { hint: "remove its line first: the old secret then ends" });
  const secret = randomBytes(32).toString("base64url");
  const handle = await open(path, "a", 0o600);
  try {
    await handle.writeFile(`${keyId}:${hashOf(secret).toString("hex")}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { keyId, secret };
}

/** True where the header carries a pair of the list (RFC 7617). An unknown key id costs the same comparison. */
export function isPairKnown(pairs: MirrorPairs, authorization: string | undefined): boolean {
  const [, encoded] = /^Basic ([A-Za-z0-9+/]{1,1024}={0,2})$/i.exec(authorization ?? "") ?? [];
  if (encoded === undefined) return false;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon === -1) return false;
  const expected = pairs.get(text.slice(0, colon));
  const isSame = timingSafeEqual(hashOf(text.slice(colon + 1)), expected ?? Buffer.alloc(32));
  return isSame && expected !== undefined;
}

function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
