/**
 * The `trust:` section, as it stands in an installation file and, by itself, in a trust file for verifying from the outside:
 *
 *     product: jaco                     # trust file only
 *     minisign: [RWQ…]                  # public keys
 *     openpgp: { keyring: release.asc, fingerprints: [0123…] }
 *     sigstore:                         # a workflow at the release's tag; or { public_key: cosign.pub }
 *       issuer: https://token.actions.githubusercontent.com
 *       repository: https://github.com/acme/jaco
 *       workflow: .github/workflows/release.yml
 *       trusted_root: trusted_root.json
 *     tuf: { root: acme.root.json }     # what is installed must be listed in the product's TUF metadata
 *     require: [minisign, sigstore]     # by default every kind that a key or an identity is given for
 */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { lazyStrictObject } from "../model/lazy-object.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseProductName } from "../model/names.ts";
import { type ProofKind, proofKinds, type TrustPolicySource } from "../trust/keyring.ts";
import { createSigstorePolicy, type SigstorePolicy, trustedRootSizeLimit } from "../trust/sigstore-policy.ts";
import { readStrictYaml } from "./strict-yaml.ts";

const file = z.string().min(1).max(4096);

/** Parts of an identity may be empty here: trust refuses them with its own words (attack 16). */
const sigstoreSchema = z.union([
  lazyStrictObject(() => ({
    issuer: z.string().max(1000),
    repository: z.string().max(1000),
    workflow: z.string().max(1000),
    trusted_root: file,
    /** Entries of the transparency log that a bundle must have. */
    log_threshold: z.int().min(1).max(8).default(1),
  })),
  lazyStrictObject(() => ({ public_key: file, trusted_root: file.optional() })),
]);

export const trustSectionSchema = lazyStrictObject(() => ({
  minisign: z.array(z.string().min(1).max(1000)).max(16).default([]),
  openpgp: lazyStrictObject(() => ({
    keyring: file,
    fingerprints: z.array(z.string().regex(/^([0-9A-Fa-f] ?){40}$/, "must be 40 hex digits")).min(1),
  })).optional(),
  /** Who may sign Sigstore bundles: a workflow at the release's tag, or a key. */
  sigstore: sigstoreSchema.optional(),
  /** TUF metadata besides: the root that came with the product, and where the metadata lies if not at the source. */
  tuf: lazyStrictObject(() => ({
    root: file,
    /** Of the repository for what is carried over an air gap (`upgrade install --file`), which has keys of its own. */
    offline_root: file.optional(),
    url: z
      .url({ protocol: /^https?$/ })
      .max(4096)
      .optional(),
  })).optional(),
  /** Which proofs must be there; by default every kind that a key, an identity or a root is given for. */
  require: z.array(z.enum([...proofKinds, "tuf"])).default([]),
}));

export type TrustSection = z.output<typeof trustSectionSchema>;

