/** Whom a command line trusts: keys and a Sigstore identity by flags, or a trust file that says both and what is required. */
import { resolve } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { createTrustPolicy, kindOfPublicKey, type ProofKind, type TrustPolicy } from "../trust/keyring.ts";
import { openpgpKeySizeLimit } from "../trust/openpgp.ts";
import { createSigstorePolicy, type SigstorePolicy, trustedRootSizeLimit } from "../trust/sigstore-policy.ts";
import { loadTrustFile, readTrustSection } from "../updater/trust-section.ts";
import { type Invocation, listOption, textOption } from "./command.ts";
import { actionsIssuer } from "./trust-option-rows.ts";

export type NamedTrust = { readonly policy: TrustPolicy /** From a trust file. */; readonly product: string | undefined };

/** Everything that is named is required. Throws `usage` where nothing is, `policy_invalid`, `key_invalid`. */
export async function readTrustOptions(invocation: Invocation): Promise<NamedTrust> {
  const { options, cwd } = invocation;
  const file = textOption(options, "trust");
  const byFlag = ["key", "sigstoreRepository", "sigstoreWorkflow", "sigstoreKey"].filter((name) => textOption(options, name) !== undefined);
  if (file !== undefined) {
    if (byFlag.length > 0) throw new SlipwayError("usage", "--trust says everything: leave the other options of trust away");
    const { product, trust } = await loadTrustFile(resolve(cwd, file));
    return { product, policy: await createTrustPolicy(await readTrustSection(trust)) };
  }
  if (byFlag.length === 0) {
    throw new SlipwayError("usage", "say whom you trust", {
      hint: "name --key, --sigstore-repository with --sigstore-workflow and --sigstore-root, or --trust",
    });
  }
  const { minisign, keyring } = await readKeys(invocation);
  const fingerprints = listOption(options, "fingerprint");
  const sigstore = await readSigstore(invocation);
  const require: readonly ProofKind[] = [
    ...(minisign.length > 0 ? (["minisign"] as const) : []),
    ...(keyring === undefined ? [] : (["openpgp"] as const)),
    ...(sigstore === undefined ? [] : (["sigstore"] as const)),
  ];
  const policy = await createTrustPolicy({
    minisign,
    ...(keyring === undefined ? {} : { openpgp: { keyring, ...(fingerprints === undefined ? {} : { fingerprints }) } }),
    ...(sigstore === undefined ? {} : { sigstore }),
    require,
  });
  return { product: undefined, policy };
}

async function readKeys({ options, cwd }: Invocation): Promise<{ readonly minisign: readonly string[]; readonly keyring: Uint8Array | undefined }> {
  const minisign: string[] = [];
  const openpgp: Uint8Array[] = [];
  for (const key of listOption(options, "key") ?? []) {
    const isBareKey = key.length === 56 && kindOfPublicKey(Buffer.from(key)) === "minisign";
    const bytes = isBareKey ? Buffer.from(key) : await readFileBounded(resolve(cwd, key), openpgpKeySizeLimit);
    if (kindOfPublicKey(bytes) === "minisign") minisign.push(bytes.toString("utf8"));
    else openpgp.push(bytes);
  }
  if (openpgp.length > 1) throw new SlipwayError("usage", "name one OpenPGP keyring; it may hold several keys");
  return { minisign, keyring: openpgp[0] };
}

async function readSigstore({ options, cwd }: Invocation): Promise<SigstorePolicy | undefined> {
  const read = (name: string): Promise<Buffer> => readFileBounded(resolve(cwd, name), trustedRootSizeLimit);
  const [repository, workflow] = [textOption(options, "sigstoreRepository"), textOption(options, "sigstoreWorkflow")];
  const [key, root] = [textOption(options, "sigstoreKey"), textOption(options, "sigstoreRoot")];
  if (key !== undefined) {
    if (repository !== undefined || workflow !== undefined) throw new SlipwayError("usage", "bundles are signed by a key or by a workflow: name one of them");
    return createSigstorePolicy({ publicKey: await read(key), ...(root === undefined ? {} : { trustedRoot: await read(root) }) });
  }
  if (repository === undefined && workflow === undefined) return undefined;
  if (repository === undefined || workflow === undefined || root === undefined) {
    throw new SlipwayError("usage", "an identity needs --sigstore-repository, --sigstore-workflow and --sigstore-root together");
  }
  return createSigstorePolicy({ issuer: textOption(options, "sigstoreIssuer") ?? actionsIssuer, repository, workflow, trustedRoot: await read(root) });
}
