/** `slipway trust show|import|check`: what a machine trusts now and why, learning a key set without installing, and a trust file before it is used. */
import { resolve } from "node:path";
import { systemClock } from "../io/clock.ts";
import { acquireLock } from "../io/lock.ts";
import { errorTable, SlipwayError } from "../model/errors.ts";
import { defaultSumsName } from "../model/manifest.ts";
import { parseVersion } from "../model/version.ts";
import { digestOf } from "../trust/checksums.ts";
import { createTrustPolicy, type TrustPolicy } from "../trust/keyring.ts";
import { fingerprintOf, keyExpiry } from "../trust/openpgp.ts";
import { judgeKey } from "../trust/openpgp-key-fitness.ts";
import { expectedIdentity } from "../trust/sigstore-policy.ts";
import { type TrustMemory, withMemory } from "../trust/trust-memory.ts";
import { verifyRelease } from "../trust/verify-release.ts";
import { folderPlace, readReleaseFiles } from "../updater/examine-release.ts";
import { findInstallation, type Installation, loadInstallation } from "../updater/installation.ts";
import { readState } from "../updater/installed-state.ts";
import { rememberTrust, trustPolicyOf } from "../updater/prove.ts";
import { readSigstoreRoot } from "../updater/sigstore-root.ts";
import { prepareStateDirectory, stateDirectoryOf } from "../updater/state-directory.ts";
import { loadTrustFile, readTrustSection } from "../updater/trust-section.ts";
import { readBuiltManifest } from "./built-release.ts";
import { type CommandRun, type Invocation, textOption } from "./command.ts";

const lockWaitMs = 10_000;

type Row = { readonly kind: string; readonly id: string; readonly state: string };

export const runShow: CommandRun = async (invocation) => {
  const { output } = invocation;
  const installation = await openInstallation(invocation);
  const { trust: memory } = await readState(stateDirectoryOf(installation.stateDir).state, installation.product);
  const policy = await trustPolicyOf(installation, memory);
  const { unmet } = withMemory(await readTrustSection(installation.trust), memory);
  const rows = rowsOf(policy, memory);
  const followed = installation.trust.tuf === undefined ? undefined : await readSigstoreRoot(installation.stateDir);
  const sigstoreRoot = followed === undefined ? null : digestOf(followed);
  const { product } = installation;
  output.result({ product, epoch: memory?.set.epoch ?? 0, since: memory?.version ?? null, require: policy.require, unmet, keys: rows, sigstoreRoot });
  output.line(`${product}: required ${policy.require.join(" and ")}`);
  output.line(
    memory === undefined
      ? "keys of the installation file; no release with a key set was seen yet"
      : `key set of epoch ${memory.set.epoch}, learnt from ${memory.version}`,
  );
  output.table(
    ["TYPE", "ID", "STATE"],
    rows.map((row) => [row.kind, row.id, row.state]),
  );
  if (sigstoreRoot !== null) output.line(`Sigstore's trusted root is the one of the vendor's TUF metadata, ${sigstoreRoot}`);
  for (const kind of unmet)
    output.line(`${output.colors.yellow("warning:")} a release required ${kind}, and nothing here could check it: add it to trust in ${installation.place}`);
  return 0;
};

export const runImport: CommandRun = async (invocation) => {
  const { args, output, cwd } = invocation;
  const installation = await openInstallation(invocation);
  const folder = resolve(cwd, args[0] ?? ".");
  const claimed = await readBuiltManifest(folder);
  const directory = await prepareStateDirectory(installation.stateDir);
  const lock = await acquireLock(directory.path, "trust import", { waitMs: lockWaitMs });
  try {
    const before = (await readState(directory.state, installation.product)).trust;
    const release = await verifyRelease({
      ...(await readReleaseFiles(folderPlace(folder), textOption(invocation.options, "sums") ?? defaultSumsName)),
      expected: { product: installation.product, version: parseVersion(claimed.version) },
      policy: await trustPolicyOf(installation, before),
      now: systemClock.now(),
    });
    if (release.manifest.trust === undefined) throw new SlipwayError("policy_invalid", `${release.product} ${release.version} carries no key set`);
    await rememberTrust(directory.state, release);
    const after = (await readState(directory.state, installation.product)).trust;
    const isNew = after?.set.epoch !== before?.set.epoch;
    output.result({ product: release.product, version: release.version, epoch: after?.set.epoch ?? 0, isNew });
    output.line(
      isNew ? `learnt the key set of epoch ${after?.set.epoch ?? 0} from ${release.version}` : `nothing new: epoch ${after?.set.epoch ?? 0} is known`,
    );
    return 0;
  } finally {
    await lock.release();
  }
};

export const runCheck: CommandRun = async ({ args, output, cwd }) => {
  const path = resolve(cwd, args[0] ?? "");
  // One of the two: what is no trust file is read as an installation file, whose own message then counts.
  const asTrust = await loadTrustFile(path).catch(() => undefined);
  const { product, trust } = asTrust ?? (await loadInstallation(path));
  const policy = await createTrustPolicy(await readTrustSection(trust));
  const now = systemClock.now();
  const findings: string[] = [];
  for (const key of policy.openpgp.keys) {
    const [fitness, end] = [await judgeKey(key, now), await keyExpiry(key)];
    if (fitness.kind !== "fit") findings.push(`openpgp ${fingerprintOf(key)}: ${fitness.why}`);
    else if (end !== undefined && end.getTime() - now.getTime() < 180 * 86_400_000)
      findings.push(`openpgp ${fingerprintOf(key)} expires on ${end.toISOString().slice(0, 10)}`);
  }
  const rows = rowsOf(policy, undefined);
  output.result({ product, require: policy.require, keys: rows, findings });
  output.line(`${product}: required ${policy.require.join(" and ")}`);
  output.table(
    ["TYPE", "ID", "STATE"],
    rows.map((row) => [row.kind, row.id, row.state]),
  );
  for (const finding of findings) output.line(`${output.colors.yellow("warning:")} ${finding}`);
  return findings.length === 0 ? 0 : errorTable.key_unfit.exit;
};

function rowsOf(policy: TrustPolicy, memory: TrustMemory | undefined): readonly Row[] {
  const stateOf = (id: string): string => {
    const last = policy.lastSequences.get(id);
    if (last !== undefined) return `retired after sequence ${last}`;
    return memory?.set.keys.find((key) => key.id === id)?.role ?? "of the file";
  };
  const { sigstore } = policy;
  return [
    ...policy.minisign.map(({ keyId }) => ({ kind: "minisign", id: keyId, state: stateOf(keyId) })),
    ...policy.openpgp.keys.map((key) => ({ kind: "openpgp", id: fingerprintOf(key), state: stateOf(fingerprintOf(key)) })),
    ...(sigstore === undefined
      ? []
      : [
          {
            kind: "sigstore",
            id: sigstore.kind === "key" ? "a public key" : expectedIdentity(sigstore, "v(version)"),
            state: sigstore.kind === "key" ? "of the file" : sigstore.issuer,
          },
        ]),
  ];
}

async function openInstallation({ options, cwd }: Invocation): Promise<Installation> {
  return loadInstallation(await findInstallation(textOption(options, "installation"), cwd));
}
