/** Our own policy on OpenPGP signatures: the cases in which gpg exits 0 and we must not accept. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import * as fc from "fast-check";
import * as openpgp from "openpgp";
import {
  exportPublicKeys,
  generateOpenpgpKey,
  type OpenpgpAlgorithm,
  type OpenpgpSigningKey,
  readSigningKey,
  signDetached,
  signDetachedArmored,
} from "../../src/trust/openpgp.ts";
import { type OpenpgpVerdict, pinKeys, verifyDetached } from "../../src/trust/openpgp-verify.ts";
import { needClient } from "../support/clients.ts";
import { crookedSignature } from "../support/crooked-signature.ts";
import { type GpgFolder, gpgFolder, gpgKey } from "../support/gpg.ts";

type Vendor = { readonly key: OpenpgpSigningKey; readonly publicKey: string; readonly revocation: string; readonly secretKey: string };

const created = new Date("2026-01-01T00:00:00Z");
const now = new Date("2026-03-01T12:00:00Z");
const released = Date.parse("2026-03-01T11:00:00Z") / 1000;
const data = Buffer.from("the sums of a release\n");
let acme: Vendor;
let stranger: Vendor;
let rsa: Vendor;

async function makeVendor(algorithm: OpenpgpAlgorithm): Promise<Vendor> {
  const generated = await generateOpenpgpKey({ userId: "Acme <release@acme.example>", algorithm, now: created });
  const key = await readSigningKey(Buffer.from(generated.secretKey), { now });
  return { key, publicKey: generated.publicKey, revocation: generated.revocationCertificate, secretKey: generated.secretKey };
}

before(async () => {
  [acme, stranger, rsa] = await Promise.all([makeVendor("ed25519"), makeVendor("ed25519"), makeVendor("rsa4096")]);
});

async function verdictOn(
  signature: Uint8Array,
  options: { keyring?: string | Uint8Array; fingerprints?: string[]; now?: Date; data?: Uint8Array } = {},
): Promise<OpenpgpVerdict> {
  const keyring = await pinKeys(Buffer.from(options.keyring ?? acme.publicKey), options.fingerprints);
  return verifyDetached({ data: options.data ?? data, signature, keyring, now: options.now ?? now });
}

async function detailOf(signature: Uint8Array, options: Parameters<typeof verdictOn>[1] = {}): Promise<string> {
  const verdict = await verdictOn(signature, options);
  return verdict.kind === "good" ? "good" : verdict.detail;
}

test("C14 our own signature is good, binary and armored, with its key and date", async () => {
  const expected = { kind: "good", fingerprint: acme.key.fingerprint, signedAt: new Date(released * 1000) };
  assert.deepEqual(await verdictOn(await signDetached(data, acme.key, released)), expected);
  assert.deepEqual(await verdictOn(Buffer.from(await signDetachedArmored(data, acme.key, released))), expected);
});

test("other data, a flipped bit anywhere in the signature, and a cut signature are never good", async () => {
  const signature = await signDetached(data, acme.key, released);
  assert.equal(await detailOf(signature, { data: Buffer.from("other") }), "gpg_bad");
  // The bit counts before the two numbers say nothing about them as long as the byte count stays the same.
  const view = Buffer.from(signature);
  const hashedEnd = 2 + 6 + view.readUInt16BE(6);
  const firstNumber = hashedEnd + 2 + view.readUInt16BE(hashedEnd) + 2;
  const secondNumber = firstNumber + 2 + Math.ceil(view.readUInt16BE(firstNumber) / 8);
  const bitCounts = new Set([firstNumber + 1, secondNumber + 1]);
  for (let index = 0; index < signature.length; index += 1) {
    if (bitCounts.has(index)) continue;
    const changed = Uint8Array.from(signature);
    changed[index] = (changed[index] ?? 0) ^ 1;
    assert.notEqual(await detailOf(changed), "good", `byte ${index}`);
  }
  for (const length of [0, 1, 2, 10, signature.length - 1]) assert.notEqual(await detailOf(signature.subarray(0, length)), "good", `${length} bytes`);
});

test("attack 9: a good signature by another key of the same keyring is gpg_wrong_key", async () => {
  const keyring = await exportPublicKeys([Buffer.from(acme.publicKey), Buffer.from(stranger.publicKey)], "gpg");
  const signature = await signDetached(data, stranger.key, released);
  assert.equal(await detailOf(signature, { keyring, fingerprints: [acme.key.fingerprint] }), "gpg_wrong_key");
  assert.equal(await detailOf(signature), "gpg_wrong_key");
});

test("attack 3: the signature of a stranger who claims our key id and fingerprint is gpg_bad", async () => {
  const forged = Buffer.from(await signDetached(data, stranger.key, released));
  const from = Buffer.from(stranger.key.fingerprint, "hex");
  const to = Buffer.from(acme.key.fingerprint, "hex");
  for (const [old, replacement] of [
    [from, to],
    [from.subarray(12), to.subarray(12)],
  ] as const) {
    for (let at = forged.indexOf(old); at !== -1; at = forged.indexOf(old, at + 1)) replacement.copy(forged, at);
  }
  assert.equal(await detailOf(forged), "gpg_bad");
});

test("attack 7: a signature by a revoked key is gpg_revoked, also where a second copy of the key is not revoked, and gpg exits 0 for it", async (t) => {
  const revoked = await openpgp.revokeKey({
    key: await openpgp.readKey({ armoredKey: acme.publicKey }),
    revocationCertificate: acme.revocation,
    date: new Date("2026-02-01T00:00:00Z"),
    format: "binary",
  });
  const signature = await signDetached(data, acme.key, released);
  assert.equal(await detailOf(signature, { keyring: revoked.publicKey }), "gpg_revoked");
  const twice = Buffer.concat([await exportPublicKeys([Buffer.from(acme.publicKey)], "gpg"), revoked.publicKey]);
  assert.equal(await detailOf(signature, { keyring: twice }), "gpg_revoked");
  if (!needClient(t, "gpgv")) return;
  const folder = await gpgFolder(t);
  await folder.write("f", data);
  await folder.write("f.sig", signature);
  await folder.write("revoked.gpg", revoked.publicKey);
  const peer = await folder.run(["gpgv", "--status-fd", "1", "--keyring", join(folder.path, "revoked.gpg"), "f.sig", "f"]);
  assert.match(peer.stdout, /REVKEYSIG/);
  assert.equal(peer.exitCode, 0);
});

test("attack 7: a revocation made with SHA-1 revokes, by an RSA key and by an Ed25519 key", async (t) => {
  if (!needClient(t, "gpg")) return;
  for (const algorithm of ["rsa2048", "ed25519"]) {
    const folder = await gpgFolder(t);
    await gpgKey(folder, { userId: "lost@acme.example", algorithm });
    const signature = await gpgSignature(folder, []);
    // gpg wrote a revocation certificate when it made the key; one with SHA-1 is made by hand.
    const revoked = await folder.run(
      [
        "gpg",
        "--no-tty",
        "--command-fd",
        "0",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
        "--cert-digest-algo",
        "SHA1",
        "--output",
        "rev.asc",
        "--gen-revoke",
        "lost@acme.example",
      ],
      "y\n0\n\ny\n",
    );
    assert.equal(revoked.exitCode, 0, revoked.stderr);
    await folder.gpg(["--import", "rev.asc"]);
    await folder.gpg(["--yes", "--output", "revoked.gpg", "--export", "lost@acme.example"]);
    assert.equal(await detailOf(signature, { keyring: await readFile(join(folder.path, "revoked.gpg")), now: new Date() }), "gpg_revoked", algorithm);
  }
});

test("attack 8: a signature by a key that has expired since is gpg_expired, and was good before", async () => {
  const generated = await openpgp.generateKey({
    type: "ecc",
    curve: "ed25519Legacy",
    userIDs: [{ name: "Short" }],
    subkeys: [],
    date: created,
    keyExpirationTime: 90 * 86_400,
    format: "armored",
  });
  const key = await readSigningKey(Buffer.from(generated.privateKey), { now });
  const signature = await signDetached(data, key, released);
  assert.equal(await detailOf(signature, { keyring: generated.publicKey }), "good");
  assert.equal(await detailOf(signature, { keyring: generated.publicKey, now: new Date("2026-06-01T00:00:00Z") }), "gpg_expired");
});

for (const hash of ["sha1", "sha224"] as const) {
  test(`attack 8: a ${hash.toUpperCase()} signature is gpg_weak_hash`, async () => {
    const signature = await crookedSignature({ key: rsa.key.privateKey, data, date: new Date(released * 1000), hash });
    assert.equal(await detailOf(signature, { keyring: rsa.publicKey }), "gpg_weak_hash");
  });
}

test("attack 8: gpg exits 0 for the SHA-1 signature that gpg itself made, we refuse it", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  const keyring = await gpgKey(folder, { userId: "old@acme.example" });
  const signature = await gpgSignature(folder, ["--digest-algo", "SHA1"]);
  assert.equal((await folder.gpg(["--verify", "f.sig", "f"])).exitCode, 0);
  assert.equal(await detailOf(signature, { keyring, now: new Date() }), "gpg_weak_hash");
});

/** A key whose one signing subkey made `signature`, in January; what became of the subkey is up to `change`. */
async function signedBySubkey(change: { readonly lifetimeSeconds?: number; readonly isRevoked?: boolean }) {
  const subkey = { sign: true, ...(change.lifetimeSeconds === undefined ? {} : { keyExpirationTime: change.lifetimeSeconds }) };
  const { privateKey } = await openpgp.generateKey({
    type: "ecc",
    curve: "ed25519Legacy",
    userIDs: [{ name: "Acme", email: "sub@acme.example" }],
    subkeys: [subkey],
    date: created,
    format: "object",
  });
  const [signing] = privateKey.subkeys;
  const { keyPacket } = privateKey;
  assert.ok(signing !== undefined && keyPacket instanceof openpgp.SecretKeyPacket);
  const message = await openpgp.createMessage({ binary: data });
  const signature = await openpgp.sign({ message, signingKeys: privateKey, detached: true, date: new Date("2026-01-15T00:00:00Z"), format: "binary" });
  if (change.isRevoked === true)
    privateKey.subkeys[0] = await signing.revoke(
      keyPacket,
      { flag: openpgp.enums.reasonForRevocation.keyCompromised, string: "stolen" },
      new Date("2026-02-01T00:00:00Z"),
    );
  return { signature, keyring: privateKey.toPublic().armor() };
}

