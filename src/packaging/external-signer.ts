/**
 * Release keys that never come into this process: in gpg's agent (or on a card behind it), or behind a command of the vendor's own, which is how
 * a KMS or HSM is reached. Every signature that comes back is verified before it is used.
 *
 *   agent:gpg:<fingerprint>   gpg signs; the date is frozen to the release's, so that equal input gives an equal signature
 *   command:<path>            an executable of the recipe's folder, called with one word; bytes on its stdin, text on its stdout:
 *     openpgp-public          an armored public key
 *     openpgp-sign            an armored detached signature over stdin; SLIPWAY_SIGN_EPOCH says the date in seconds
 *     minisign-public         a minisign public key
 *     ed25519-sign            base64 of the 64 bytes of an Ed25519 signature over stdin (RFC 8032), by that key
 */
import { createPublicKey, verify } from "node:crypto";
import { isAbsolute } from "node:path";
import { cleanEnvironment, runCommand } from "../io/command.ts";
import { safeJoin } from "../io/safe-path.ts";
import { SlipwayError } from "../model/errors.ts";
import type { KeyReference } from "../trust/key-reference.ts";
import { minisignDigest, minisignText } from "../trust/minisign.ts";
import { parseMinisignPublicKey } from "../trust/minisign-key.ts";
import { fingerprintOf, readPublicKeys } from "../trust/openpgp.ts";
import { judgeKey } from "../trust/openpgp-key-fitness.ts";
import { pinKeys, unarmorSignature, verifyDetached } from "../trust/openpgp-verify.ts";
import type { ReleaseSigner } from "../trust/release-signature.ts";

export type ExternalReference = Extract<KeyReference, { readonly kind: "agent" | "command" }>;

export type ExternalOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly folder: string;
  readonly now: Date;
  readonly epochSeconds: number;
};

/** A card wants its PIN typed, an HSM its quorum: minutes, not seconds. */
const timeoutMs = 300_000;
/** What commands may want to know besides the usual: where gpg's home is, how to reach a cloud's KMS. Secrets stay in the environment. */
const passedOn = /^(GNUPGHOME|GPG_TTY|AWS_|AZURE_|GOOGLE_|GCP_|VAULT_|PKCS11_|SOFTHSM2_|SLIPWAY_SIGN_)/;

type Call = (word: string, input?: Uint8Array) => Promise<string>;

/** The OpenPGP part of a release signer. Throws `key_missing`, `key_unfit`, `command_failed`; a signature that does not verify is `signature_invalid`. */
export async function externalOpenpgp(reference: ExternalReference, options: ExternalOptions): Promise<ReleaseSigner> {
  const call = callerOf(reference, options);
  const armored = await call("openpgp-public");
  const [key, ...others] = await readPublicKeys(Buffer.from(armored));
  if (key === undefined || others.length > 0) throw new SlipwayError("key_invalid", "the signer must name exactly one public OpenPGP key");
  const fitness = await judgeKey(key, options.now);
  if (fitness.kind !== "fit") throw new SlipwayError("key_unfit", fitness.why, { detail: `key_${fitness.kind}` });
  const keyring = await pinKeys(Buffer.from(armored), [fingerprintOf(key)]);
  const sign = async (bytes: Uint8Array): Promise<Uint8Array> => {
    const signature = await unarmorSignature(Buffer.from(await call("openpgp-sign", bytes)));
    if (signature === undefined) throw new SlipwayError("signature_invalid", "the signer returned no armored signature");
    const verdict = await verifyDetached({ data: bytes, signature, keyring, now: options.now });
    if (verdict.kind === "bad")
      throw new SlipwayError("signature_invalid", `what the signer returned is not a good signature: ${verdict.message}`, { detail: verdict.detail });
    return signature;
  };
  const isRsa = key.getAlgorithmInfo().algorithm.startsWith("rsa");
  return {
    openpgpDetached: sign,
    rpmHeader: async (header) => ({ packet: await sign(header), algorithm: isRsa ? "rsa" : "eddsa" }),
    publicKeys: { openpgp: key.armor() },
    keyIds: { openpgp: fingerprintOf(key) },
  };
}

