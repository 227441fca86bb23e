/** minisign keys and signatures, in both directions with the real minisign. */
import assert from "node:assert/strict";
import { sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { minisignDigest, signMinisign, verifyMinisign } from "../../src/trust/minisign.ts";
import {
  formatMinisignPublicKey,
  formatMinisignSecretKey,
  generateMinisignKey,
  isMinisignKeyLocked,
  parseMinisignPublicKey,
  readMinisignSecretKey,
} from "../../src/trust/minisign-key.ts";
import { needClient } from "../support/clients.ts";
import { gpgFolder } from "../support/gpg.ts";

const data = Buffer.from("the sums of a release\n");
const key = generateMinisignKey();
const stranger = generateMinisignKey();
const signature = signMinisign(data, key, "product:acme version:1.5.0");
const lines = signature.split("\n");
const verify = (text: string | Uint8Array, question: { data?: Uint8Array; keys?: (typeof key)[] } = {}): ReturnType<typeof verifyMinisign> =>
  verifyMinisign({ data: question.data ?? data, signature: Buffer.from(text), keys: question.keys ?? [key] });
const withLine = (index: number, text: string): string => lines.with(index, text).join("\n");
const detailOf = (verdict: ReturnType<typeof verifyMinisign>): string => (verdict.kind === "good" ? "good" : verdict.detail);

test("J2 minisign -V accepts our signature and prints our trusted comment, and refuses it over other bytes", async (t) => {
  if (!needClient(t, "minisign")) return;
  const folder = await gpgFolder(t);
  await folder.write("SHA256SUMS", data);
  await folder.write("SHA256SUMS.minisig", signature);
  await folder.write("acme.pub", formatMinisignPublicKey(key));
  const accepted = await folder.run(["minisign", "-V", "-p", "acme.pub", "-m", "SHA256SUMS"]);
  assert.equal(accepted.exitCode, 0, accepted.stderr);
  assert.match(accepted.stdout, /Trusted comment: product:acme version:1\.5\.0/);
  await folder.write("SHA256SUMS", "other bytes\n");
  assert.notEqual((await folder.run(["minisign", "-V", "-p", "acme.pub", "-m", "SHA256SUMS"])).exitCode, 0);
});

test("J2 minisign -S signs with our plain secret key, and we accept what it made", async (t) => {
  if (!needClient(t, "minisign")) return;
  const folder = await gpgFolder(t);
  await folder.write("f", data);
  await folder.write("acme.key", await formatMinisignSecretKey(key));
  const signed = await folder.run(["minisign", "-S", "-s", "acme.key", "-m", "f", "-t", "made by minisign"]);
  assert.equal(signed.exitCode, 0, signed.stderr);
  const verdict = verify(await readFile(join(folder.path, "f.minisig")));
  assert.deepEqual(verdict, { kind: "good", keyId: key.keyId, trustedComment: "made by minisign" });
});

test("J2 minisign opens our passphrase-protected key, made with its own memory limit of 1 GiB", async (t) => {
  if (!needClient(t, "minisign")) return;
  const folder = await gpgFolder(t);
  await folder.write("f", data);
  const protectedKey = await formatMinisignSecretKey(key, { passphrase: "correct horse" });
  assert.equal(isMinisignKeyLocked(protectedKey), true);
  await folder.write("acme.key", protectedKey);
  const signed = await folder.run(["minisign", "-S", "-s", "acme.key", "-m", "f"], "correct horse\n");
  assert.equal(signed.exitCode, 0, signed.stderr);
  assert.equal(verify(await readFile(join(folder.path, "f.minisig"))).kind, "good");
});

test("J2 we open keys that minisign -G made, plain and passphrase-protected, and print its public key byte for byte", async (t) => {
  if (!needClient(t, "minisign")) return;
  const folder = await gpgFolder(t);
  await folder.run(["minisign", "-G", "-W", "-p", "plain.pub", "-s", "plain.key"]);
  await folder.run(["minisign", "-G", "-p", "locked.pub", "-s", "locked.key"], "pass phrase\npass phrase\n");
  for (const [name, passphrase] of [
    ["plain", undefined],
    ["locked", "pass phrase"],
  ] as const) {
    const opened = await readMinisignSecretKey(await readFile(join(folder.path, `${name}.key`), "utf8"), passphrase);
    const published = await readFile(join(folder.path, `${name}.pub`), "utf8");
    assert.equal(formatMinisignPublicKey(opened), published);
    await folder.write("f", data);
    await folder.write("f.minisig", signMinisign(data, opened, name));
    const accepted = await folder.run(["minisign", "-V", "-p", `${name}.pub`, "-m", "f"]);
    assert.equal(accepted.exitCode, 0, accepted.stderr);
    // The same key, written again by us, is what minisign wrote.
    if (passphrase === undefined) assert.equal(await formatMinisignSecretKey(opened), await readFile(join(folder.path, "plain.key"), "utf8"));
  }
});

test("attack 5: a legacy signature by the right key is refused although minisign accepts it", async (t) => {
  if (!needClient(t, "minisign")) return;
  const folder = await gpgFolder(t);
  await folder.write("f", data);
  await folder.write("acme.key", await formatMinisignSecretKey(key));
  await folder.write("acme.pub", formatMinisignPublicKey(key));
  await folder.run(["minisign", "-S", "-l", "-s", "acme.key", "-m", "f"]);
  assert.equal((await folder.run(["minisign", "-V", "-p", "acme.pub", "-m", "f"])).exitCode, 0);
  const legacy = await readFile(join(folder.path, "f.minisig"));
  assert.equal(detailOf(verify(legacy)), "minisig_legacy");
  assert.equal(detailOf(verify(legacy, { keys: [stranger] })), "minisig_key_unknown");
});

test("signing the same bytes with the same key twice gives the same signature", () => {
  assert.equal(signMinisign(data, key, "product:acme version:1.5.0"), signature);
});

test("attack 3: a signature by an unknown key is minisig_key_unknown", () => {
  assert.equal(detailOf(verify(signature, { keys: [stranger] })), "minisig_key_unknown");
  assert.equal(detailOf(verify(signature, { keys: [] })), "minisig_key_unknown");
});

test("attack 3: an unknown key that claims the id of a trusted one is minisig_bad", () => {
  const impostor = { ...stranger, keyId: key.keyId };
  assert.equal(detailOf(verify(signMinisign(data, impostor, "x"))), "minisig_bad");
});

test("attack 4: an edited trusted comment is minisig_bad although the first signature holds", () => {
  assert.equal(detailOf(verify(withLine(2, "trusted comment: product:acme version:9.9.9"))), "minisig_bad");
});

test("the untrusted comment may be changed by anyone and changes nothing", () => {
  assert.equal(verify(withLine(0, "untrusted comment: something else")).kind, "good");
});

test("other data, a flipped bit in either signature, or signatures of two files mixed are minisig_bad", () => {
  assert.equal(detailOf(verify(signature, { data: Buffer.from("other") })), "minisig_bad");
  const flip = (base64: string): string => {
    const bytes = Buffer.from(base64, "base64");
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    return bytes.toString("base64");
  };
  assert.equal(detailOf(verify(withLine(1, flip(lines[1] ?? "")))), "minisig_bad");
  assert.equal(detailOf(verify(withLine(3, flip(lines[3] ?? "")))), "minisig_bad");
  const other = signMinisign(Buffer.from("other"), key, "product:acme version:1.5.0").split("\n");
  assert.equal(detailOf(verify(withLine(3, other[3] ?? ""))), "minisig_bad");
});

test("a trusted comment with an escape sequence is minisig_bad although both signatures hold: it could hide text on a terminal", () => {
  const comment = "\u001b[2Kproduct:acme version:1.5.0";
  const first = sign(null, minisignDigest(data), key.privateKey);
  const head = Buffer.from(lines[1] ?? "", "base64").subarray(0, 10);
  const global = sign(null, Buffer.concat([first, Buffer.from(comment)]), key.privateKey);
  const text = [lines[0] ?? "", Buffer.concat([head, first]).toString("base64"), `trusted comment: ${comment}`, global.toString("base64"), ""].join("\n");
  assert.equal(detailOf(verify(text)), "minisig_bad");
});

test("during a key rotation either trusted key is enough", () => {
  assert.equal(verify(signature, { keys: [stranger, key] }).kind, "good");
});

const malformed: readonly (readonly [title: string, text: string])[] = [
  ["CRLF line ends", signature.replaceAll("\n", "\r\n")],
  ["a fifth line", `${signature}x\n`],
  ["an empty fifth line", `${signature}\n`],
  ["three lines", lines.slice(0, 3).join("\n")],
  ["no last line feed", signature.slice(0, -1)],
  ["nothing in it", ""],
  ["another first prefix", withLine(0, "comment: x")],
  ["another third prefix", withLine(2, "trusted comment:x")],
  ["an escape sequence in the trusted comment", withLine(2, "trusted comment: \u001b[2K")],
  ["blanks in the base64", withLine(1, ` ${lines[1] ?? ""}`)],
  ["a trusted comment of 9000 bytes", withLine(2, `trusted comment: ${"x".repeat(9000)}`)],
  ["an algorithm of its own", withLine(1, Buffer.concat([Buffer.from("XX"), Buffer.from(lines[1] ?? "", "base64").subarray(2)]).toString("base64"))],
];

for (const [title, text] of malformed) {
  test(`a minisign signature with ${title} is minisig_bad`, () => {
    assert.equal(detailOf(verify(text)), "minisig_bad");
  });
}

test("bytes that are no UTF-8, and a file of a megabyte, are minisig_bad", () => {
  assert.equal(detailOf(verify(Buffer.concat([Buffer.from("untrusted comment: "), Buffer.from([0xff]), Buffer.from(signature)]))), "minisig_bad");
  const huge = verify(Buffer.alloc(1024 * 1024, 0x61));
  assert.equal(detailOf(huge), "minisig_bad");
  assert.match(huge.kind === "bad" ? huge.message : "", /1048576 bytes; the limit is/);
});

test("a locked key without or with the wrong passphrase is key_locked; the right one opens it", async () => {
  const locked = await formatMinisignSecretKey(key, { passphrase: "right", memoryBytes: 16 * 1024 * 1024 });
  await assert.rejects(readMinisignSecretKey(locked), { code: "key_locked" });
  await assert.rejects(readMinisignSecretKey(locked, "wrong"), { code: "key_locked" });
  assert.equal((await readMinisignSecretKey(locked, "right")).keyId, key.keyId);
});

test("a damaged secret key, a swapped public half, and a key that asks for 64 GiB are refused", async () => {
  const bytes = Buffer.from((await formatMinisignSecretKey(key)).split("\n")[1] ?? "", "base64");
  const write = (change: (copy: Buffer) => void): string => {
    const copy = Buffer.from(bytes);
    change(copy);
    return copy.toString("base64");
  };
  await assert.rejects(readMinisignSecretKey(write((copy) => copy.writeUInt8(copy.readUInt8(64) ^ 1, 64))), { code: "key_invalid" });
  await assert.rejects(readMinisignSecretKey(write((copy) => copy.set(stranger.publicKey, 54 + 40))), { code: "key_invalid" });
  const greedy = write((copy) => {
    copy.write("Sc", 2);
    copy.writeBigUInt64LE(2n ** 31n, 38);
    copy.writeBigUInt64LE(2n ** 36n, 46);
  });
  await assert.rejects(readMinisignSecretKey(greedy, "x"), { code: "key_invalid" });
});

test("public keys are read as a file and as a bare line; anything else is key_invalid and is not repeated in the message", () => {
  const text = formatMinisignPublicKey(key);
  assert.deepEqual(parseMinisignPublicKey(text), { keyId: key.keyId, publicKey: key.publicKey });
  assert.equal(parseMinisignPublicKey(text.split("\n")[1] ?? "").keyId, key.keyId);
  for (const wrong of ["", "RWQ", `${text}${text}`, text.replace("untrusted", "trusted")]) {
    assert.throws(() => parseMinisignPublicKey(wrong), { code: "key_invalid" });
  }
});
