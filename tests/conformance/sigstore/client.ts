/** What the Sigstore conformance suite runs as the client under test: its `verify-bundle` words, answered by our verifier; exit 0 means accepted. */
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { createSigstorePolicy, parseTrustedRoot } from "../../../src/trust/sigstore-policy.ts";
import { type ExpectedSigner, verifySigstoreBundle } from "../../../src/trust/sigstore-verify.ts";

export type BundleQuestion = {
  readonly bundle: string;
  readonly artifact: string;
  readonly identity?: string;
  readonly issuer?: string;
  readonly key?: string;
  readonly trustedRoot?: string;
};

/** Undefined where the bundle is accepted, else why not. */
export async function refusalOf(question: BundleQuestion): Promise<string | undefined> {
  try {
    const verdict = await verifySigstoreBundle({
      bundle: await readFile(question.bundle),
      artifact: createReadStream(question.artifact),
      signer: await signerOf(question),
      isAttestationAllowed: true,
    });
    return verdict.kind === "good" ? undefined : `${verdict.detail}: ${verdict.message}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function signerOf({ identity, issuer, key, trustedRoot }: BundleQuestion): Promise<ExpectedSigner> {
  const root = trustedRoot === undefined ? undefined : await readFile(trustedRoot);
  if (key !== undefined) {
    const policy = await createSigstorePolicy({ publicKey: await readFile(key), ...(root === undefined ? {} : { trustedRoot: root }) });
    if (policy.kind === "key") return policy;
  }
  if (root === undefined) throw new Error("name --trusted-root: this client fetches nothing");
  return { kind: "keyless", identity: identity ?? "", issuer: issuer ?? "", root: await parseTrustedRoot(root), logThreshold: 1 };
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    args: process.argv.slice(2),
    allowPositionals: true,
    options: {
      staging: { type: "boolean" },
      bundle: { type: "string" },
      "certificate-identity": { type: "string" },
      "certificate-oidc-issuer": { type: "string" },
      key: { type: "string" },
      "trusted-root": { type: "string" },
    },
  });
  const refusal = await refusalOf({
    bundle: values.bundle ?? "",
    artifact: positionals[1] ?? "",
    ...(values["certificate-identity"] === undefined ? {} : { identity: values["certificate-identity"] }),
    ...(values["certificate-oidc-issuer"] === undefined ? {} : { issuer: values["certificate-oidc-issuer"] }),
    ...(values.key === undefined ? {} : { key: values.key }),
    ...(values["trusted-root"] === undefined ? {} : { trustedRoot: values["trusted-root"] }),
  });
  if (refusal !== undefined) process.stderr.write(`${refusal}\n`);
  process.exitCode = refusal === undefined ? 0 : 1;
}
