/** `slipway build`: carries out the plan into dist/<version>/. */
import { availableParallelism } from "node:os";
import { relative } from "node:path";
import { systemClock } from "../io/clock.ts";
import { runCommand } from "../io/command.ts";
import { readPassphrase } from "../io/passphrase.ts";
import { connectRegistry } from "../io/registry-login.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { formatTarget } from "../model/target.ts";
import { type BuildResult, buildRelease } from "../packaging/build.ts";
import { buildDeltas, type DeltaPlace } from "../packaging/delta-build.ts";
import { hasIdentityToken } from "../packaging/identity-token.ts";
import { plannedKeyReferences } from "../packaging/planned-keys.ts";
import { loadReleaseSigner } from "../packaging/release-signer.ts";
import { refuseLoss } from "../packaging/release-loss.ts";
import type { ReleaseSigner } from "../trust/release-signature.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { type DeltaBase, fetchDeltaBases, findDeltaBases, plannedDeltas } from "./delta-bases.ts";
import { formatBytes, type Output, type Progress } from "./output.ts";
import { signKeyless } from "./sign-keyless.ts";
import { absentKeyError, isPreview, outFolderOf, type PlannedRelease, printPlan, readPlan, showCommand } from "./plan.ts";

export const run: CommandRun = async (invocation) => {
  const { options, output, signal } = invocation;
  const planned = await readPlan(invocation);
  const { recipe, folder, plan } = planned;
  const outFolder = outFolderOf(invocation, folder);
  const bases = await findDeltaBases(invocation, { recipe, plan, isPreview: isPreview(invocation, plan), outFolder });
  if (flagOption(options, "dryRun")) {
    printPlan(plan, plannedDeltas(plan, bases), output);
    return 0;
  }
  const builderId = readBuilderId(textOption(options, "builder"));
  if (!flagOption(options, "replace")) await refuseLoss(outFolder, planned);
  const signer = await loadSigner(invocation, planned);
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
      output.note(output.colors.dim(showCommand(command)));
      output.event({ event: "command", ...(command.target === undefined ? {} : { target: formatTarget(command.target) }), argv: command.argv });
    },
    onOutput: lines.write,
    onArtifact: (artifact) => {
      done += 1;
      output.event({ event: "artifact", name: artifact.name, kind: artifact.kind, size: artifact.size, sha256: artifact.sha256 });
      progress.update(done, artifact.name);
    },
    ...(bases.length === 0 ? {} : { makeDeltas: (place) => makeDeltas(invocation, { place, bases, plan }) }),
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
  const { sigstore } = recipe.sign;
  const isKeyless = sigstore !== undefined && plan.records.some(({ kind }) => kind === "bundle");
  if (isKeyless && !hasIdentityToken(invocation.env) && isPreview(invocation, plan)) {
    output.note(`${output.colors.yellow("warning:")} no identity token of a CI run is here, so this preview has no keyless signatures`);
  } else if (isKeyless) {
    const bundles = await signKeyless(invocation, { folder: result.folder, sumsName: recipe.checksums, sigstore });
    report({ ...result, files: [...result.files, ...bundles] }, invocation, signer);
    return 0;
  }
  report(result, invocation, signer);
  return 0;
};

type DeltaWork = { readonly place: DeltaPlace; readonly bases: readonly DeltaBase[]; readonly plan: PlannedRelease["plan"] };

/** Fetches the earlier releases that are not here into the build's own work folder, which goes with it. */
async function makeDeltas(invocation: Invocation, { place, bases, plan }: DeltaWork): Promise<readonly ManifestArtifact[]> {
  const { output } = invocation;
  const from = await fetchDeltaBases(invocation, { bases, plan, work: place.workFolder });
  let shown: { readonly name: string; readonly progress: Progress } | undefined;
  const made = await buildDeltas({
    ...place,
    from,
    onDelta: (text) => {
      shown?.progress.end();
      shown = undefined;
      output.note(text);
    },
    onProgress: (name, done, total) => {
      if (shown?.name !== name) shown = { name, progress: output.progress(`making ${name}`, total) };
      shown.progress.update(done);
    },
  });
  for (const { name, kind, size, sha256 } of made) output.event({ event: "artifact", name, kind, size, sha256 });
  return made;
}

async function loadSigner(invocation: Invocation, { recipe, plan, folder, absentKeys }: PlannedRelease): Promise<ReleaseSigner | undefined> {
  const { env, options, output } = invocation;
  const [absent] = absentKeys;
  if (absent !== undefined) {
    if (!isPreview(invocation, plan)) throw absentKeyError(absent);
    output.note(`${output.colors.yellow("warning:")} ${absent.message}, so this preview is not signed`);
    return undefined;
  }
  const references = plannedKeyReferences(recipe, plan, flagOption(options, "unsigned"));
  if (Object.keys(references).length === 0) return undefined;
  const source = { env, file: textOption(options, "passphraseFile"), terminal: { input: process.stdin, output: process.stderr } };
  return loadReleaseSigner(references, {
    env,
    folder,
    now: systemClock.now(),
    epochSeconds: plan.epochSeconds,
    passphrase: (question) => readPassphrase(source, question),
  });
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
