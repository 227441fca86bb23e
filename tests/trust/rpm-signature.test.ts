/** The hand-written signature packet of an rpm, judged by rpm on packages of our own writer. */
import assert from "node:assert/strict";
import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { enums, readSignature } from "openpgp";
import { parseVersion } from "../../src/model/version.ts";
import { generateOpenpgpKey, type OpenpgpSigningKey, readSigningKey } from "../../src/trust/openpgp.ts";
import { pinKeys, verifyDetached } from "../../src/trust/openpgp-verify.ts";
import { signRpmHeader } from "../../src/trust/rpm-signature.ts";
import { findProgram, needClient } from "../support/clients.ts";
import { gpgFolder, gpgKey } from "../support/gpg.ts";
import { printingPackage, writeTestRpm } from "../support/test-packages.ts";

const created = new Date("2026-01-01T00:00:00Z");
const now = new Date("2026-03-01T12:00:00Z");
const released = Date.parse("2026-03-01T11:00:00Z") / 1000;
const header = Buffer.from("8eade80100000000 not really a header");
const algorithms = ["rsa4096", "ed25519"] as const;
const vendors = new Map<string, { readonly key: OpenpgpSigningKey; readonly publicKey: string }>();

before(async () => {
  for (const algorithm of algorithms) {
    const generated = await generateOpenpgpKey({ userId: "Acme <release@acme.example>", algorithm, now: created });
    vendors.set(algorithm, { key: await readSigningKey(Buffer.from(generated.secretKey), { now }), publicKey: generated.publicKey });
  }
});

function vendor(algorithm: string): { readonly key: OpenpgpSigningKey; readonly publicKey: string } {
  const found = vendors.get(algorithm);
  assert.ok(found);
  return found;
}

for (const algorithm of algorithms) {
  test(`C13 rpmkeys -K with _pkgverify_level all accepts an rpm signed with ${algorithm}, and refuses it without the key or with a changed byte (regression 12)`, async (t) => {
    if (!needClient(t, "rpmkeys", "rpm")) return;
    const { key, publicKey } = vendor(algorithm);
    const folder = await gpgFolder(t);
    const path = join(folder.path, "acme.rpm");
    await writeFile(path, await writeTestRpm(printingPackage("acme", parseVersion("1.4.2")), async (bytes) => signRpmHeader(bytes, key, released)));
    await folder.write("acme.asc", publicKey);
    const database = join(folder.path, "db");
    const check = (): ReturnType<typeof folder.run> => folder.run(["rpmkeys", "--dbpath", database, "--define", "_pkgverify_level all", "-Kv", path]);
    assert.notEqual((await check()).exitCode, 0);
    assert.equal((await folder.run(["rpmkeys", "--dbpath", database, "--import", "acme.asc"])).exitCode, 0);
    const accepted = await check();
    assert.equal(accepted.exitCode, 0, accepted.stdout + accepted.stderr);
    const keyId = key.fingerprint.slice(-8).toLowerCase();
    assert.match(accepted.stdout, new RegExp(`Header V4 (RSA/SHA512|EdDSA/SHA512) Signature, key ID ${keyId}: OK`));
    const shown = await folder.run(["rpm", "--dbpath", database, "-qp", "--qf", algorithm === "rsa4096" ? "%{RSAHEADER:pgpsig}" : "%{DSAHEADER:pgpsig}", path]);
    assert.match(shown.stdout, new RegExp(`SHA512, Sun Mar  ?1 .* 2026, Key ID ${key.fingerprint.slice(-16).toLowerCase()}`));
    await flipLastByte(path);
    assert.notEqual((await check()).exitCode, 0);
  });

  test(`the packet of ${algorithm} marks nothing critical, has no notation, names time and issuer in its hashed part, and verifies as a detached signature`, async () => {
    const { key, publicKey } = vendor(algorithm);
    const signature = signRpmHeader(header, key, released);
    assert.equal(signature.algorithm, algorithm === "rsa4096" ? "rsa" : "eddsa");
    const { packets } = await readSignature({ binarySignature: signature.packet });
    const [packet] = packets;
    assert.equal(packet?.signatureType, enums.signature.binary);
    assert.equal(packet?.hashAlgorithm, enums.hash.sha512);
    assert.equal(packet?.rawNotations.length, 0);
    assert.equal(packet?.unhashedSubpackets.length, 0);
    assert.deepEqual(hashedTypes(signature.packet), [2, 33, 16]);
    const keyring = await pinKeys(Buffer.from(publicKey));
    const verdict = await verifyDetached({ data: header, signature: signature.packet, keyring, now });
    assert.deepEqual(verdict, { kind: "good", fingerprint: key.fingerprint, signedAt: new Date(released * 1000) });
    assert.deepEqual(signRpmHeader(header, key, released), signature);
  });
}

