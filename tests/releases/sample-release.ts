/** A real release in memory, as `slipway build` would leave it, and its way into a store. */
import { createHash } from "node:crypto";
import { type Digest, digestFromHex } from "../../src/model/digest.ts";
import type { Manifest } from "../../src/model/manifest.ts";
import { isStable, parseVersion, tagOf, type Version } from "../../src/model/version.ts";
import { attachArtifact, createDraft } from "../../src/releases/drafts.ts";
import { createProduct } from "../../src/releases/products.ts";
import { type Publication, publishRelease } from "../../src/releases/publish.ts";
import type { RepositoryKey } from "../../src/releases/repository-key.ts";
import type { AuditActor } from "../../src/store/audit-events.ts";
import type { Store } from "../../src/store/store.ts";
import { formatChecksums } from "../../src/trust/checksums.ts";
import { generateOpenpgpKey, readSigningKey } from "../../src/trust/openpgp.ts";
import { type ReleaseSigner, signSums } from "../../src/trust/release-signature.ts";
import { apkKey } from "../formats/apk-sample.ts";
import { printingPackage, writeTestDeb, writeTestRpm } from "../support/test-packages.ts";

export const product = "coequal";
export const actor: AuditActor = { kind: "admin", id: "t1", name: "tests" };

export type SampleFile = { readonly name: string; readonly bytes: Uint8Array };
export type SampleRelease = { readonly version: Version; readonly channel: string; readonly files: readonly SampleFile[]; readonly sums: Digest };

export function digestOf(bytes: Uint8Array): Digest {
  return digestFromHex(createHash("sha256").update(bytes).digest("hex"));
}

const hexOf = (bytes: Uint8Array): string => digestOf(bytes).slice("sha256:".length);

/** A deb for each architecture, an rpm, a binary, release.json, the sums, and signatures where a signer is given. */
export async function sampleRelease(
  versionText: string,
  options: { readonly signer?: ReleaseSigner; readonly changeManifest?: (manifest: Manifest) => Manifest; readonly extra?: readonly SampleFile[] } = {},
): Promise<SampleRelease> {
  const version = parseVersion(versionText);
  const channel = isStable(version) ? "stable" : "preview";
  const packaged = version.replace("-", "."); // a `~` never stands in an artifact's name
  const files: SampleFile[] = [
    { name: `${product}_${packaged}_amd64.deb`, bytes: await writeTestDeb(printingPackage(product, version, "amd64")) },
    { name: `${product}_${packaged}_arm64.deb`, bytes: await writeTestDeb(printingPackage(product, version, "arm64")) },
    { name: `${product}-${packaged}-1.x86_64.rpm`, bytes: await writeTestRpm(printingPackage(product, version, "amd64")) },
    { name: `${product}-${version}-linux-amd64`, bytes: Buffer.from(`#!/bin/sh\necho ${product} ${version}\n`) },
    ...(options.extra ?? []),
  ];
  const plain: Manifest = {
    schema: 1,
    product,
    version,
    tag: tagOf(version),
    channel,
    sequence: 1_780_000_000,
    createdAt: "2026-05-28T20:26:40Z",
    artifacts: files.map(({ name, bytes }) => ({ name, kind: "binary", size: bytes.length, sha256: hexOf(bytes) })),
  };
  const manifest = (options.changeManifest ?? ((value: Manifest) => value))(plain);
  files.push({ name: "release.json", bytes: Buffer.from(JSON.stringify(manifest)) });
  const sums = Buffer.from(formatChecksums(files.map(({ name, bytes }) => [name, hexOf(bytes)] as const)));
  const signatures =
    options.signer === undefined ? [] : await signSums({ sums, sumsName: "SHA256SUMS", product, version, sequence: plain.sequence }, options.signer);
  return { version, channel, files: [...files, { name: "SHA256SUMS", bytes: sums }, ...signatures], sums: digestOf(sums) };
}

/** Uploads and attaches everything; may be called again. */
export async function stage(store: Store, release: SampleRelease): Promise<void> {
  await createProduct(store, { name: product, actor });
  await createDraft(store, { product, version: release.version, channel: release.channel, actor });
  for (const { name, bytes } of release.files) await attachBytes(store, release.version, { name, bytes });
}

export async function attachBytes(store: Store, version: string, file: SampleFile) {
  const digest = digestOf(file.bytes);
  const { state, offset } = await store.blobs.status(digest);
  if (state !== "live") {
    const body = (async function* () {
      yield file.bytes.subarray(offset);
    })();
    await store.blobs.append({ digest, offset, size: file.bytes.length, body });
  }
  return attachArtifact(store, { product, version, name: file.name, digest, size: file.bytes.length, actor });
}

export async function publish(store: Store, release: SampleRelease, repositoryKey: RepositoryKey, keep?: number): Promise<Publication> {
  return publishRelease(store, { product, version: release.version, sums: release.sums, repositoryKey, actor, keep });
}

/** A quickly made repository key (Ed25519), the same for all tests of a process; the server makes RSA-4096. */
export async function testRepositoryKey(): Promise<RepositoryKey> {
  const now = new Date("2026-01-01T00:00:00Z");
  const made = await generateOpenpgpKey({ userId: "Test repository", algorithm: "ed25519", now });
  const signingKey = await readSigningKey(Buffer.from(made.secretKey), { now });
  return { fingerprint: made.fingerprint, publicText: made.publicKey, signingKey, apkKey };
}