test("attack 7, 8: a signature by a signing subkey that was revoked, or has expired since, is refused although the primary key is good", async () => {
  const good = await signedBySubkey({});
  assert.equal(await detailOf(good.signature, good), "good");
  const revoked = await signedBySubkey({ isRevoked: true });
  assert.equal(await detailOf(revoked.signature, revoked), "gpg_revoked");
  const expired = await signedBySubkey({ lifetimeSeconds: 30 * 24 * 3600 });
  assert.equal(await detailOf(expired.signature, expired), "gpg_expired");
});

test("attack 8: a signing subkey that is bound with SHA-1 is gpg_weak_hash", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  await gpgKey(folder, { userId: "bound@acme.example", algorithm: "rsa2048" });
  const listed = await folder.gpg(["--with-colons", "--list-keys"]);
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(listed.stdout)?.[1] ?? "";
  const added = await folder.gpg(["--allow-weak-key-signatures", "--cert-digest-algo", "SHA1", "--quick-add-key", fingerprint, "rsa2048", "sign", "never"]);
  assert.equal(added.exitCode, 0, added.stderr);
  const signature = await gpgSignature(folder, ["--digest-algo", "SHA256"]);
  const keyring = (await folder.gpg(["--armor", "--export", fingerprint])).stdout.replace(/^\[GNUPG:\].*\n/gm, "");
  assert.equal(await detailOf(signature, { keyring, now: new Date() }), "gpg_weak_hash");
});

