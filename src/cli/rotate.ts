/**
 * `slipway keys rotate`: a key follows another in two steps, with the release that introduces it between them (trust facts 4.4).
 *
 *   begin      active K1, standby K2  ->  K1 retiring, K2 active, K3 (new) standby, epoch + 1: build and publish release N, signed by K1 and K2
 *   published  K1 retiring            ->  K1 retired after N's sequence: every later release is signed by K2 alone
 *   compromised: K1 active            ->  K1 retired at once, K2 signs directly: machines that know no K2 must be installed anew
 */
import { join, resolve } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { systemClock } from "../io/clock.ts";
import { keyFolderPath, listKeys } from "../io/key-folder.ts";
import { SlipwayError } from "../model/errors.ts";
import { manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { parseVersion } from "../model/version.ts";
import {
  formatKeySetFile,
  keySetFileLimit,
  keySetFileName,
  type KeySetFile,
  type KeySetFileKey,
  keySetOf,
  parseKeySetFile,
} from "../packaging/key-set-file.ts";
import { sumsSizeLimit } from "../trust/checksums.ts";
import { createTrustPolicy } from "../trust/keyring.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import { verifyRelease } from "../trust/verify-release.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { makeKey, publicKeyOf } from "./make-key.ts";
import { readBuiltManifest } from "./built-release.ts";

type Kind = KeySetFileKey["kind"];

export const run: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const { file, path } = await readKeySetFile(invocation);
  const kind: Kind = textOption(options, "type") === "openpgp" ? "openpgp" : "minisign";
  const retiring = file.keys.find((key) => key.kind === kind && key.role === "retiring");
  const published = textOption(options, "published");
  if (flagOption(options, "compromised")) {
    const replaced = await replaceStolen(invocation, file, kind);
    return finish(invocation, { path, file: replaced, steps: stolenSteps(replaced, kind) });
  }
  if (retiring === undefined && published === undefined) {
    const begun = await begin(invocation, file, kind);
    return finish(invocation, { path, file: begun, steps: transitionSteps(begun, kind) });
  }
  if (retiring === undefined)
    throw new SlipwayError("usage", `no ${kind} key is retiring: the rotation has not begun`, { hint: "run `slipway keys rotate` without --published first" });
  if (published === undefined) {
    output.line(`a rotation has begun: ${retiring.name} (${retiring.id}) retires with the next release`);
    return finish(invocation, { path, file, steps: transitionSteps(file, kind) });
  }
  const sequence = await requireTransition(invocation, { file, retiring, folder: published });
  const keys = file.keys.map((key): KeySetFileKey => (key.id === retiring.id ? { ...key, role: "retired", notAfterSequence: sequence } : key));
  // The same epoch: the release said the same, in its own sequence.
  return finish(invocation, { path, file: { ...file, keys }, steps: afterSteps(file, kind) });
};

/** K1 retiring, K2 active, K3 standby. A standby key that is not here is made first, which then waits for the next rotation. */
async function begin(invocation: Invocation, file: KeySetFile, kind: Kind): Promise<KeySetFile> {
  const active = requireRole(file, kind, "active");
  const standby = file.keys.find((key) => key.kind === kind && key.role === "standby");
  if (standby === undefined) {
    throw new SlipwayError("key_missing", `the key set has no standby ${kind} key`, {
      hint: "make one with `slipway keys new --standby`, publish a release that names it, then rotate",
    });
  }
  const next = await newStandby(invocation, active.name, kind);
  const keys = file.keys.map(
    (key): KeySetFileKey => (key.id === active.id ? { ...key, role: "retiring" } : key.id === standby.id ? { ...key, role: "active" } : key),
  );
  return { ...file, epoch: file.epoch + 1, keys: [...keys, next] };
}

/** After a theft nothing that K1 signs may count any more, the introduction of K2 least of all. */
async function replaceStolen(invocation: Invocation, file: KeySetFile, kind: Kind): Promise<KeySetFile> {
  const stolen = file.keys.find((key) => key.kind === kind && (key.role === "retiring" || key.role === "active")) ?? requireRole(file, kind, "active");
  const text = textOption(invocation.options, "lastSequence") ?? "";
  if (!/^\d{1,15}$/.test(text)) {
    throw new SlipwayError("usage", "--compromised needs --last-sequence: the sequence of the last release that you signed yourselves", {
      hint: "`slipway release list --json` shows the sequences",
    });
  }
  const successor = file.keys.find((key) => key.kind === kind && key.role !== "retired" && key.id !== stolen.id);
  if (successor === undefined) throw new SlipwayError("key_missing", `no ${kind} key follows ${stolen.name}: customers must install a new public key by hand`);
  const keys = file.keys.map(
    (key): KeySetFileKey =>
      key.id === stolen.id ? { ...key, role: "retired", notAfterSequence: Number(text) } : key.id === successor.id ? { ...key, role: "active" } : key,
  );
  return { ...file, epoch: file.epoch + 1, keys: [...keys, await newStandby(invocation, stolen.name, kind)] };
}

/** `release` -> `release-2` -> `release-3`: the first name that is free. */
export async function newStandby(invocation: Invocation, name: string, kind: Kind): Promise<KeySetFileKey> {
  const base = name.replace(/-\d+$/, "");
  const taken = new Set((await listKeys(keyFolderPath(invocation.env))).filter((entry) => entry.type === kind).map((entry) => entry.name));
  let number = 2;
  while (taken.has(`${base}-${number}`)) number += 1;
  const entry = { name: `${base}-${number}`, type: kind } as const;
  await makeKey(invocation, entry);
  invocation.output.line(`standby ${kind} key ${entry.name}: move its private half offline, and keep it there until it is active`);
  return { ...(await publicKeyOf(keyFolderPath(invocation.env), entry)), name: entry.name, kind, role: "standby" };
}

