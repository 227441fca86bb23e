/**
 * The interoperation list: what gpgv 2.2, sqv under apt's own policy, rpmkeys and minisign say about our signatures and keys, during a rotation,
 * too; and what they wrongly let pass, side by side with what our verifier says about the same bytes.
 */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import * as openpgp from "openpgp";
import { exportPublicKeys, generateOpenpgpKey, readSigningKey, signDetached } from "../../src/trust/openpgp.ts";
import { pinKeys, verifyDetached } from "../../src/trust/openpgp-verify.ts";
import { withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import { crookedSignature } from "../support/crooked-signature.ts";
import { type GpgFolder, gpgFolder } from "../support/gpg.ts";

const data = Buffer.from(`${"0".repeat(64)}  acme_1.5.0_amd64.deb\n`);
const made = new Date("2026-01-01T00:00:00Z");
const now = new Date("2026-06-01T00:00:00Z");
const released = Math.floor(Date.parse("2026-03-01T00:00:00Z") / 1000);

type Signed = { readonly signature: Uint8Array; readonly publicKey: string };
let first: Signed;
let next: Signed;
let weak: openpgp.PrivateKey;

const signWith = async (userId: string): Promise<Signed> => {
  const key = await generateOpenpgpKey({ userId, algorithm: "rsa4096", now: made });
  return { publicKey: key.publicKey, signature: await signDetached(data, await readSigningKey(Buffer.from(key.secretKey), { now }), released) };
};

before(async () => {
  first = await signWith("Acme Releases <release@acme.example>");
  next = await signWith("Acme Releases 2 <release@acme.example>");
  const generated = await openpgp.generateKey({ type: "rsa", rsaBits: 2048, userIDs: [{ name: "Acme" }], subkeys: [], date: made, format: "object" });
  weak = generated.privateKey;
});

/** N-1 by the old key, N+1 by the new one, both in the keyring that customers install with N: the overlap of an OpenPGP rotation. */
const overlap = (): Promise<Uint8Array> => exportPublicKeys([Buffer.from(first.publicKey), Buffer.from(next.publicKey)], "gpg");

test("J10 C14 gpgv accepts both keys' releases with the overlapping keyring, and neither without its key", async (t) => {
  if (!needClient(t, "gpgv")) return;
  const folder = await gpgFolder(t);
  await folder.write("SHA256SUMS", data);
  await folder.write("both.gpg", await overlap());
  await folder.write("old.gpg", await exportPublicKeys([Buffer.from(first.publicKey)], "gpg"));
  const judge = async (keyring: string, signature: Uint8Array): Promise<number | null> => {
    await folder.write("SHA256SUMS.sig", signature);
    return (await folder.run(["gpgv", "--keyring", `./${keyring}`, "SHA256SUMS.sig", "SHA256SUMS"])).exitCode;
  };
  assert.deepEqual([await judge("both.gpg", first.signature), await judge("both.gpg", next.signature), await judge("old.gpg", first.signature)], [0, 0, 0]);
  assert.notEqual(await judge("old.gpg", next.signature), 0);
});

test("J10 rpmkeys imports both keys of a rotation", async (t) => {
  if (!needClient(t, "rpmkeys")) return;
  const folder = await gpgFolder(t);
  const keyring = await exportPublicKeys([Buffer.from(first.publicKey), Buffer.from(next.publicKey)], "asc-blocks");
  await folder.write("acme.asc", keyring);
  await mkdir(join(folder.path, "db"));
  const imported = await folder.run(["rpmkeys", "--dbpath", join(folder.path, "db"), "--import", "acme.asc"]);
  assert.equal(imported.exitCode, 0, imported.stderr);
  const listed = await folder.run(["rpm", "--dbpath", join(folder.path, "db"), "-qa", "gpg-pubkey*"]);
  assert.equal(listed.stdout.trim().split("\n").length, 2, listed.stdout);
});

test("sqv under apt's own policy accepts our signature, and refuses SHA-1 and a revoked key as we do", async (t) => {
  await withAptRoot(
    t,
    async (root) => {
      const work = join(root.path, "work");
      await mkdir(work);
      await writeFile(join(work, "SHA256SUMS"), data);
      const judge = async (publicKey: string, signature: Uint8Array): Promise<number | null> => {
        await writeFile(join(work, "key.asc"), publicKey);
        await writeFile(join(work, "SHA256SUMS.sig"), signature);
        const policy = "SEQUOIA_CRYPTO_POLICY=/usr/share/apt/default-sequoia.config";
        return (await root.command(["env", policy, "sqv", "--keyring", "/work/key.asc", "/work/SHA256SUMS.sig", "/work/SHA256SUMS"])).exitCode;
      };
      assert.equal(await judge(first.publicKey, first.signature), 0);
      const sha1 = await crookedSignature({ key: weak, data, date: new Date(released * 1000), hash: "sha1" });
      assert.notEqual(await judge(weak.toPublic().armor(), sha1), 0);
      const { publicKey } = await openpgp.revokeKey({ key: weak, format: "object" });
      assert.notEqual(await judge(publicKey.armor(), await crookedSignature({ key: weak, data, date: new Date(released * 1000) })), 0);
    },
    { generation: "trixie" },
  );
});

/** Bytes that gpgv exits 0 for, or prints nothing but a warning about, and that must not pass here. */
const wronglyAccepted: readonly { readonly name: string; readonly detail: string; readonly make: () => Promise<{ key: string; signature: Uint8Array }> }[] = [
  {
    name: "7 by a revoked key",
    detail: "gpg_revoked",
    make: async () => {
      const { publicKey } = await openpgp.revokeKey({ key: weak, format: "object" });
      return { key: publicKey.armor(), signature: await crookedSignature({ key: weak, data, date: new Date(released * 1000) }) };
    },
  },
  {
    name: "8 with SHA-1",
    detail: "gpg_weak_hash",
    make: async () => ({ key: weak.toPublic().armor(), signature: await crookedSignature({ key: weak, data, date: new Date(released * 1000), hash: "sha1" }) }),
  },
  {
    name: "8 by a key that has expired",
    detail: "gpg_expired",
    make: async () => {
      const { privateKey } = await openpgp.generateKey({
        type: "rsa",
        rsaBits: 2048,
        userIDs: [{ name: "Acme" }],
        subkeys: [],
        date: made,
        keyExpirationTime: 90 * 86_400,
        format: "object",
      });
      return { key: privateKey.toPublic().armor(), signature: await crookedSignature({ key: privateKey, data, date: new Date(released * 1000) }) };
    },
  },
  {
    name: "dated in the future",
    detail: "gpg_bad",
    make: async () => ({ key: weak.toPublic().armor(), signature: await crookedSignature({ key: weak, data, date: new Date("2027-01-01T00:00:00Z") }) }),
  },
];

for (const { name, detail, make } of wronglyAccepted) {
  test(`a signature ${name}: gpgv exits 0, we refuse it with ${detail}`, async (t) => {
    if (!needClient(t, "gpg", "gpgv", "faketime")) return;
    const { key, signature } = await make();
    const folder = await gpgFolder(t);
    assert.equal(await gpgvAt(folder, key, signature), 0, "gpgv");
    const verdict = await verifyDetached({ data, signature, keyring: await pinKeys(Buffer.from(key)), now });
    assert.equal(verdict.kind === "bad" ? verdict.detail : "accepted", detail);
  });
}

async function gpgvAt(folder: GpgFolder, key: string, signature: Uint8Array): Promise<number | null> {
  await folder.write("key.asc", key);
  await folder.write("key.gpg", await exportPublicKeys([Buffer.from(key)], "gpg"));
  await folder.write("SHA256SUMS", data);
  await folder.write("SHA256SUMS.sig", signature);
  return (await folder.run(["faketime", now.toISOString().slice(0, 19).replace("T", " "), "gpgv", "--keyring", "./key.gpg", "SHA256SUMS.sig", "SHA256SUMS"]))
    .exitCode;
}
