/** A private Sigstore on loopback: certificate authority, transparency log and timestamp authority with their own keys, and the trusted root to pin. */
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { HashAlgorithm, PublicKeyDetails, TrustedRoot } from "@sigstore/protobuf-specs";
import { fulcioHandler, initializeCA, initializeCTLog, initializeTLog, initializeTSA, rekorHandler, tsaHandler } from "@sigstore/mock";
import { createHash } from "node:crypto";
import { createSigstoreSigner } from "../../src/packaging/sigstore-sign.ts";

export const actionsIssuer = "https://token.actions.githubusercontent.com";

export type SigstoreInstance = {
  readonly url: string;
  /** The bytes of trusted_root.json. */
  readonly trustedRoot: Buffer;
  /** Signs as `identity`; returns the bundle. */
  readonly bundle: (path: string, who: { readonly identity: string; readonly issuer?: string; readonly hasTimestamp?: boolean }) => Promise<Buffer>;
  /** Requests so far, as `POST /path`. */
  readonly requests: string[];
};

/** A token as the instance takes it: it looks at the claims, not at the signature. */
export function identityToken(identity: string, issuer: string = actionsIssuer): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none" })}.${part({ sub: identity, iss: issuer, aud: "sigstore" })}.${Buffer.from("unsigned").toString("base64url")}`;
}

const pair = (): ReturnType<typeof generateKeyPairSync> => generateKeyPairSync("ec", { namedCurve: "P-256" });

export async function startSigstore(t: TestContext | { after: (run: () => void) => void }): Promise<SigstoreInstance> {
  const [caKeys, ctKeys, logKeys, tsaKeys] = [pair(), pair(), pair(), pair()];
  const ctLog = await initializeCTLog(ctKeys);
  const ca = await initializeCA(caKeys, ctLog);
  const tlog = await initializeTLog("https://rekor.test", logKeys);
  // DER leaves zeros at the end of a fraction out, and the library's reader wants three digits or none.
  const tsaClock = new Date();
  const setClock = (now = Date.now()): void => void tsaClock.setTime(now % 10 === 0 ? now + 1 : now);
  const tsa = await initializeTSA(tsaKeys, tsaClock);
  const handlers = [fulcioHandler(ca), rekorHandler(tlog), tsaHandler(tsa)];
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method ?? ""} ${request.url ?? ""}`);
    const handler = handlers.find(({ path }) => request.url?.startsWith(path));
    void readBody(request)
      .then((body) => {
        setClock();
        return handler?.fn(body);
      })
      .then((answer) => {
        const body = typeof answer?.response === "string" ? answer.response : Buffer.from(new Uint8Array(answer?.response.buffer ?? new ArrayBuffer(0)));
        response.writeHead(answer?.statusCode ?? 404, { "content-type": answer?.contentType ?? "text/plain" }).end(body);
      });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const bytesOf = (view: ArrayBufferView): Buffer => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  const start = new Date(Date.now() - 3_600_000);
  const authority = (uri: string, certificates: readonly Buffer[]): unknown => ({
    subject: { commonName: "test", organization: "test" },
    uri,
    certChain: { certificates: certificates.map((rawBytes) => ({ rawBytes: rawBytes.toString("base64") })) },
    validFor: { start: start.toISOString() },
  });
  const log = (baseUrl: string, key: Buffer): unknown => ({
    baseUrl,
    hashAlgorithm: HashAlgorithm[HashAlgorithm.SHA2_256],
    logId: { keyId: createHash("sha256").update(key).digest("base64") },
    publicKey: {
      rawBytes: key.toString("base64"),
      keyDetails: PublicKeyDetails[PublicKeyDetails.PKIX_ECDSA_P256_SHA_256],
      validFor: { start: start.toISOString() },
    },
  });
  const root = TrustedRoot.fromJSON({
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: [log("https://rekor.test", tlog.publicKey)],
    ctlogs: [log("https://ct.test", ctLog.publicKey)],
    certificateAuthorities: [authority("https://fulcio.test", [bytesOf(ca.rootCertificate)])],
    timestampAuthorities: [authority("https://tsa.test", [bytesOf(tsa.intCertificate), bytesOf(tsa.rootCertificate)])],
  });
  return {
    url,
    requests,
    trustedRoot: Buffer.from(JSON.stringify(TrustedRoot.toJSON(root))),
    bundle: async (path, { identity, issuer, hasTimestamp = false }) => {
      const signer = createSigstoreSigner({
        services: { fulcio: url, rekor: url, ...(hasTimestamp ? { tsa: url } : {}) },
        env: { SIGSTORE_ID_TOKEN: identityToken(identity, issuer) },
        now: () => new Date(),
      });
      const [made] = await signer.sign({ name: "file", path }, ["bundle"]);
      return Buffer.from(made?.bytes ?? []);
    },
  };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces).toString("utf8");
}

/** The one name in a bundle's certificate. */
export function subjectOf(bundle: Uint8Array): string {
  const parsed = JSON.parse(Buffer.from(bundle).toString("utf8")) as { verificationMaterial: { certificate: { rawBytes: string } } };
  return new X509Certificate(Buffer.from(parsed.verificationMaterial.certificate.rawBytes, "base64")).subjectAltName ?? "";
}