test("a key that vouches for itself with SHA-1 is gpg_weak_hash", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  const keyring = await gpgKey(folder, { userId: "old@acme.example", before: ["--cert-digest-algo", "SHA1"], algorithm: "rsa2048" });
  const signature = await gpgSignature(folder, ["--digest-algo", "SHA256"]);
  assert.equal(await detailOf(signature, { keyring, now: new Date() }), "gpg_weak_hash");
});

test("C14 signatures made by gpg are good: by its primary key and by a signing subkey", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  const primaryOnly = await gpgKey(folder, { userId: "gpg@acme.example" });
  const byPrimary = await gpgSignature(folder, []);
  assert.equal(await detailOf(byPrimary, { keyring: primaryOnly, now: new Date() }), "good");
  const listed = await folder.gpg(["--with-colons", "--list-keys"]);
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(listed.stdout)?.[1] ?? "";
  await folder.gpg(["--quick-add-key", fingerprint, "rsa2048", "sign", "never"]);
  await folder.gpg(["--yes", "--output", "with-subkey.gpg", "--export", "gpg@acme.example"]);
  const keyring = await readFile(join(folder.path, "with-subkey.gpg"));
  const bySubkey = await gpgSignature(folder, []);
  assert.equal(await detailOf(bySubkey, { keyring, fingerprints: [fingerprint], now: new Date() }), "good");
  // Whoever has only the primary key cannot know the subkey.
  assert.equal(await detailOf(bySubkey, { keyring: primaryOnly, now: new Date() }), "gpg_wrong_key");
});

test("a signature from the future is gpg_bad beyond five minutes of clock difference", async () => {
  const sign = (ms: number): Promise<Uint8Array> => crookedSignature({ key: acme.key.privateKey, data, date: new Date(now.getTime() + ms) });
  assert.equal(await detailOf(await sign(4 * 60_000)), "good");
  assert.equal(await detailOf(await sign(6 * 60_000)), "gpg_bad");
});

test("a signature older than its key is gpg_bad", async () => {
  const signature = await crookedSignature({ key: acme.key.privateKey, data, date: new Date("2025-12-31T00:00:00Z") });
  assert.equal(await detailOf(signature), "gpg_bad");
});

