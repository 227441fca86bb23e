/** The public keys of a product with their fingerprints: what a security policy prints, and what customers compare. */
import { z } from "zod";
import { readReleaseKeys } from "../releases/products.ts";
import { listKeyGenerations } from "../releases/rotate-repository-key.ts";
import { readApkPublicKey } from "../trust/apk-signature.ts";
import { parseMinisignPublicKey } from "../trust/minisign-key.ts";
import { describeKey, keyExpiry, readPublicKeys } from "../trust/openpgp.ts";
import type { ServerContext } from "./context.ts";

export const productKeySchema = z.object({
  use: z.enum(["repository", "release"]).describe("signs the indexes, made by the server; or signs releases, the vendor's"),
  kind: z.enum(["openpgp", "minisign", "apk"]),
  fingerprint: z.string().describe("OpenPGP: 40 hex digits; minisign: the key number; apk: the name in /etc/apk/keys"),
  algorithm: z.string().nullable(),
  expiresAt: z.string().nullable(),
  retiredAt: z.string().nullable().describe("of a repository key that signs no more"),
  path: z.string().describe("where the key is served, below the server's address"),
});
export type ProductKey = z.output<typeof productKeySchema>;

/** Throws `not_found` for an unknown product. */
export async function productKeys(context: Pick<ServerContext, "store" | "repositoryKey">, product: string): Promise<readonly ProductKey[]> {
  const { repositoryKey } = context;
  const { openpgp, minisign, apk } = await readReleaseKeys(context.store, product);
  const found: ProductKey[] = await openpgpKeys("repository", repositoryKey.publicText, product);
  found.push(apkKey("repository", repositoryKey.apkKey.keyFile));
  if (repositoryKey.overlap !== undefined) found.push(apkKey("repository", repositoryKey.overlap.apkKey.keyFile));
  if (openpgp !== undefined) found.push(...(await openpgpKeys("release", openpgp, product)));
  if (minisign !== undefined) {
    const { keyId: fingerprint } = parseMinisignPublicKey(minisign);
    found.push({
      use: "release",
      kind: "minisign",
      fingerprint,
      algorithm: "Ed25519",
      expiresAt: null,
      retiredAt: null,
      path: `/keys/${product}.minisign.pub`,
    });
  }
  if (apk !== undefined) found.push(apkKey("release", readApkPublicKey(apk).keyFile));
  for (const { fingerprint, apkKeyFile, retiredAt } of await listKeyGenerations(context.store.db)) {
    if (retiredAt === undefined) continue;
    const retired = { use: "repository" as const, algorithm: null, expiresAt: null, retiredAt: retiredAt.toISOString() };
    found.push({ ...retired, kind: "openpgp", fingerprint, path: `/keys/${product}.asc` });
    found.push({ ...retired, kind: "apk", fingerprint: apkKeyFile, path: `/keys/apk/${apkKeyFile}` });
  }
  return found;
}

async function openpgpKeys(use: ProductKey["use"], text: string, product: string): Promise<ProductKey[]> {
  const keys = await readPublicKeys(Buffer.from(text));
  return Promise.all(
    keys.map(async (key) => {
      const { fingerprint, algorithm } = describeKey(key);
      const expiresAt = await keyExpiry(key);
      return {
        use,
        kind: "openpgp" as const,
        fingerprint,
        algorithm,
        expiresAt: expiresAt?.toISOString() ?? null,
        retiredAt: null,
        path: `/keys/${product}.asc`,
      };
    }),
  );
}

function apkKey(use: ProductKey["use"], keyFile: string): ProductKey {
  return { use, kind: "apk", fingerprint: keyFile, algorithm: null, expiresAt: null, retiredAt: null, path: `/keys/apk/${keyFile}` };
}

/** The text for the vendor's security policy: which keys there are, and where advisories stand. */
export function securityPolicyText(
  place: { readonly baseUrl: string; readonly product: string; readonly vendor: string },
  keys: readonly ProductKey[],
): string {
  const { baseUrl, product, vendor } = place;
  const lines = keys.map((key) => {
    if (key.retiredAt !== null) return `- ${key.kind}, signed indexes until ${key.retiredAt.slice(0, 10)} and is trusted no more:\n  ${key.fingerprint}\n`;
    const what = key.use === "repository" ? "signs the package indexes of this server" : "signs releases";
    const ends = key.expiresAt === null ? "" : `, until ${key.expiresAt.slice(0, 10)}`;
    return `- ${key.kind}, ${what}${ends}:\n  ${key.kind === "openpgp" ? grouped(key.fingerprint) : key.fingerprint}\n  ${baseUrl}${key.path}\n`;
  });
  return [
    `Security of ${product}, by ${vendor}\n`,
    "Keys. A key with any other fingerprint is not ours.\n",
    ...lines,
    "Advisories, behind your access pair unless they are public:\n",
    `- Atom  ${baseUrl}/feed/${product}/advisories.atom\n- OSV   ${baseUrl}/feed/${product}/osv.json\n- CSAF  ${baseUrl}/feed/${product}/csaf/provider-metadata.json\n`,
    "Security fixes land on the newest minor version.\n",
  ].join("\n");
}

/** In fours, as gpg prints a fingerprint. */
export function grouped(fingerprint: string): string {
  return (fingerprint.match(/.{1,4}/g) ?? []).join(" ");
}
