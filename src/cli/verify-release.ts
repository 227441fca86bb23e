/** `slipway verify release vX.Y.Z`: a published release fetched from the outside, verified file by file, with a report for whoever asks later. */
import { resolve } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { systemClock } from "../io/clock.ts";
import { SlipwayError } from "../model/errors.ts";
import { defaultSumsName } from "../model/manifest.ts";
import { parseFileName, parseProductName } from "../model/names.ts";
import { parseVersion, type Version } from "../model/version.ts";
import { createTrustPolicy, type TrustPolicy } from "../trust/keyring.ts";
import { examineRelease, folderPlace, type ReleasePlace, type ReleaseReport, remotePlace } from "../updater/examine-release.ts";
import { loadInstallation, readCredentials } from "../updater/installation.ts";
import { readTrustSection } from "../updater/trust-section.ts";
import { type CommandRun, type Invocation, textOption } from "./command.ts";
import { formatTable } from "./output.ts";
import { readTrustOptions } from "./trust-options.ts";

const refusedExitCode = 20;

type Asked = { readonly product: string; readonly policy: TrustPolicy; readonly place: ReleasePlace; readonly sumsName: string };

export const run: CommandRun = async (invocation) => {
  const { args, options, output, cwd } = invocation;
  const version = parseVersion((args[0] ?? "").replace(/^v(?=\d)/, ""));
  const asked = textOption(options, "installation") === undefined ? await byOptions(invocation, version) : await byInstallation(invocation, version);
  const report = await examineRelease({
    ...asked,
    version,
    now: systemClock.now(),
    tool: `slipway ${invocation.version}`,
    onFile: (name) => output.note(output.colors.dim(`looked at ${name}`)),
  });
  const text = formatReport(report);
  const base = resolve(cwd, textOption(options, "report") ?? `verification-${report.product}-${report.version}`);
  await writeFileAtomic(`${base}.json`, `${JSON.stringify(report, undefined, 2)}\n`, { mode: 0o644 });
  await writeFileAtomic(`${base}.txt`, text, { mode: 0o644 });
  for (const line of text.trimEnd().split("\n")) output.line(line);
  output.note(`report: ${base}.json and ${base}.txt`);
  output.result(report);
  return report.result === "PASS" ? 0 : refusedExitCode;
};

async function byInstallation(invocation: Invocation, version: Version): Promise<Asked> {
  const { options, env, cwd, signal } = invocation;
  const installation = await loadInstallation(resolve(cwd, textOption(options, "installation") ?? ""));
  const credentials = await readCredentials(installation.source, installation, env);
  const url = textOption(options, "from") ?? installation.source.url;
  return {
    product: installation.product,
    policy: await createTrustPolicy(await readTrustSection(installation.trust)),
    place: remotePlace(serverBase(url, installation.product, version), { fetch, signal, ...(credentials === undefined ? {} : { credentials }) }),
    sumsName: installation.source.sums,
  };
}

async function byOptions(invocation: Invocation, version: Version): Promise<Asked> {
  const { options, env, cwd, signal } = invocation;
  const named = await readTrustOptions(invocation);
  const product = parseProductName(textOption(options, "product") ?? named.product ?? "");
  const sumsName = parseFileName(textOption(options, "sums") ?? defaultSumsName);
  const [from, base, folder] = [textOption(options, "from"), textOption(options, "base"), textOption(options, "folder")];
  if ([from, base, folder].filter((way) => way !== undefined).length !== 1) {
    throw new SlipwayError("usage", "say where the release is", {
      hint: "--from <server>, --base <address of the files>, --folder <files>, or --installation <file>",
    });
  }
  if (folder !== undefined) return { product, policy: named.policy, place: folderPlace(resolve(cwd, folder)), sumsName };
  const [keyId, secret] = [env["SLIPWAY_KEY_ID"], env["SLIPWAY_KEY_SECRET"]];
  const credentials = keyId === undefined || secret === undefined ? {} : { credentials: { keyId, secret } };
  const url = from === undefined ? baseOf(base ?? "") : serverBase(from, product, version);
  return { product, policy: named.policy, place: remotePlace(url, { fetch, signal, ...credentials }), sumsName };
}

function serverBase(server: string, product: string, version: Version): URL {
  return new URL(`releases/${encodeURIComponent(product)}/${encodeURIComponent(version)}/`, baseOf(server));
}

function baseOf(text: string): URL {
  const url = URL.parse(text.endsWith("/") ? text : `${text}/`);
  if (url === null || !["http:", "https:"].includes(url.protocol) || url.username !== "" || url.search !== "") {
    throw new SlipwayError("usage", "an address begins with http:// or https:// and has no user, password or query", {
      hint: "the access pair comes from SLIPWAY_KEY_ID and SLIPWAY_KEY_SECRET",
    });
  }
  return url;
}

/** For people: the same as the JSON, in one screen. */
function formatReport(report: ReleaseReport): string {
  const rows = report.checks.map((check) => [check.result, check.name, check.detail]);
  return [
    `${report.product} ${report.version}: ${report.result}`,
    `source    ${report.source}`,
    `verified  ${report.verifiedAt} by ${report.verifiedBy}`,
    `required  ${report.required.join(", ")}`,
    ...(report.commit === undefined ? [] : [`commit    ${report.commit}`]),
    `files     ${report.files.length}`,
    "",
    ...formatTable(["RESULT", "WHAT", "DETAIL"], rows),
    "",
  ].join("\n");
}