test("a signature that has expired by itself is gpg_expired", async () => {
  const signature = await crookedSignature({ key: acme.key.privateKey, data, date: new Date(released * 1000), lifetime: 60 });
  assert.equal(await detailOf(signature), "gpg_expired");
});

test("a text-mode signature is gpg_bad: it would cover the file with any line ends", async () => {
  const signature = await crookedSignature({ key: acme.key.privateKey, data, date: new Date(released * 1000), type: 1 });
  const verdict = await verdictOn(signature);
  assert.ok(verdict.kind === "bad" && verdict.detail === "gpg_bad");
  assert.match(verdict.message, /of type 1, not one over a binary file/);
});

test("two signatures: a stranger's beside ours is passed over, a bad one of ours is not, a stranger's alone is gpg_wrong_key", async () => {
  const ours = await signDetached(data, acme.key, released);
  const theirs = await signDetached(data, stranger.key, released);
  const oursOverOther = await signDetached(Buffer.from("other"), acme.key, released);
  assert.equal(await detailOf(Buffer.concat([theirs, ours])), "good");
  assert.equal(await detailOf(Buffer.concat([ours, oursOverOther])), "gpg_bad");
  assert.equal(await detailOf(Buffer.concat([theirs, theirs])), "gpg_wrong_key");
  assert.equal(await detailOf(Buffer.concat(Array.from({ length: 17 }, () => ours))), "gpg_bad");
});

test("a signature of version 6 or 3, another packet beside ours, and trailing bytes are gpg_bad", async () => {
  const ours = Buffer.from(await signDetached(data, acme.key, released));
  const body = ours.indexOf(Buffer.from([4, 0, 22]));
  for (const version of [3, 5, 6]) {
    const changed = Buffer.from(ours);
    changed[body] = version;
    assert.equal(await detailOf(Buffer.concat([ours, changed])), "gpg_bad", `version ${version}`);
  }
  assert.equal(await detailOf(Buffer.concat([ours, Buffer.from([0xc0 | 11, 1, 0x62])])), "gpg_bad");
  assert.equal(await detailOf(Buffer.concat([ours, Buffer.from("trailing")])), "gpg_bad");
});

test("armor of another kind, two blocks, and a public key in place of a signature are gpg_bad", async () => {
  const armored = await signDetachedArmored(data, acme.key, released);
  for (const text of [armored + armored, acme.publicKey, armored.replaceAll("SIGNATURE", "MESSAGE"), "SHA256SUMS", `${armored}x`]) {
    assert.equal(await detailOf(Buffer.from(text)), "gpg_bad");
  }
});

test("a keyring without the pinned key is policy_invalid; one that is no keyring is key_invalid", async () => {
  await assert.rejects(pinKeys(Buffer.from(acme.publicKey), [stranger.key.fingerprint]), { code: "policy_invalid" });
  await assert.rejects(pinKeys(Buffer.from(acme.publicKey), [acme.key.fingerprint.slice(24)]), { code: "policy_invalid" });
  await assert.rejects(pinKeys(Buffer.from("nonsense")), { code: "key_invalid" });
  const spaced = acme.key.fingerprint.toLowerCase().replace(/(.{4})/g, "$1 ");
  assert.equal((await pinKeys(Buffer.from(acme.publicKey), [spaced])).keys.length, 1);
});

test("an RSA-1024 key is refused", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  await folder.gpg(["--quick-gen-key", "small@acme.example", "rsa1024", "sign", "never"]);
  await folder.gpg(["--yes", "--output", "small.gpg", "--export", "small@acme.example"]);
  const signature = await gpgSignature(folder, ["--digest-algo", "SHA256"]);
  assert.notEqual(await detailOf(signature, { keyring: await readFile(join(folder.path, "small.gpg")), now: new Date() }), "good");
});

test("no bytes whatsoever make the reader of signatures throw, and random ones are never good", async () => {
  const ours = await signDetached(data, acme.key, released);
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.nat(ours.length), fc.nat(ours.length), async (bytes, from, to) => {
      const mixed = Buffer.concat([ours.subarray(0, from), bytes, ours.subarray(to)]);
      assert.equal(typeof (await detailOf(mixed)), "string"); // may be good: the same signature twice is one of the mixtures
      assert.notEqual(await detailOf(bytes), "good");
    }),
    { numRuns: 300 },
  );
});

async function gpgSignature(folder: GpgFolder, options: readonly string[]): Promise<Buffer> {
  await folder.write("f", data);
  const signed = await folder.gpg([...options, "--yes", "--output", "f.sig", "--detach-sign", "f"]);
  assert.equal(signed.exitCode, 0, signed.stderr);
  return readFile(join(folder.path, "f.sig"));
}