for (const [customer, tag] of [
  ["rsa3072", "RSAHEADER"],
  ["ed25519", "DSAHEADER"],
] as const) {
  test(`C13 rpmsign --resign puts a customer's own ${customer} signature in our room, in place of ours or where there was none`, async (t) => {
    if (!needClient(t, "rpmsign", "rpmkeys", "gpg")) return;
    const { key } = vendor("rsa4096");
    const folder = await gpgFolder(t);
    const publicKey = await gpgKey(folder, { userId: "Customer <ops@customer.example>", algorithm: customer });
    await folder.write("customer.asc", publicKey);
    const database = join(folder.path, "db");
    assert.equal((await folder.run(["rpmkeys", "--dbpath", database, "--import", "customer.asc"])).exitCode, 0);
    const spec = printingPackage("acme", parseVersion("1.4.2"));
    for (const [name, bytes] of [
      ["signed.rpm", await writeTestRpm(spec, async (mainHeader) => signRpmHeader(mainHeader, key, released))],
      ["unsigned.rpm", await writeTestRpm(spec)],
    ] as const) {
      await folder.write(name, bytes);
      const defines = [
        "--define",
        "_gpg_name ops@customer.example",
        "--define",
        `_gpg_path ${join(folder.path, "home")}`,
        "--define",
        `__gpg ${findProgram("gpg")}`,
      ];
      const resigned = await folder.run(["rpmsign", ...defines, "--resign", name]);
      assert.equal(resigned.exitCode, 0, resigned.stderr);
      const after = await readFile(join(folder.path, name));
      const [mainBefore, mainAfter] = [mainHeaderStart(bytes), mainHeaderStart(after)];
      if (name === "unsigned.rpm") assert.equal(mainAfter, mainBefore, "the signature went into RESERVEDSPACE: nothing behind it moved");
      assert.deepEqual(after.subarray(mainAfter), Buffer.from(bytes.subarray(mainBefore)), "main header and payload are untouched");
      const checked = await folder.run(["rpmkeys", "--dbpath", database, "--define", "_pkgverify_level all", "-Kv", name]);
      assert.equal(checked.exitCode, 0, checked.stdout + checked.stderr);
      const other = tag === "RSAHEADER" ? "DSAHEADER" : "RSAHEADER";
      const shown = await folder.run(["rpm", "--dbpath", database, "-qp", "--qf", `%{${tag}:pgpsig}|%{${other}:pgpsig}`, name]);
      assert.match(shown.stdout, /^(RSA|EdDSA)\/SHA\d+, .*\|\(none\)$/);
    }
  });
}

test("gpgv accepts the packet as a detached signature over the header", async (t) => {
  if (!needClient(t, "gpg")) return;
  for (const algorithm of algorithms) {
    const { key, publicKey } = vendor(algorithm);
    const folder = await gpgFolder(t);
    await folder.write("header", header);
    await folder.write("header.sig", signRpmHeader(header, key, released).packet);
    await folder.write("acme.asc", publicKey);
    await folder.gpg(["--import", "acme.asc"]);
    const verified = await folder.gpg(["--verify", "header.sig", "header"]);
    assert.match(verified.stdout, /GOODSIG/, verified.stderr);
  }
});

test("a hundred headers signed with Ed25519 all verify: numbers with leading zeros are shortened", async () => {
  const { key, publicKey } = vendor("ed25519");
  const keyring = await pinKeys(Buffer.from(publicKey));
  for (let index = 0; index < 100; index += 1) {
    const data = Buffer.from(`header ${index}`);
    const { packet } = signRpmHeader(data, key, released);
    assert.equal((await verifyDetached({ data, signature: packet, keyring, now })).kind, "good", `header ${index}`);
  }
});

/** Where the main header begins: behind the lead (96 bytes) and the signature header, padded to eight. */
function mainHeaderStart(rpm: Uint8Array): number {
  const view = new DataView(rpm.buffer, rpm.byteOffset);
  const size = 16 + view.getUint32(96 + 8) * 16 + view.getUint32(96 + 12);
  return 96 + Math.ceil(size / 8) * 8;
}

/** Types of the hashed subpackets with their critical bit. */
function hashedTypes(packet: Uint8Array): readonly number[] {
  const view = Buffer.from(packet);
  const end = 9 + view.readUInt16BE(7);
  const types: number[] = [];
  for (let at = 9; at < end; at += 1 + view.readUInt8(at)) types.push(view.readUInt8(at + 1));
  return types;
}

async function flipLastByte(path: string): Promise<void> {
  const handle = await open(path, "r+");
  try {
    const { size } = await handle.stat();
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, size - 1);
    byte.writeUInt8(byte.readUInt8(0) ^ 1);
    await handle.write(byte, 0, 1, size - 1);
  } finally {
    await handle.close();
  }
}
