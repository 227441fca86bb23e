/** OpenPGP.js, loaded when a key or signature is really looked at: 45 ms that an updater which only knows minisign does not pay. */
import type * as Openpgp from "openpgp";

export type OpenpgpLibrary = typeof Openpgp;

export async function loadOpenpgp(): Promise<OpenpgpLibrary> {
  return import("openpgp");
}

/**
 * The settings of every call: no random notation (equal input, equal signature), nothing unknown skipped while reading.
 * Which keys and hashes are good enough is decided by openpgp-key-fitness.ts and openpgp-verify.ts, so the library's own date- and
 * hash-dependent refusals are switched off: a revocation made with SHA-1 must still revoke.
 */
export function openpgpSettings(openpgp: OpenpgpLibrary): Openpgp.Config {
  return {
    ...openpgp.config,
    nonDeterministicSignaturesViaNotation: false,
    preferredHashAlgorithm: openpgp.enums.hash.sha512,
    aeadProtect: false, // gpg 2.2 reads secret keys only with the older protection
    ignoreUnsupportedPackets: false,
    ignoreMalformedPackets: false,
    rejectHashAlgorithms: new Set(),
    rejectMessageHashAlgorithms: new Set(),
    rejectPublicKeyAlgorithms: new Set(),
    minRSABits: 1024,
    showVersion: false,
    showComment: false,
  };
}
