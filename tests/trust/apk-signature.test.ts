/** apk keys: made, kept with a passphrase, read back, refused where they cannot serve; openssl reads what we write and checks what we sign. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import {
  formatApkSecretKey,
  generateApkKey,
  isApkKeyLocked,
  readApkPublicKey,
  readApkSigningKey,
  signApkMember,
  verifyApkMember,
} from "../../src/trust/apk-signature.ts";
import { needClient } from "../support/clients.ts";

const made = generateApkKey();

test("a key is RSA-4096, its name comes from the key alone, and it survives being written with and without a passphrase", async () => {
  const key = await made;
  assert.equal(key.publicKey.asymmetricKeyDetails?.modulusLength, 4096);
  assert.match(key.keyFile, /^slipway-[0-9a-f]{16}\.rsa\.pub$/);
  assert.equal(readApkPublicKey(key.publicText).keyFile, key.keyFile);
  const plain = formatApkSecretKey(key);
  const locked = formatApkSecretKey(key, "correct horse");
  assert.deepEqual([isApkKeyLocked(plain), isApkKeyLocked(locked)], [false, true]);
  for (const read of [readApkSigningKey(plain), readApkSigningKey(locked, "correct horse")]) {
    assert.equal(read.keyFile, key.keyFile);
    assert.ok(read.privateKey.equals(key.privateKey));
  }
});

test("a locked key without or with the wrong passphrase is key_locked, and the message does not repeat it", async () => {
  const locked = formatApkSecretKey(await made, "correct horse");
  assert.throws(() => readApkSigningKey(locked), { code: "key_locked" });
  assert.throws(
    () => readApkSigningKey(locked, "wrong horse"),
    (error: Error & { code: string }) => error.code === "key_locked" && !error.message.includes("horse"),
  );
});

const pem = (type: "rsa" | "ed25519", bits = 1024): { readonly secret: string; readonly open: string } => {
  const pair = type === "rsa" ? generateKeyPairSync("rsa", { modulusLength: bits }) : generateKeyPairSync("ed25519");
  return {
    secret: pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    open: pair.publicKey.export({ type: "spki", format: "pem" }).toString(),
  };
};
const unfit: readonly (readonly [what: string, key: ReturnType<typeof pem>, code: string])[] = [
  ["an RSA key of 1,024 bits", pem("rsa"), "key_unfit"],
  ["an Ed25519 key", pem("ed25519"), "key_unfit"],
  ["nothing", { secret: "", open: "" }, "key_invalid"],
  [
    "damaged base64",
    { secret: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", open: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n" },
    "key_invalid",
  ],
  ["an OpenPGP key", { secret: "-----BEGIN PGP PRIVATE KEY BLOCK-----\n", open: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n" }, "key_invalid"],
];
for (const [what, key, code] of unfit) {
  test(`${what} is refused with ${code}, as a secret and as a public key`, () => {
    assert.throws(() => readApkSigningKey(key.secret), { code });
    assert.throws(() => readApkPublicKey(key.open), { code });
  });
}

test("a secret key is not taken for a public one, nor the other way", async () => {
  const key = await made;
  assert.throws(() => readApkPublicKey(formatApkSecretKey(key)), { code: "key_invalid" });
  assert.throws(() => readApkSigningKey(key.publicText), { code: "key_invalid" });
});

test("signing is reproducible, and a signature is good for its bytes and its key only", async () => {
  const key = await made;
  const member = Buffer.from("the bytes of a member");
  const signatures = signApkMember(member, key);
  assert.deepEqual(signApkMember(member, key), signatures);
  assert.equal(verifyApkMember({ member, signatures }, [key]).keyFile, key.keyFile);
  assert.throws(() => verifyApkMember({ member: Buffer.from("other"), signatures }, [key]), { code: "signature_invalid", detail: "signature_bad" });
});

test("openssl reads the keys and verifies both signatures", async (t) => {
  if (!needClient(t, "openssl")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-apk-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const key = await made;
  const at = (name: string): string => join(folder, name);
  await writeFile(at("member"), "the bytes of a member");
  await writeFile(at("pub"), key.publicText);
  await writeFile(at("key"), formatApkSecretKey(key, "correct horse"));
  const openssl = (...args: readonly string[]): Promise<string> => requireCommand(["openssl", ...args], { timeoutMs: 60_000 });
  for (const { algorithm, bytes } of signApkMember(Buffer.from("the bytes of a member"), key)) {
    await writeFile(at("signature"), bytes);
    const digest = algorithm === "RSA256" ? "-sha256" : "-sha1";
    assert.match(await openssl("dgst", digest, "-verify", at("pub"), "-signature", at("signature"), at("member")), /Verified OK/);
  }
  assert.equal(await openssl("pkey", "-in", at("key"), "-passin", "pass:correct horse", "-pubout"), key.publicText);
});
