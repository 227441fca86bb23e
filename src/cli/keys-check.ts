/** `slipway keys check` and `slipway keys revoke`: what will go wrong with the release keys, for CI; and the end of a key that is not rotated. */
import { writeFileAtomic } from "../io/atomic-file.ts";
import { systemClock } from "../io/clock.ts";
import { keyFolderPath, listKeys } from "../io/key-folder.ts";
import { errorTable, SlipwayError } from "../model/errors.ts";
import { formatKeySetFile, type KeySetFile, type KeySetFileKey } from "../packaging/key-set-file.ts";
import { keyExpiry, readPublicKeys } from "../trust/openpgp.ts";
import { judgeKey } from "../trust/openpgp-key-fitness.ts";
import { type CommandRun, textOption } from "./command.ts";
import { readKeySetFile } from "./rotate.ts";

const dayMs = 86_400_000;

type Finding = { readonly key: string; readonly text: string };

export const runCheck: CommandRun = async (invocation) => {
  const { options, output, env } = invocation;
  const { file } = await readKeySetFile(invocation);
  const warnDays = Number(textOption(options, "warnDays") ?? "180");
  if (!Number.isSafeInteger(warnDays) || warnDays < 0) throw new SlipwayError("usage", "--warn-days must be a whole number of days");
  const here = new Set((await listKeys(keyFolderPath(env))).map((entry) => `${entry.type} ${entry.name}`));
  const findings = [...roleFindings(file, here), ...(await expiryFindings(file, warnDays))];
  output.result({ epoch: file.epoch, findings });
  for (const { key, text } of findings) output.line(`${output.colors.yellow("warning:")} ${key}: ${text}`);
  if (findings.length === 0) output.line(`epoch ${file.epoch}: ${file.keys.length} keys, nothing to do`);
  return findings.length === 0 ? 0 : errorTable.key_unfit.exit;
};

function roleFindings(file: KeySetFile, here: ReadonlySet<string>): readonly Finding[] {
  const kinds = [...new Set(file.keys.map((key) => key.kind))];
  return kinds.flatMap((kind): readonly Finding[] => {
    const ofKind = file.keys.filter((key) => key.kind === kind);
    const retiring = ofKind.find((key) => key.role === "retiring");
    const standby = ofKind.find((key) => key.role === "standby");
    return [
      ...(retiring === undefined
        ? []
        : [
            {
              key: retiring.name,
              text: "its rotation is not finished: publish the release that introduces its successor, then `slipway keys rotate --published dist/<version>`",
            },
          ]),
      ...(standby === undefined ? [{ key: kind, text: "no standby key: if the active one is stolen, customers must install a new key by hand" }] : []),
      ...(standby !== undefined && here.has(`${kind} ${standby.name}`) && ofKind.some((key) => key.role === "active" && here.has(`${kind} ${key.name}`))
        ? [{ key: standby.name, text: "the standby key lies beside the active one: who steals one steals both; move its private half offline" }]
        : []),
    ];
  });
}

async function expiryFindings(file: KeySetFile, warnDays: number): Promise<readonly Finding[]> {
  const now = systemClock.now();
  const findings: Finding[] = [];
  for (const { name, kind, role, publicKey } of file.keys) {
    if (kind !== "openpgp" || role === "retired") continue;
    for (const key of await readPublicKeys(Buffer.from(publicKey))) {
      const fitness = await judgeKey(key, now);
      const end = await keyExpiry(key);
      const days = end === undefined ? undefined : Math.floor((end.getTime() - now.getTime()) / dayMs);
      if (fitness.kind !== "fit") findings.push({ key: name, text: fitness.why });
      else if (days !== undefined && days <= warnDays)
        findings.push({ key: name, text: `expires in ${days} days: extend it or rotate, and publish the public half before` });
    }
  }
  return findings;
}

export const runRevoke: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const { file, path } = await readKeySetFile(invocation);
  const [named = ""] = args;
  const key = file.keys.find((one) => one.name === named || one.id === named.toUpperCase());
  if (key === undefined) throw new SlipwayError("key_missing", `the key set has no key ${named}; there are: ${file.keys.map((one) => one.name).join(", ")}`);
  const text = textOption(options, "lastSequence") ?? "";
  if (!/^\d{1,15}$/.test(text)) throw new SlipwayError("usage", "--last-sequence is the sequence of the last release that this key may have signed");
  if (key.role === "active" && !file.keys.some((one) => one.kind === key.kind && one.role === "active" && one.id !== key.id)) {
    throw new SlipwayError("policy_invalid", `${key.name} is the only active ${key.kind} key`, {
      hint: "`slipway keys rotate` lets another follow; after a theft `slipway keys rotate --compromised --last-sequence <n>`",
    });
  }
  const keys = file.keys.map((one): KeySetFileKey => (one.id === key.id ? { ...one, role: "retired", notAfterSequence: Number(text) } : one));
  const next: KeySetFile = { ...file, epoch: file.epoch + 1, keys };
  await writeFileAtomic(path, formatKeySetFile(next), { mode: 0o644 });
  output.result({ file: path, ...next });
  output.line(`${key.name} (${key.id}) counts for releases up to sequence ${text}; the next release tells every machine that sees it`);
  if (key.kind === "openpgp") output.line("publish its revocation certificate as well (the .rev file beside the key): gpg, apt and rpm look at nothing else");
  return 0;
};
