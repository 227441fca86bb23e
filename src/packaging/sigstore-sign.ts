/**
 * Keyless signing: one short-lived key and certificate for the run (Fulcio), one bundle for each file, its signature recorded in a public log
 * (Rekor) and, where one is named, timestamped. The files are streamed; the private key never leaves this process.
 */
import { createHash, createSign, generateKeyPairSync, type KeyObject } from "node:crypto";
import { createReadStream } from "node:fs";
import { SlipwayError } from "../model/errors.ts";
import { type BundleOutput, bundleSuffixes, type SignedFile } from "../trust/release-signature.ts";
import { readIdentityToken } from "./identity-token.ts";

export type SigstoreServices = {
  /** Certificate authority; Sigstore's public one by default. */
  readonly fulcio?: string | undefined;
  /** Transparency log; Sigstore's public one by default. */
  readonly rekor?: string | undefined;
  /** Timestamp authority; none by default, the log's own time counts. */
  readonly tsa?: string | undefined;
};

export type SigstoreSigner = {
  /** The signature files of one file, as `outputs` wants them; throws `network_unreachable` (retryable) and what the token's reading throws. */
  readonly sign: (file: { readonly name: string; readonly path: string }, outputs: readonly BundleOutput[]) => Promise<readonly SignedFile[]>;
};

/** A certificate lives for ten minutes; a new one is fetched well before. */
const certificateLifeMs = 5 * 60_000;
const timeoutMs = 30_000;
const retries = 3;

type Certified = { readonly privateKey: KeyObject; readonly pem: string; readonly madeAt: number };

export function createSigstoreSigner(options: {
  readonly services: SigstoreServices;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly now: () => Date;
  readonly signal?: AbortSignal;
}): SigstoreSigner {
  const { services, env, now, signal } = options;
  let certified: Certified | undefined;
  return {
    sign: async ({ name, path }, outputs) => {
      if (certified === undefined || now().getTime() - certified.madeAt > certificateLifeMs) {
        certified = await certify(services, await readIdentityToken(env, signal), now().getTime());
      }
      signal?.throwIfAborted();
      const { privateKey, pem } = certified;
      const { digest, signature } = await signFile(path, privateKey);
      const files: Record<BundleOutput, () => Promise<Uint8Array>> = {
        bundle: async () => Buffer.from(await makeBundle(services, { digest, signature, pem })),
        sig: async () => Buffer.from(`${signature.toString("base64")}\n`),
        pem: async () => Buffer.from(pem),
      };
      const made: SignedFile[] = [];
      for (const output of outputs) made.push({ name: `${name}${bundleSuffixes[output]}`, bytes: await files[output]() });
      return made;
    },
  };
}

/** A fresh P-256 key and the certificate that binds it to the token's identity. */
async function certify(services: SigstoreServices, token: string, madeAt: number): Promise<Certified> {
  const { FulcioSigner, DEFAULT_FULCIO_URL } = await import("@sigstore/sign");
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const publicPem = publicKey.export({ type: "spki", format: "pem" }).toString();
  const signer = new FulcioSigner({
    fulcioBaseURL: services.fulcio ?? DEFAULT_FULCIO_URL,
    identityProvider: { getToken: () => Promise.resolve(token) },
    keyHolder: {
      sign: (data: Buffer) =>
        Promise.resolve({ signature: createSign("sha256").update(data).sign(privateKey), key: { $case: "publicKey", publicKey: publicPem } as const }),
    },
    timeout: timeoutMs,
    retry: retries,
  });
  // Only the certificate is wanted here: files are signed below, as streams.
  const { key } = await reached("the certificate authority", () => signer.sign(Buffer.alloc(0)));
  if (key.$case !== "x509Certificate") throw new SlipwayError("server_error", "the certificate authority gave no certificate");
  return { privateKey, pem: key.certificate.endsWith("\n") ? key.certificate : `${key.certificate}\n`, madeAt };
}

async function signFile(path: string, privateKey: KeyObject): Promise<{ readonly digest: Buffer; readonly signature: Buffer }> {
  const hash = createHash("sha256");
  const sign = createSign("sha256");
  for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(piece);
    sign.update(piece);
  }
  return { digest: hash.digest(), signature: sign.sign(privateKey) };
}

/** A bundle of version 0.3, with its log entry. */
async function makeBundle(services: SigstoreServices, made: { readonly digest: Buffer; readonly signature: Buffer; readonly pem: string }): Promise<string> {
  const [{ RekorWitness, TSAWitness, DEFAULT_REKOR_URL }, { bundleToJSON, toMessageSignatureBundle }] = await Promise.all([
    import("@sigstore/sign"),
    import("@sigstore/bundle"),
  ]);
  const certificate = Buffer.from(made.pem.replace(/-----(BEGIN|END) CERTIFICATE-----|\s/g, ""), "base64");
  const bundle = toMessageSignatureBundle({ digest: made.digest, signature: made.signature, certificate });
  const connection = { timeout: timeoutMs, retry: retries };
  const log = new RekorWitness({ rekorBaseURL: services.rekor ?? DEFAULT_REKOR_URL, ...connection });
  const { tlogEntries } = await reached("the transparency log", () => log.testify(bundle.content, made.pem));
  bundle.verificationMaterial.tlogEntries = tlogEntries;
  if (services.tsa !== undefined) {
    const authority = new TSAWitness({ tsaBaseURL: services.tsa, ...connection });
    const { rfc3161Timestamps } = await reached("the timestamp authority", () => authority.testify(bundle.content));
    bundle.verificationMaterial.timestampVerificationData = { rfc3161Timestamps };
  }
  return `${JSON.stringify(bundleToJSON(bundle))}\n`;
}

/** The library's messages may quote the token, so only its code is passed on. */
async function reached<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const code = typeof error === "object" && error !== null && "code" in error && typeof error.code === "string" ? ` (${error.code})` : "";
    const status = statusOf(error);
    const isRefused = status !== undefined && status >= 400 && status < 500;
    throw new SlipwayError(isRefused ? "unauthorized" : "network_unreachable", `${what} did not sign${code}${status === undefined ? "" : `: HTTP ${status}`}`, {
      hint: isRefused ? "look at the token's issuer and audience" : "run `slipway sign --sigstore` again: what was built stays as it is",
    });
  }
}

function statusOf(error: unknown): number | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  const found: unknown = typeof cause === "object" && cause !== null && "statusCode" in cause ? cause.statusCode : undefined;
  return typeof found === "number" ? found : undefined;
}