/** The minisign part; an agent of gpg has none. Throws as externalOpenpgp does. */
export async function externalMinisign(reference: ExternalReference, options: ExternalOptions): Promise<ReleaseSigner> {
  if (reference.kind === "agent")
    throw new SlipwayError("key_unfit", "gpg's agent makes no minisign signatures", { hint: "name a command for sign.minisign, or a key" });
  const call = callerOf(reference, options);
  const publicText = await call("minisign-public");
  const { keyId, publicKey } = parseMinisignPublicKey(publicText);
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(publicKey).toString("base64url") }, format: "jwk" });
  const sign = async (message: Uint8Array): Promise<Uint8Array> => {
    const signature = Buffer.from((await call("ed25519-sign", message)).trim(), "base64");
    if (signature.length !== 64 || !verify(null, message, key, signature)) {
      throw new SlipwayError("signature_invalid", `what the signer returned is not a signature by the minisign key ${keyId}`);
    }
    return signature;
  };
  return {
    minisign: async (bytes, trustedComment) => {
      const signature = await sign(minisignDigest(bytes));
      const globalSignature = await sign(Buffer.concat([signature, Buffer.from(trustedComment)]));
      return minisignText({ keyId, signature, trustedComment, globalSignature });
    },
    envelope: async (message) => ({ keyId, signature: await sign(message) }),
    publicKeys: { minisign: publicText },
    keyIds: { minisign: keyId },
  };
}

/** The public half alone, for registering it on a server. */
export async function externalPublicKey(
  reference: ExternalReference,
  kind: "openpgp" | "minisign",
  options: Omit<ExternalOptions, "now" | "epochSeconds">,
): Promise<string> {
  return callerOf(reference, { ...options, now: new Date(0), epochSeconds: 0 })(`${kind}-public`);
}

function callerOf(reference: ExternalReference, options: ExternalOptions): Call {
  const env = environment(options);
  if (reference.kind === "agent") return gpgCaller(reference.fingerprint, env, options.epochSeconds);
  const program = isAbsolute(reference.path) ? reference.path : safeJoin(options.folder, reference.path);
  return (word, input) =>
    run([program, word], { env: { ...env, SLIPWAY_SIGN_EPOCH: String(options.epochSeconds) }, cwd: options.folder, ...(input === undefined ? {} : { input }) });
}

function gpgCaller(fingerprint: string, env: Record<string, string>, epochSeconds: number): Call {
  const gpg = ["gpg", "--batch", "--no-tty", "--armor", "--no-emit-version"];
  return async (word, input) => {
    if (word === "openpgp-public") {
      const text = await run([...gpg, "--export-options", "export-minimal", "--export", fingerprint], { env });
      if (text.trim() === "")
        throw new SlipwayError("key_missing", `gpg knows no key ${fingerprint}`, { hint: "look with `gpg --list-secret-keys`; GNUPGHOME names another home" });
      return text;
    }
    // Never before the key exists: gpg refuses that, and so does every verifier.
    const made = Number(/^pub:(?:[^:]*:){4}(\d+)/m.exec(await run(["gpg", "--batch", "--with-colons", "--list-keys", fingerprint], { env }))?.[1] ?? 0);
    const date = Math.max(epochSeconds, made + 1);
    const sign = ["--digest-algo", "SHA512", "--faked-system-time", `${date}!`, "--local-user", fingerprint, "--detach-sign"];
    return run([...gpg, ...sign], { env, ...(input === undefined ? {} : { input }) });
  };
}

async function run(
  argv: readonly string[],
  options: { readonly env: Record<string, string>; readonly cwd?: string; readonly input?: Uint8Array },
): Promise<string> {
  const result = await runCommand(argv, { ...options, timeoutMs });
  if (result.exitCode === 0) return result.stdout;
  const why = result.isTimedOut ? `no answer within ${timeoutMs / 60_000} minutes` : `exit ${result.exitCode ?? result.signal}`;
  throw new SlipwayError("command_failed", `${argv[0] ?? ""}: ${why}: ${result.stderr.trim().split("\n").slice(-3).join("\n").slice(0, 1000)}`);
}

function environment({ env }: ExternalOptions): Record<string, string> {
  const passed = Object.entries(env).flatMap(([name, value]) => (value !== undefined && passedOn.test(name) ? [[name, value] as const] : []));
  return { ...cleanEnvironment(), LC_ALL: "C", ...Object.fromEntries(passed) };
}
