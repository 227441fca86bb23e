/** `slipway build`: carries out the plan into dist/<version>/. */
import { availableParallelism } from "node:os";
import { join, relative, resolve } from "node:path";
import { systemClock } from "../io/clock.ts";
import { runCommand } from "../io/command.ts";
import { readPassphrase } from "../io/passphrase.ts";
import { connectRegistry } from "../io/registry-login.ts";
import { SlipwayError } from "../model/errors.ts";
import { formatTarget } from "../model/target.ts";
import { isSnapshot } from "../model/version.ts";
import { type BuildResult, buildRelease } from "../packaging/build.ts";
import type { Plan } from "../packaging/plan.ts";
import type { Recipe } from "../packaging/recipe.ts";
import { loadReleaseSigner } from "../packaging/release-signer.ts";
import { type ReleaseSigner, signatureSuffixes } from "../trust/release-signature.ts";
import { type CommandRun, flagOption, type Invocation, listOption, textOption } from "./command.ts";
import { formatBytes, type Output } from "./output.ts";
import { printPlan, readPlan } from "./plan.ts";

export const run: CommandRun = async (invocation) => {
  const { options, output, cwd, signal } = invocation;
  const { recipe, folder, plan } = await readPlan(invocation);
  if (flagOption(options, "dryRun")) {
    printPlan(plan, output);
    return 0;
  }
  const signer = await loadSigner(invocation, { recipe, plan, folder });
  const builderId = readBuilderId(textOption(options, "builder"));
  const out = textOption(options, "out");
  const outFolder = out === undefined ? join(folder, "dist") : resolve(cwd, out);
  const lines = lineWriter(output);
  const described = plan.records.filter(({ kind }) => kind === "sbom" || kind === "provenance");
  const progress = output.progress(`building ${plan.product} ${plan.version}`, plan.artifacts.length + described.length);
  let done = 0;
  const result = await buildRelease({
    recipe,
    plan,
    folder,
    outFolder,
    run: runCommand,
    connectRegistry: (host) => connectRegistry(host, { env: invocation.env, signal }),
    jobs: availableParallelism(),
    isResumable: true,
    tool: { name: "slipway", version: invocation.version },
    signal,
    ...(builderId === undefined ? {} : { claims: { builderId } }),
    ...(signer === undefined ? {} : { signer }),
    onCommand: (command) => {
      output.note(output.colors.dim(`${formatTarget(command.target)}: ${command.argv.join(" ")}`));
      output.event({ event: "command", target: formatTarget(command.target), argv: command.argv });
    },
    onOutput: lines.write,
    onArtifact: (artifact) => {
      done += 1;
      output.event({ event: "artifact", name: artifact.name, kind: artifact.kind, size: artifact.size, sha256: artifact.sha256 });
      progress.update(done, artifact.name);
    },
    onKept: (names) => {
      progress.end();
      output.note(
        `${names.length} finished ${names.length === 1 ? "artifact is" : "artifacts are"} kept: the next build of ${plan.version} goes on from there`,
      );
      output.event({ event: "kept", names });
    },
  });
  lines.end();
  progress.end();
  report(result, invocation, signer);
  return 0;
};

async function loadSigner(
  invocation: Invocation,
  build: { readonly recipe: Recipe; readonly plan: Plan; readonly folder: string },
): Promise<ReleaseSigner | undefined> {
  const { recipe, plan, folder } = build;
  const { env, options } = invocation;
  const isApkSigned = plan.artifacts.some((artifact) => artifact.kind === "apk") && !flagOption(options, "unsigned");
  const isSigned = plan.records.some((record) => record.kind in signatureSuffixes);
  const { apk, ...others } = recipe.sign;
  const references = { ...(isSigned ? others : {}), ...(isApkSigned && apk !== undefined ? { apk } : {}) };
  if (Object.keys(references).length === 0) return undefined;
  const source = { env, file: textOption(options, "passphraseFile"), terminal: { input: process.stdin, output: process.stderr } };
  try {
    return await loadReleaseSigner(references, {
      env,
      folder,
      now: systemClock.now(),
      epochSeconds: plan.epochSeconds,
      passphrase: (question) => readPassphrase(source, question),
    });
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== "key_missing" || !isPreview(invocation, plan)) throw error;
    invocation.output.note(`${invocation.output.colors.yellow("warning:")} ${error.message}, so this preview is not signed`);
    return undefined;
  }
}

/** A part of a release, or a state between two tags: nobody can take it for the release, so it may go without a signature. */
function isPreview({ options }: Invocation, plan: Plan): boolean {
  return listOption(options, "only") !== undefined || listOption(options, "target") !== undefined || isSnapshot(plan.version);
}

function readBuilderId(text: string | undefined): string | undefined {
  if (text === undefined || (/^[a-z][a-z0-9+.-]*:\S+$/.test(text) && URL.canParse(text))) return text;
  throw new SlipwayError("usage", `--builder ${text.slice(0, 200)} is not a URI`, { hint: "name the CI workflow by its https address" });
}

function report(result: BuildResult, { output, cwd }: Invocation, signer: ReleaseSigner | undefined): void {
  const { manifest } = result;
  output.table(
    ["NAME", "SIZE", "SHA256"],
    manifest.artifacts.map((artifact) => [artifact.name, formatBytes(artifact.size), artifact.sha256]),
  );
  if (result.reused.length > 0) output.note(`${result.reused.length} of them were finished by an earlier attempt and have not changed`);
  const keys = signer === undefined ? [] : Object.entries(signer.keyIds).map(([kind, id]) => `${kind} key ${id}`);
  for (const warning of result.warnings) output.note(`${output.colors.yellow("warning:")} ${warning}`);
  output.line();
  output.line(`${result.files.length} files in ${shortPath(cwd, result.folder)}, ${keys.length === 0 ? "not signed" : `signed with ${keys.join(" and ")}`}`);
  output.result({ folder: result.folder, files: result.files, keys: signer?.keyIds ?? {}, warnings: result.warnings, reused: result.reused, manifest });
}

/** Output of the build command as whole lines: it comes in pieces of any size. */
function lineWriter(output: Output): { readonly write: (text: string) => void; readonly end: () => void } {
  let rest = "";
  const show = (text: string): void => {
    output.note(text);
    output.event({ event: "output", text });
  };
  return {
    write: (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) show(line);
    },
    end: () => {
      if (rest !== "") show(rest);
    },
  };
}

/** Relative where that is not a climb. */
function shortPath(cwd: string, path: string): string {
  const way = relative(cwd, path);
  return way.startsWith("..") ? path : way || ".";
}
