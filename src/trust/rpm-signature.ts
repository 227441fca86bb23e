/**
 * The OpenPGP signature inside an rpm: a v4 packet over the bytes of the main header.
 *
 * rpm 4.14 and 4.16 do not mask the critical bit of a subpacket's type, so a creation time marked critical (as OpenPGP.js does) shows as
 * "key ID 00000000, 1970" and the package is refused (rpm rpmio/rpmpgp.c): hence a packet of our own, in which nothing is critical.
 */
import type { OpenpgpSigningKey } from "./openpgp.ts";
import { createPacketSigner } from "./openpgp-packet.ts";

/** `rsa` goes to signature header tag 268 (RSAHEADER), `eddsa` to 267 (DSAHEADER), as rpm's own rpmsign does. */
export type RpmSignature = { readonly packet: Uint8Array; readonly algorithm: "rsa" | "eddsa" };

/** Signs the main header (its intro, index and data). Throws `key_unfit` for a key that rpm cannot check (only RSA and EdDSALegacy). */
export function signRpmHeader(header: Uint8Array, key: OpenpgpSigningKey, epochSeconds: number): RpmSignature {
  const signer = createPacketSigner(key, epochSeconds);
  signer.update(header);
  return { packet: signer.finish(), algorithm: signer.algorithm };
}
