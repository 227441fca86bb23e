/** Keys that stay elsewhere: in gpg's agent and behind a command; the real gpg, gpgv, rpmkeys and minisign judge what comes back. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { loadReleaseSigner, type SignerOptions } from "../../src/packaging/release-signer.ts";
import { formatMinisignPublicKey } from "../../src/trust/minisign-key.ts";
import { signSums } from "../../src/trust/release-signature.ts";
import { needClient } from "../support/clients.ts";
import { type GpgFolder, gpgFolder, gpgKey } from "../support/gpg.ts";

const sums = Buffer.from(`${"0".repeat(64)}  acme_1.5.0_amd64.deb\n`);
const release = { sums, sumsName: "SHA256SUMS", product: "acme", version: parseVersion("1.5.0"), sequence: 57 };

const optionsFor = (folder: GpgFolder, env: Readonly<Record<string, string>> = {}): SignerOptions => ({
  env: { GNUPGHOME: join(folder.path, "home"), ...env },
  folder: folder.path,
  now: new Date(Date.now() + 60_000),
  epochSeconds: Math.floor(Date.now() / 1000) + 10,
  passphrase: () => Promise.resolve(undefined),
});

for (const algorithm of ["rsa3072", "ed25519"]) {
  test(`a release is signed by an ${algorithm} key that stays in gpg's agent, the same bytes each time, and gpgv accepts it`, async (t) => {
    if (!needClient(t, "gpg", "gpgv", "faketime")) return;
    const folder = await gpgFolder(t);
    const exported = await gpgKey(folder, { userId: "Acme Releases <release@acme.example>", algorithm });
    const fingerprint = /fpr:+([0-9A-F]{40}):/.exec((await folder.gpg(["--with-colons", "--list-keys"])).stdout)?.[1] ?? "";
    const options = optionsFor(folder);
    const signer = await loadReleaseSigner({ gpg: `agent:gpg:${fingerprint}` }, options);
    assert.equal(signer.keyIds.openpgp, fingerprint);
    const [signature] = await signSums(release, signer);
    const [again] = await signSums(release, await loadReleaseSigner({ gpg: `agent:gpg:${fingerprint}` }, options));
    assert.deepEqual(Buffer.from(signature?.bytes ?? []), Buffer.from(again?.bytes ?? []));
    await folder.write("SHA256SUMS", sums);
    await folder.write("SHA256SUMS.sig", signature?.bytes ?? "");
    await folder.write("acme.asc", exported);
    assert.equal((await folder.run(["sh", "-c", "gpg --dearmor < acme.asc > acme.gpg"])).exitCode, 0);
    const judged = await folder.run(["faketime", "1 hour", "gpgv", "--keyring", "./acme.gpg", "SHA256SUMS.sig", "SHA256SUMS"]);
    assert.equal(judged.exitCode, 0, judged.stderr);
    const header = await signer.rpmHeader?.(Buffer.from("an rpm's main header"));
    assert.equal(header?.algorithm, algorithm === "ed25519" ? "eddsa" : "rsa");
    assert.equal(((header?.packet[0] ?? 0) & 0x3c) >> 2, 2, "a signature packet");
  });
}

test("a key that gpg does not have is key_missing, and gpg's agent signs neither apks nor with minisign", async (t) => {
  if (!needClient(t, "gpg")) return;
  const folder = await gpgFolder(t);
  const options = optionsFor(folder);
  await assert.rejects(loadReleaseSigner({ gpg: `agent:gpg:${"AB".repeat(20)}` }, options), { code: "key_missing" });
  await assert.rejects(loadReleaseSigner({ minisign: `agent:gpg:${"AB".repeat(20)}` }, options), { code: "key_unfit" });
  await assert.rejects(loadReleaseSigner({ apk: "command:./kms" }, options), { code: "key_unfit" });
});

/** A stand-in for a KMS: Ed25519 by openssl behind the four words of the protocol. */
async function kms(folder: GpgFolder, options: { readonly isWrong?: boolean } = {}): Promise<string> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  await folder.write("kms.pem", privateKey.export({ type: "pkcs8", format: "pem" }));
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  const text = formatMinisignPublicKey({ keyId: "0123456789ABCDEF", publicKey: raw });
  await folder.write("kms.pub", text);
  const sign = options.isWrong === true ? "printf 'AAAA'" : 'openssl pkeyutl -sign -rawin -inkey kms.pem -in "$f" | base64 -w0';
  const path = await folder.write(
    "kms",
    `#!/bin/sh\nset -e\ncase "$1" in\nminisign-public) cat kms.pub ;;\ned25519-sign) f=$(mktemp); cat > "$f"; ${sign}; rm "$f" ;;\n*) exit 64 ;;\nesac\n`,
  );
  await chmod(path, 0o755);
  return text;
}

test("a release is signed by a command, as a KMS or HSM would, and minisign accepts it", async (t) => {
  if (!needClient(t, "openssl", "minisign")) return;
  const folder = await gpgFolder(t);
  await kms(folder);
  const signer = await loadReleaseSigner({ minisign: "command:./kms" }, optionsFor(folder));
  const [signature] = await signSums(release, signer);
  await writeFile(join(folder.path, "SHA256SUMS"), sums);
  await writeFile(join(folder.path, "SHA256SUMS.minisig"), signature?.bytes ?? "");
  const judged = await folder.run(["minisign", "-V", "-p", "kms.pub", "-m", "SHA256SUMS"]);
  assert.equal(judged.exitCode, 0, judged.stderr + judged.stdout);
  assert.match(judged.stdout, /product:acme version:1\.5\.0 seq:57/);
});

test("a command that returns something else than a signature by its key is refused, as one that fails is", async (t) => {
  if (!needClient(t, "openssl")) return;
  const folder = await gpgFolder(t);
  await kms(folder, { isWrong: true });
  const signer = await loadReleaseSigner({ minisign: "command:./kms" }, optionsFor(folder));
  await assert.rejects(signSums(release, signer), { code: "signature_invalid" });
  await assert.rejects(loadReleaseSigner({ gpg: "command:./kms" }, optionsFor(folder)), { code: "command_failed" });
  await assert.rejects(loadReleaseSigner({ minisign: "command:../kms" }, optionsFor(folder)), { code: "path_unsafe" });
});