/** The introducing release, as it was built and published: signed by the old key and the new one, carrying this very set. Returns its sequence. */
async function requireTransition(
  { cwd }: Invocation,
  at: { readonly file: KeySetFile; readonly retiring: KeySetFileKey; readonly folder: string },
): Promise<number> {
  const folder = resolve(cwd, at.folder);
  const manifest = await readBuiltManifest(folder);
  const read = (name: string, limit: number): Promise<Buffer> => readFileBounded(join(folder, name), limit);
  const sums = await read("SHA256SUMS", sumsSizeLimit);
  const question = {
    sums,
    manifest: await read(manifestName, manifestSizeLimit),
    expected: { product: manifest.product, version: parseVersion(manifest.version) },
    now: systemClock.now(),
  };
  const { kind } = at.retiring;
  const successor = requireRole(at.file, kind, "active");
  const checks: readonly (readonly [KeySetFileKey, string])[] =
    kind === "openpgp"
      ? [[at.retiring, `SHA256SUMS${signatureSuffixes.openpgp}`]]
      : [
          [at.retiring, `SHA256SUMS${signatureSuffixes.minisign}`],
          [successor, `SHA256SUMS.${successor.id}${signatureSuffixes.minisign}`],
        ];
  for (const [key, name] of checks) {
    const policy = await createTrustPolicy(
      kind === "openpgp"
        ? { openpgp: { keyring: Buffer.from(key.publicKey), fingerprints: [key.id] }, require: ["openpgp"] }
        : { minisign: [key.publicKey], require: ["minisign"] },
    );
    await verifyRelease({ ...question, policy, signatures: { [kind]: await read(name, manifestSizeLimit) } });
  }
  const expected = JSON.stringify(keySetOf(at.file, manifest.sequence));
  if (JSON.stringify(manifest.trust) !== expected) {
    throw new SlipwayError("policy_invalid", `${manifest.product} ${manifest.version} does not carry the key set of epoch ${at.file.epoch}`, {
      detail: "rotation_order",
      hint: `name the key set in the recipe (sign: keys: ${keySetFileName}), build and publish again`,
    });
  }
  return manifest.sequence;
}

export async function readKeySetFile({ options, cwd }: Pick<Invocation, "options" | "cwd">): Promise<{ readonly file: KeySetFile; readonly path: string }> {
  const name = textOption(options, "keys") ?? keySetFileName;
  const path = resolve(cwd, name);
  try {
    return { path, file: parseKeySetFile((await readFileBounded(path, keySetFileLimit)).toString("utf8"), name) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `there is no key set ${name}`, {
      cause: error,
      hint: "`slipway keys new NAME --type minisign --standby` begins one",
    });
  }
}

function requireRole(file: KeySetFile, kind: Kind, role: KeySetFileKey["role"]): KeySetFileKey {
  const found = file.keys.find((key) => key.kind === kind && key.role === role);
  if (found === undefined) throw new SlipwayError("key_missing", `the key set has no ${role} ${kind} key`);
  return found;
}

async function finish({ output }: Invocation, end: { readonly path: string; readonly file: KeySetFile; readonly steps: readonly string[] }): Promise<number> {
  await writeFileAtomic(end.path, formatKeySetFile(end.file), { mode: 0o644 });
  output.result({ file: end.path, ...end.file, next: end.steps });
  output.table(
    ["KEY", "TYPE", "ID", "ROLE", "UNTIL"],
    end.file.keys.map((key) => [key.name, key.kind, key.id, key.role, key.notAfterSequence === undefined ? "" : `sequence ${key.notAfterSequence}`]),
  );
  output.line();
  output.line(`epoch ${end.file.epoch}. Next:`);
  for (const [index, step] of end.steps.entries()) output.line(`  ${index + 1}. ${step}`);
  return 0;
}

function transitionSteps(file: KeySetFile, kind: Kind): readonly string[] {
  const [from, to] = [requireRole(file, kind, "retiring"), requireRole(file, kind, "active")];
  return [
    kind === "minisign"
      ? `in the recipe: sign: { minisign: key:${from.name}, minisign_next: key:${to.name}, keys: ${keySetFileName} }, and upgrade: { waypoint: true }`
      : `in the recipe: sign: { gpg: key:${from.name}, keys: ${keySetFileName} }, and upgrade: { waypoint: true }; publish ${to.name} where customers find your key`,
    "commit both files, then build and publish the release: old machines trust it by the old key, and learn the new one from it",
    "slipway keys rotate --published dist/<version>",
  ];
}

function afterSteps(file: KeySetFile, kind: Kind): readonly string[] {
  const to = requireRole(file, kind, "active");
  return [
    kind === "minisign"
      ? `in the recipe: sign: { minisign: key:${to.name}, keys: ${keySetFileName} }; take minisign_next and upgrade.waypoint away`
      : `in the recipe: sign: { gpg: key:${to.name}, keys: ${keySetFileName} }; take upgrade.waypoint away`,
    "keep the release that introduced the key: machines before it can only come by it",
    "destroy the retired key's private half once no release is built with it any more",
  ];
}

function stolenSteps(file: KeySetFile, kind: Kind): readonly string[] {
  const active = requireRole(file, kind, "active");
  return [
    `in the recipe: sign: { ${kind === "minisign" ? "minisign" : "gpg"}: key:${active.name}, keys: ${keySetFileName} }`,
    "register the new key on the server: `slipway publish --release-key <file>`; withdraw what the thief has signed",
    kind === "openpgp"
      ? "publish the revocation certificate that lies beside the key (.rev)"
      : "build and publish a release at once: it retires the key on every machine that sees it",
    "machines that never saw a release with a key set know no other key: they must be installed anew from packages",
  ];
}
