/** OpenPGP keys and signatures made by us, judged by gpg, gpgv and rpm. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import {
  clearsign,
  exportPublicKeys,
  type GeneratedOpenpgpKey,
  generateOpenpgpKey,
  type OpenpgpSigningKey,
  readPublicKeys,
  readSigningKey,
  signDetached,
  signDetachedArmored,
} from "../../src/trust/openpgp.ts";
import { needClient } from "../support/clients.ts";
import { gpgFolder, gpgKey } from "../support/gpg.ts";

const now = new Date("2026-03-01T12:00:00Z");
const released = Date.parse("2026-03-01T11:00:00Z") / 1000;
const data = Buffer.from("the sums of a release\n");
const made = new Map<string, { readonly generated: GeneratedOpenpgpKey; readonly key: OpenpgpSigningKey }>();
const algorithms = ["rsa4096", "ed25519"] as const;

function keyOf(algorithm: string): { readonly generated: GeneratedOpenpgpKey; readonly key: OpenpgpSigningKey } {
  const found = made.get(algorithm);
  assert.ok(found);
  return found;
}

before(async () => {
  for (const algorithm of algorithms) {
    const created = new Date("2026-01-01T00:00:00Z");
    const generated = await generateOpenpgpKey({ userId: "Acme Releases <release@acme.example>", algorithm, now: created });
    made.set(algorithm, { generated, key: await readSigningKey(Buffer.from(generated.secretKey), { now }) });
  }
});

for (const algorithm of algorithms) {
  test(`C14 gpg --verify accepts our detached ${algorithm} signature, binary and armored, and refuses it over other bytes`, async (t) => {
    if (!needClient(t, "gpg", "gpgv")) return;
    const { generated, key } = keyOf(algorithm);
    const folder = await gpgFolder(t);
    await folder.write("SHA256SUMS", data);
    await folder.write("SHA256SUMS.sig", await signDetached(data, key, released));
    await folder.write("SHA256SUMS.asc", await signDetachedArmored(data, key, released));
    await folder.write("acme.asc", generated.publicKey);
    await folder.write("acme.gpg", await exportPublicKeys([Buffer.from(generated.publicKey)], "gpg"));
    assert.equal((await folder.gpg(["--import", "acme.asc"])).exitCode, 0);
    for (const signature of ["SHA256SUMS.sig", "SHA256SUMS.asc"]) {
      const verified = await folder.gpg(["--verify", signature, "SHA256SUMS"]);
      assert.equal(verified.exitCode, 0, verified.stderr);
      assert.match(verified.stdout, new RegExp(`VALIDSIG ${generated.fingerprint} 2026-03-01 ${released} 0 4 0 \\d+ 10 00 ${generated.fingerprint}`));
      const keyring = await folder.run(["gpgv", "--status-fd", "1", "--keyring", join(folder.path, "acme.gpg"), signature, "SHA256SUMS"]);
      assert.equal(keyring.exitCode, 0, keyring.stderr);
      assert.match(keyring.stdout, /GOODSIG/);
    }
    await folder.write("SHA256SUMS", "other bytes\n");
    assert.notEqual((await folder.gpg(["--verify", "SHA256SUMS.sig", "SHA256SUMS"])).exitCode, 0);
  });

  test(`gpgv accepts our clear-signed text with ${algorithm} and gives it back byte for byte`, async (t) => {
    if (!needClient(t, "gpgv")) return;
    const { generated, key } = keyOf(algorithm);
    const folder = await gpgFolder(t);
    const text = "Origin: acme\nSuite: stable\n- dashed\nSHA256:\n 0123 45 main/binary-amd64/Packages\n";
    const signed = await clearsign(text, key, released);
    assert.doesNotMatch(signed, /\r/);
    assert.match(signed, /^-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n/);
    await folder.write("InRelease", signed);
    await folder.write("acme.gpg", await exportPublicKeys([Buffer.from(generated.publicKey)], "gpg"));
    const verified = await folder.run(["gpgv", "--keyring", join(folder.path, "acme.gpg"), "--output", "Release", "InRelease"]);
    assert.equal(verified.exitCode, 0, verified.stderr);
    assert.equal(await readFile(join(folder.path, "Release"), "utf8"), text);
  });

  test(`signing twice with ${algorithm} gives the same bytes`, async () => {
    const { generated, key } = keyOf(algorithm);
    const again = await readSigningKey(Buffer.from(generated.secretKey), { now: new Date("2026-03-05T00:00:00Z") });
    assert.deepEqual(await signDetached(data, again, released), await signDetached(data, key, released));
    assert.equal(await clearsign("a\n", again, released), await clearsign("a\n", key, released));
  });

  test(`rpm imports the public ${algorithm} key`, async (t) => {
    if (!needClient(t, "rpmkeys")) return;
    const folder = await gpgFolder(t);
    await folder.write("acme.asc", keyOf(algorithm).generated.publicKey);
    const imported = await folder.run(["rpmkeys", "--dbpath", join(folder.path, "db"), "--import", "acme.asc"]);
    assert.equal(imported.exitCode, 0, imported.stderr);
  });
}

test("a signature is never dated before its key", async (t) => {
  if (!needClient(t, "gpg")) return;
  const { generated, key } = keyOf("ed25519");
  const folder = await gpgFolder(t);
  await folder.write("f", data);
  await folder.write("f.sig", await signDetached(data, key, 0));
  await folder.write("acme.asc", generated.publicKey);
  await folder.gpg(["--import", "acme.asc"]);
  assert.match((await folder.gpg(["--verify", "f.sig", "f"])).stdout, /VALIDSIG \S+ 2026-01-01/);
});

test("gpg opens our passphrase-protected secret key and signs with it", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  const generated = await generateOpenpgpKey({ userId: "Acme", algorithm: "ed25519", now, passphrase: "correct horse" });
  await folder.write("secret.asc", generated.secretKey);
  await folder.write("f", data);
  const options = ["gpg", "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "--faked-system-time", "20260302T000000"];
  const imported = await folder.run([...options, "--import", "secret.asc"], "correct horse\n");
  assert.equal(imported.exitCode, 0, imported.stderr);
  const signed = await folder.run([...options, "--detach-sign", "f"], "correct horse\n");
  assert.equal(signed.exitCode, 0, signed.stderr);
  const bytes = Buffer.from(generated.secretKey);
  await assert.rejects(readSigningKey(bytes, { now }), { code: "key_locked" });
  await assert.rejects(readSigningKey(bytes, { now, passphrase: "wrong" }), { code: "key_locked" });
  assert.equal((await readSigningKey(bytes, { now, passphrase: "correct horse" })).fingerprint, generated.fingerprint);
});

test("a secret key exported by gpg signs here, and gpg accepts the signature", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  await gpgKey(folder, { userId: "Made By Gpg <gpg@acme.example>" });
  const exported = await folder.gpg(["--armor", "--output", "secret.asc", "--export-secret-keys"]);
  assert.equal(exported.exitCode, 0, exported.stderr);
  const key = await readSigningKey(await readFile(join(folder.path, "secret.asc")), { now: new Date() });
  await folder.write("f", data);
  await folder.write("f.sig", await signDetached(data, key, 0));
  const verified = await folder.gpg(["--verify", "f.sig", "f"]);
  assert.equal(verified.exitCode, 0, verified.stderr);
});

test("a public key, two keys, and no key at all are key_invalid; no message repeats what was read", async () => {
  const { generated } = keyOf("ed25519");
  const other = keyOf("rsa4096").generated;
  for (const text of [generated.publicKey, "not a key SECRETMATERIAL", ""]) {
    await assert.rejects(readSigningKey(Buffer.from(text), { now }), (error: Error & { code?: string }) => {
      assert.equal(error.code, "key_invalid");
      assert.doesNotMatch(error.message, /SECRETMATERIAL/);
      return true;
    });
  }
  const both = await exportPublicKeys([Buffer.from(generated.publicKey), Buffer.from(other.publicKey)], "asc");
  assert.equal((await readPublicKeys(both)).length, 2);
});

test("an expired key and a key that certifies itself with SHA-1 are key_unfit for signing (regression 12)", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  for (const [userId, algorithm, options, expiry] of [
    ["expired@acme.example", "ed25519", ["--faked-system-time", "20200101T000000"], "2020-06-01"],
    ["sha1@acme.example", "rsa2048", ["--cert-digest-algo", "SHA1"], "never"],
  ] as const) {
    await gpgKey(folder, { userId, before: options, algorithm, expiry });
    await folder.gpg(["--armor", "--output", `${userId}.asc`, "--export-secret-keys", userId]);
    const bytes = await readFile(join(folder.path, `${userId}.asc`));
    await assert.rejects(readSigningKey(bytes, { now: new Date() }), { code: "key_unfit", detail: userId.startsWith("sha1") ? "key_weak" : "key_expired" });
  }
});

test("several keys are exported so that each client finds them: one block for apt, a block each for rpm", async (t) => {
  if (!needClient(t, "gpg", "rpmkeys")) return;
  const folder = await gpgFolder(t);
  const keys = algorithms.map((algorithm) => Buffer.from(keyOf(algorithm).generated.publicKey));
  await folder.write("all.gpg", await exportPublicKeys(keys, "gpg"));
  await folder.write("all.asc", await exportPublicKeys(keys, "asc"));
  await folder.write("rpm.asc", await exportPublicKeys(keys, "asc-blocks"));
  for (const name of ["all.gpg", "all.asc", "rpm.asc"]) {
    const shown = await folder.gpg(["--show-keys", "--with-colons", name]);
    assert.equal(shown.stdout.match(/^pub:/gm)?.length, 2, name);
  }
  const database = join(folder.path, "db");
  await folder.run(["rpmkeys", "--dbpath", database, "--import", "rpm.asc"]);
  const listed = await folder.run(["rpm", "--dbpath", database, "-q", "gpg-pubkey"]);
  assert.equal(listed.stdout.trim().split("\n").length, 2);
});

test("text whose lines end in blanks is not clear-signed: the signature would not cover them", async () => {
  await assert.rejects(clearsign("a \nb\n", keyOf("ed25519").key, released), { code: "signature_invalid" });
});
