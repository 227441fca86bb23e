/**
 * Who may have signed a Sigstore bundle: a workflow at the release's tag (keyless), or a public key. Two kinds that never stand in for each
 * other: a bundle signed by a bare key carries no identity at all, and a library that was asked for none accepts it (trust facts 4.2).
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import type { TrustedRoot } from "@sigstore/protobuf-specs";
import { SlipwayError } from "../model/errors.ts";
import { loadSigstore } from "./sigstore-library.ts";

/** Sigstore's public instance has 7 KB; a private one with years of rotated logs stays far below. */
export const trustedRootSizeLimit = 1024 * 1024;

/** Where a vendor's TUF targets role lists the trusted root that installations are to follow (trust facts 4.3). */
export const sigstoreRootTarget = "trust/sigstore/trusted_root.json";

/** The authorities of one Sigstore instance, pinned: nothing is fetched while verifying. */
export type SigstoreRoot = TrustedRoot;

export type KeylessPolicy = {
  readonly kind: "keyless";
  /** Of the token that the certificate was issued for, exactly. */
  readonly issuer: string;
  /** `https://github.com/acme/carapace` */
  readonly repository: string;
  /** `.github/workflows/release.yml` */
  readonly workflow: string;
  readonly root: SigstoreRoot;
  /** Entries of the transparency log that must be there; at least 1. */
  readonly logThreshold: number;
};

export type SigningKeyPolicy = {
  readonly kind: "key";
  readonly publicKey: KeyObject;
  /** With a root the bundle must stand in its transparency log; without one the key alone decides. */
  readonly root?: SigstoreRoot;
};

export type SigstorePolicy = KeylessPolicy | SigningKeyPolicy;

/** As the installation file and flags give it, files already read. */
export type SigstorePolicySource =
  | {
      readonly issuer: string;
      readonly repository: string;
      readonly workflow: string;
      readonly trustedRoot: Uint8Array;
      readonly logThreshold?: number;
    }
  | { readonly publicKey: Uint8Array; readonly trustedRoot?: Uint8Array };

/** Throws `policy_invalid` where a part is empty or would match more than one identity (attack 16), or the root is not usable. */
export async function createSigstorePolicy(source: SigstorePolicySource): Promise<SigstorePolicy> {
  if ("publicKey" in source) {
    const root = source.trustedRoot === undefined ? {} : { root: await parseTrustedRoot(source.trustedRoot) };
    return { kind: "key", publicKey: readPublicKey(source.publicKey), ...root };
  }
  const { issuer, repository, workflow, logThreshold = 1 } = source;
  for (const [name, value] of Object.entries({ issuer, repository })) requireUrl(name, value);
  if (workflow === "" || !isPlainText(workflow) || workflow.includes("@")) throw invalid("sigstore.workflow is empty or no plain path of a workflow file");
  if (!Number.isSafeInteger(logThreshold) || logThreshold < 1 || logThreshold > 8) throw invalid("sigstore needs 1 to 8 entries of the transparency log");
  return { kind: "keyless", issuer, repository, workflow, root: await parseTrustedRoot(source.trustedRoot), logThreshold };
}

/** The one identity that may have signed at `tag`: the subject alternative name that Fulcio writes for a workflow. */
export function expectedIdentity(policy: KeylessPolicy, tag: string): string {
  if (!isPlainText(tag) || tag === "") throw invalid("the tag that must have been signed is empty or not plain text");
  return `${policy.repository}/${policy.workflow}@refs/tags/${tag}`;
}

/**
 * Reads a `trusted_root.json` (`application/vnd.dev.sigstore.trustedroot+json;version=0.1` or `.v0.2+json`). Every authority must say from
 * when on it counts: the library takes a missing start for "always" (Sigstore conformance, trust-root-tlog-missing-validity-start).
 */
export async function parseTrustedRoot(bytes: Uint8Array): Promise<SigstoreRoot> {
  const { specs } = await loadSigstore();
  if (bytes.length > trustedRootSizeLimit) throw invalid(`the trusted root has ${bytes.length} bytes; the limit is ${trustedRootSizeLimit}`);
  let root: TrustedRoot;
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    root = specs.TrustedRoot.fromJSON(value);
  } catch (error) {
    throw new SlipwayError("policy_invalid", "the Sigstore trusted root is not a trusted_root.json", { cause: error });
  }
  if (!/^application\/vnd\.dev\.sigstore\.trustedroot(\+json;version=0\.[12]|\.v0\.[12]\+json)$/.test(root.mediaType)) {
    throw invalid(`the trusted root has the media type "${root.mediaType.slice(0, 100)}"`);
  }
  const authorities = [...root.certificateAuthorities, ...root.timestampAuthorities];
  const logs = [...root.tlogs, ...root.ctlogs];
  if (root.certificateAuthorities.length === 0 && root.tlogs.length === 0) throw invalid("the trusted root names no authority at all");
  if (authorities.some((authority) => authority.validFor?.start === undefined || (authority.certChain?.certificates.length ?? 0) === 0)) {
    throw invalid("an authority of the trusted root has no certificate or no start of validity");
  }
  if (logs.some((log) => log.publicKey?.rawBytes === undefined || log.publicKey.validFor?.start === undefined || log.logId === undefined)) {
    throw invalid("a log of the trusted root has no key, no id or no start of validity");
  }
  return root;
}

/** For keyless signing a root needs all three: one without a log or an authority would only refuse everything. Throws `policy_invalid`. */
export function requireWholeInstance(root: SigstoreRoot): SigstoreRoot {
  for (const [what, list] of [
    ["certificate authority", root.certificateAuthorities],
    ["transparency log", root.tlogs],
    ["certificate log", root.ctlogs],
  ] as const) {
    if (list.length === 0) throw invalid(`the trusted root names no ${what}`);
  }
  return root;
}

/** ECDSA or RSA, as `cosign generate-key-pair` makes them; Ed25519 cannot be checked over a stream. */
function readPublicKey(bytes: Uint8Array): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey(Buffer.from(bytes));
  } catch (error) {
    throw new SlipwayError("key_invalid", "the Sigstore public key is not a PEM public key", { cause: error });
  }
  if (key.asymmetricKeyType !== "ec" && key.asymmetricKeyType !== "rsa") {
    throw new SlipwayError("key_unfit", `a Sigstore key must be ECDSA or RSA; this is ${key.asymmetricKeyType ?? "of no known type"}`);
  }
  return key;
}

function requireUrl(name: string, value: string): void {
  const isGood = isPlainText(value) && /^https:\/\/[^/?#@\s]+/.test(value) && URL.canParse(value) && !value.endsWith("/") && !/[?#@]/.test(value);
  if (!isGood) throw invalid(`sigstore.${name} must be one https URL without a trailing slash; it is "${value.slice(0, 200)}"`);
}

/** Printable ASCII without blanks and patterns: what stands here is compared, never matched. */
function isPlainText(value: string): boolean {
  return value.length <= 1024 && /^[!-~]*$/.test(value) && !/[*\\^$|<>"`{}]/.test(value);
}

function invalid(message: string): SlipwayError {
  return new SlipwayError("policy_invalid", message, { hint: "docs/trust.md shows a whole policy" });
}
