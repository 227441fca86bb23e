/** What a program imports as `slipway/trust`: the way from downloaded bytes to a release that may be installed, and nothing that signs. */
export { parseDigest } from "../model/digest.ts";
export { type ErrorCode, SlipwayError } from "../model/errors.ts";
export { parseVersion, type Version } from "../model/version.ts";
export { type Checksums, digestOf, parseChecksums } from "./checksums.ts";
export { createTrustPolicy, type TrustPolicy, type TrustPolicySource } from "./keyring.ts";
export { parseMinisignPublicKey } from "./minisign-key.ts";
export { verifyMinisign } from "./minisign.ts";
export type { Verified } from "./verified.ts";
export { type ReleaseDescription, requireArtifact, type SignatureFiles, verifyRelease, verifySums } from "./verify-release.ts";