const trustFileSchema = trustSectionSchema.extend({
  product: z.string().transform((text, context) => {
    try {
      return parseProductName(text);
    } catch (error) {
      context.addIssue({ code: "custom", message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  }),
});

export type TrustFile = { readonly product: string; readonly trust: TrustSection /** Absolute. */; readonly place: string };

const sizeLimitBytes = 256 * 1024;
const keyringLimitBytes = 1024 * 1024;

/** Reads a trust file; throws `policy_invalid` with file, line and column. */
export async function loadTrustFile(path: string): Promise<TrustFile> {
  const place = resolve(path);
  let text: string;
  try {
    text = (await readFileBounded(place, sizeLimitBytes)).toString("utf8");
  } catch (error) {
    throw new SlipwayError("policy_invalid", `cannot read the trust file: ${error instanceof Error ? error.message : String(error)}`, { place, cause: error });
  }
  const { product, ...trust } = readStrictYaml({ text, name: path, schema: trustFileSchema, code: "policy_invalid" });
  const problem = trustProblem(trust);
  if (problem !== undefined) throw new SlipwayError("policy_invalid", problem, { place });
  return { product, trust: withAbsolutePaths(trust, dirname(place)), place };
}

/** Relative paths count from `folder`, the file's own. */
export function withAbsolutePaths(trust: TrustSection, folder: string): TrustSection {
  const at = (path: string): string => resolve(folder, path);
  const { openpgp, sigstore, tuf } = trust;
  return {
    ...trust,
    ...(tuf === undefined ? {} : { tuf: { ...tuf, root: at(tuf.root), ...(tuf.offline_root === undefined ? {} : { offline_root: at(tuf.offline_root) }) } }),
    ...(openpgp === undefined ? {} : { openpgp: { ...openpgp, keyring: at(openpgp.keyring) } }),
    ...(sigstore === undefined ? {} : { sigstore: sigstoreAt(sigstore, at) }),
  };
}

function sigstoreAt(sigstore: NonNullable<TrustSection["sigstore"]>, at: (path: string) => string): NonNullable<TrustSection["sigstore"]> {
  if (!("public_key" in sigstore)) return { ...sigstore, trusted_root: at(sigstore.trusted_root) };
  return { public_key: at(sigstore.public_key), ...(sigstore.trusted_root === undefined ? {} : { trusted_root: at(sigstore.trusted_root) }) };
}

/** What the schema cannot say: parts that need each other; undefined where all is well. */
export function trustProblem(trust: TrustSection): string | undefined {
  if (trust.minisign.length === 0 && trust.openpgp === undefined && trust.sigstore === undefined) {
    return "trust: name at least one minisign key, an openpgp keyring or a sigstore identity; nothing is installed unsigned";
  }
  if (trust.require.includes("minisign") && trust.minisign.length === 0) return "trust.require demands minisign, but trust.minisign names no key";
  if (trust.require.includes("openpgp") && trust.openpgp === undefined) return "trust.require demands openpgp, but trust.openpgp names no keyring";
  if (trust.require.includes("sigstore") && trust.sigstore === undefined) return "trust.require demands sigstore, but trust.sigstore names no identity";
  if (trust.require.includes("tuf") && trust.tuf === undefined) return "trust.require demands tuf, but trust.tuf names no root";
  return undefined;
}

/**
 * The section with its files read; `sigstoreRoot` in place of the file's trusted root, where one was followed through TUF. Throws `policy_invalid`,
 * `key_invalid`, and what reading a file throws.
 */
export async function readTrustSection(trust: TrustSection, sigstoreRoot?: Uint8Array): Promise<TrustPolicySource> {
  const { minisign, openpgp, sigstore, require } = trust;
  const given: readonly ProofKind[] = [
    ...(minisign.length > 0 ? (["minisign"] as const) : []),
    ...(openpgp === undefined ? [] : (["openpgp"] as const)),
    ...(sigstore === undefined ? [] : (["sigstore"] as const)),
  ];
  // A TUF root that is given is always demanded, by the source itself (tuf-source.ts).
  const signed = require.filter((kind) => kind !== "tuf");
  return {
    minisign,
    ...(openpgp === undefined
      ? {}
      : {
          openpgp: {
            keyring: await readFileBounded(openpgp.keyring, keyringLimitBytes),
            fingerprints: openpgp.fingerprints.map((text) => text.replaceAll(" ", "").toUpperCase()),
          },
        }),
    ...(sigstore === undefined ? {} : { sigstore: await readSigstorePolicy(sigstore, sigstoreRoot) }),
    require: signed.length > 0 ? signed : given,
  };
}

async function readSigstorePolicy(sigstore: NonNullable<TrustSection["sigstore"]>, followed: Uint8Array | undefined): Promise<SigstorePolicy> {
  const read = (path: string): Promise<Buffer> => readFileBounded(path, trustedRootSizeLimit);
  const trustedRoot = sigstore.trusted_root === undefined ? undefined : (followed ?? (await read(sigstore.trusted_root)));
  if ("public_key" in sigstore) {
    return createSigstorePolicy({ publicKey: await read(sigstore.public_key), ...(trustedRoot === undefined ? {} : { trustedRoot }) });
  }
  const { issuer, repository, workflow, log_threshold: logThreshold } = sigstore;
  return createSigstorePolicy({ issuer, repository, workflow, logThreshold, trustedRoot: trustedRoot ?? (await read(sigstore.trusted_root)) });
}
