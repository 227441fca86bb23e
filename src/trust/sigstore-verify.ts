/**
 * Verifies a Sigstore bundle over a stream, offline: who signed exactly these bytes, when, and that a public log says so.
 *
 * Order: 1 the bundle's form, 2 one pass over the bytes (digest and signature input), 3 the library's checks against the pinned root
 * (timestamps, certificate chain at those times, SCT, log inclusion, log body, signature), 4 our own identity check, by equality: the
 * library's takes a text for an unanchored regular expression, so that v1.2.3 accepts v1.2.30 (updater facts, finding 2).
 */
import { createHash, createVerify, type Hash, type KeyObject, timingSafeEqual, type Verify, X509Certificate } from "node:crypto";
import type { Bundle } from "@sigstore/bundle";
import type { SignedEntity, Signer, TrustMaterial } from "@sigstore/verify";
import { type Digest, digestFromHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { readSigstoreBundle } from "./sigstore-bundle.ts";
import { loadSigstore, type SigstoreLibraries } from "./sigstore-library.ts";
import { expectedIdentity, type SigstorePolicy, type SigstoreRoot } from "./sigstore-policy.ts";

export type SigstoreDetail = "bundle_malformed" | "bundle_untrusted" | "identity_mismatch" | "issuer_mismatch" | "tlog_missing";

/** Who must have signed: an identity with its issuer, or a key. Never "anybody". */
export type ExpectedSigner =
  | { readonly kind: "keyless"; readonly issuer: string; readonly identity: string; readonly root: SigstoreRoot; readonly logThreshold: number }
  | { readonly kind: "key"; readonly publicKey: KeyObject; readonly root?: SigstoreRoot };

export type SigstoreVerdict =
  | {
      readonly kind: "good";
      /** The certificate's subject, or `key` for a bundle that a bare key signed. */
      readonly signer: string;
      /** Of the artifact, from the one pass over it. */
      readonly digest: Digest;
      readonly size: number;
    }
  | { readonly kind: "bad"; readonly detail: SigstoreDetail; readonly message: string };

/** The policy's signer at a tag. Throws `policy_invalid`. */
export function signerAt(policy: SigstorePolicy, tag: string): ExpectedSigner {
  if (policy.kind === "key") return policy;
  return { kind: "keyless", issuer: policy.issuer, identity: expectedIdentity(policy, tag), root: policy.root, logThreshold: policy.logThreshold };
}

/**
 * Reads `artifact` to its end, once, in bounded memory. Never throws for bad input, the verdict says what is wrong; what reading the artifact
 * throws passes through. `isAttestationAllowed` also takes an in-toto statement (DSSE) that names the artifact's SHA-256 as a subject.
 */
export async function verifySigstoreBundle(question: {
  readonly bundle: Uint8Array;
  readonly artifact: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  readonly signer: ExpectedSigner;
  readonly isAttestationAllowed?: boolean;
}): Promise<SigstoreVerdict> {
  const { signer } = question;
  if (signer.kind === "keyless" && (signer.identity === "" || signer.issuer === "")) {
    throw new SlipwayError("policy_invalid", "a Sigstore identity and issuer must be named; an empty one would accept anybody");
  }
  const libraries = await loadSigstore();
  const reading = await readSigstoreBundle(question.bundle);
  if (reading.kind === "malformed") return bad("bundle_malformed", reading.message);
  const { bundle } = reading;
  if (bundle.content.$case === "dsseEnvelope" && question.isAttestationAllowed !== true) {
    return bad("bundle_malformed", "the bundle is an attestation, not a signature over the file");
  }
  const wrongMaterial = checkMaterial(bundle, signer);
  if (wrongMaterial !== undefined) return wrongMaterial;
  const seen = await readArtifact(question.artifact, hashName(libraries, bundle));
  let found: Signer;
  try {
    const root = signer.root ?? libraries.specs.TrustedRoot.fromJSON({});
    const material = libraries.verify.toTrustMaterial(root, keyFinder(signer));
    const verifier = new libraries.verify.Verifier(material, thresholds(signer));
    const entity = entityOf(libraries, bundle, seen);
    // Without a root nothing can be said about logs and times, as with a kind of signature that no key is known for.
    found = verifier.verify(signer.root === undefined ? { ...entity, tlogEntries: [], timestamps: [] } : entity);
    if (bundle.content.$case === "dsseEnvelope" && !namesSubject(bundle.content.dsseEnvelope, seen.sha256)) {
      return bad("bundle_untrusted", "the attestation is of another file");
    }
  } catch (error) {
    return refusal(error);
  }
  const good: SigstoreVerdict = {
    kind: "good",
    signer: signer.kind === "keyless" ? signer.identity : "key",
    digest: digestFromHex(seen.sha256),
    size: seen.size,
  };
  return (signer.kind === "keyless" ? checkIdentity(bundle, found, signer) : undefined) ?? good;
}

/** Key bundles for key policies, certificates for identities, and a log entry wherever a log is trusted. */
function checkMaterial(bundle: Bundle, signer: ExpectedSigner): SigstoreVerdict | undefined {
  const { content, tlogEntries } = bundle.verificationMaterial;
  const isKey = content.$case === "publicKey";
  if (isKey !== (signer.kind === "key")) {
    return bad(
      "bundle_untrusted",
      isKey ? "the bundle is signed by a bare key; an identity is demanded" : "the bundle is signed by a certificate; a key is demanded",
    );
  }
  if (signer.root !== undefined && tlogEntries.length === 0) return bad("tlog_missing", "the bundle has no entry of a transparency log");
  const places = new Set(tlogEntries.map((entry) => `${entry.logId?.keyId.toString("hex") ?? ""} ${entry.logIndex}`));
  if (places.size !== tlogEntries.length) return bad("bundle_untrusted", "the bundle has the same log entry twice");
  return undefined;
}

function thresholds(signer: ExpectedSigner): { tlogThreshold: number; ctlogThreshold: number; timestampThreshold: number } {
  if (signer.kind === "keyless") return { tlogThreshold: signer.logThreshold, ctlogThreshold: 1, timestampThreshold: 1 };
  // A key does not expire: where no log is trusted there is nothing that a time would be compared with.
  return { tlogThreshold: signer.root === undefined ? 0 : 1, ctlogThreshold: 0, timestampThreshold: 0 };
}

function keyFinder(signer: ExpectedSigner): NonNullable<Parameters<SigstoreLibraries["verify"]["toTrustMaterial"]>[1]> {
  if (signer.kind === "keyless") return {};
  // The bundle's hint is not asked: one key is trusted, and it is this one.
  const found: ReturnType<TrustMaterial["publicKey"]> = { publicKey: signer.publicKey, validFor: () => true };
  return () => found;
}

type SeenArtifact = {
  readonly sha256: string;
  readonly size: number;
  readonly digest: Buffer;
  readonly verifyBy: (key: KeyObject, signature: Buffer) => boolean;
};

async function readArtifact(artifact: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, algorithm: string): Promise<SeenArtifact> {
  const sha256 = createHash("sha256");
  const other: Hash | undefined = algorithm === "sha256" ? undefined : createHash(algorithm);
  const verify: Verify = createVerify(algorithm);
  let size = 0;
  for await (const piece of artifact) {
    sha256.update(piece);
    other?.update(piece);
    verify.update(piece);
    size += piece.length;
  }
  const sum = sha256.digest();
  return { sha256: sum.toString("hex"), size, digest: other?.digest() ?? sum, verifyBy: (key, signature) => verify.verify(key, signature) };
}

function hashName({ specs }: SigstoreLibraries, bundle: Bundle): string {
  if (bundle.content.$case !== "messageSignature") return "sha256";
  const { algorithm } = bundle.content.messageSignature.messageDigest;
  if (algorithm === specs.HashAlgorithm.SHA2_384) return "sha384";
  return algorithm === specs.HashAlgorithm.SHA2_512 ? "sha512" : "sha256";
}

/** The library's entity, with the signature content replaced by one that has seen the stream instead of holding the file. */
function entityOf({ verify }: SigstoreLibraries, bundle: Bundle, seen: SeenArtifact): SignedEntity {
  const entity = verify.toSignedEntity(bundle, Buffer.alloc(0));
  if (bundle.content.$case !== "messageSignature") return entity;
  const { signature, messageDigest } = bundle.content.messageSignature;
  const isSeen = (digest: Buffer): boolean => equal(digest, seen.digest);
  return {
    ...entity,
    signature: {
      signature,
      compareSignature: (other) => equal(other, signature),
      compareDigest: isSeen,
      compareSignedDigest: isSeen,
      // A bundle that lies about the digest is not believed about anything else.
      verifySignature: (key) => (messageDigest.digest.length === 0 || isSeen(messageDigest.digest)) && seen.verifyBy(key, signature),
    },
  };
}

const intotoType = "application/vnd.in-toto+json";

function namesSubject(envelope: { readonly payload: Buffer; readonly payloadType: string }, sha256: string): boolean {
  if (envelope.payloadType !== intotoType) return false;
  const statement: unknown = JSON.parse(envelope.payload.toString("utf8"));
  const subjects: unknown = typeof statement === "object" && statement !== null && "subject" in statement ? statement.subject : undefined;
  return (
    Array.isArray(subjects) &&
    subjects.some((subject: unknown) => {
      const digest = typeof subject === "object" && subject !== null && "digest" in subject ? subject.digest : undefined;
      return typeof digest === "object" && digest !== null && "sha256" in digest && digest.sha256 === sha256;
    })
  );
}

/** Fulcio's extensions for the token's issuer: the newer holds a DER UTF8String, the older bare text. */
const issuerV1 = "1.3.6.1.4.1.57264.1.1";
const issuerV2 = "1.3.6.1.4.1.57264.1.8";

/** The certificate is good: is it that of the one identity? One subject alternative name, a URI, equal; every issuer extension equal. */
function checkIdentity(bundle: Bundle, found: Signer, signer: Extract<ExpectedSigner, { kind: "keyless" }>): SigstoreVerdict | undefined {
  const raw = leafCertificate(bundle);
  if (raw === undefined) return bad("bundle_untrusted", "the bundle has no certificate");
  const issuers = (found.identity?.oids ?? []).flatMap(({ oid, value }) => {
    const name = oid?.id.join(".");
    return name === issuerV1 ? [value.toString("utf8")] : name === issuerV2 ? [utf8String(value)] : [];
  });
  if (issuers.length === 0 || issuers.some((issuer) => issuer !== signer.issuer)) {
    return bad("issuer_mismatch", `the signer's token came from ${issuers.join(" and ").slice(0, 300) || "an unnamed issuer"}; expected ${signer.issuer}`);
  }
  // Node quotes a name that holds a comma or a quote, so that no other list of names looks like this text.
  const names = new X509Certificate(raw).subjectAltName ?? "";
  return names === `URI:${signer.identity}` ? undefined : bad("identity_mismatch", `signed by ${names.slice(0, 300) || "nobody"}; expected ${signer.identity}`);
}

function leafCertificate(bundle: Bundle): Buffer | undefined {
  const { content } = bundle.verificationMaterial;
  if (content.$case === "certificate") return content.certificate.rawBytes;
  return content.$case === "x509CertificateChain" ? content.x509CertificateChain.certificates[0]?.rawBytes : undefined;
}

/** The text of a DER UTF8String with a short length or a long one of one byte; what is neither equals no issuer. */
function utf8String(der: Buffer): string {
  const start = der[1] === 0x81 ? 3 : 2;
  const length = der[start - 1];
  return der[0] === 0x0c && length === der.length - start ? der.toString("utf8", start) : "(unreadable)";
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

/** What the library refused; anything else that its parsers throw about foreign bytes is a refusal too, never an acceptance. */
function refusal(error: unknown): SigstoreVerdict {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
  const message = error instanceof Error ? error.message : "unreadable";
  if (code === "TLOG_MISSING_INCLUSION_ERROR") return bad("tlog_missing", `the log entry of the bundle proves nothing: ${message}`);
  return bad("bundle_untrusted", `the bundle does not prove who signed this file: ${message}`);
}

function bad(detail: SigstoreDetail, message: string): SigstoreVerdict {
  return { kind: "bad", detail, message };
}
