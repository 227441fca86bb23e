/** `slipway rebuild --verify v1.4.2`: builds the release again from its tag and names the first byte that differs. */
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { systemClock } from "../io/clock.ts";
import { runCommand } from "../io/command.ts";
import { readPassphrase } from "../io/passphrase.ts";
import { SlipwayError } from "../model/errors.ts";
import { fileVersion, parseVersion, type Version } from "../model/version.ts";
import { rebuildRelease, type RebuildReport, type RebuildRequest } from "../packaging/rebuild.ts";
import type { FileVerdict } from "../packaging/rebuild-comparison.ts";
import { recipeName } from "../packaging/recipe.ts";
import { type RecipeFile, readRecipeFile } from "../packaging/recipe-file.ts";
import { joinSigners, loadReleaseSigner } from "../packaging/release-signer.ts";
import type { ReleaseSigner } from "../trust/release-signature.ts";
import { releaseSchema } from "../server/wire.ts";
import { openApi } from "./api-client.ts";
import { readBuiltManifest } from "./built-release.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { downloadArtifact } from "./download-artifact.ts";
import { showCommand } from "./plan.ts";

export const run: CommandRun = async (invocation) => {
  const { options, cwd, output, signal } = invocation;
  const wanted = textOption(options, "verify");
  if (wanted === undefined) throw new SlipwayError("usage", "name the tag: slipway rebuild --verify v1.4.2");
  const version = parseVersion(wanted);
  const here = await readRecipeFile(cwd, textOption(options, "recipe"));
  const download = flagOption(options, "fromServer") ? await mkdtemp(join(tmpdir(), "slipway-released-")) : undefined;
  try {
    const released = download ?? resolve(cwd, textOption(options, "dist") ?? join(here.folder, "dist", fileVersion(version)));
    if (download !== undefined) await downloadRelease(invocation, { here, version, folder: download });
    const report = await rebuildRelease({
      recipePath: resolve(cwd, textOption(options, "recipe") ?? recipeName),
      version,
      released,
      manifest: await readBuiltManifest(released),
      run: runCommand,
      jobs: availableParallelism(),
      tool: { name: "slipway", version: invocation.version },
      signal,
      openSigner: signerOpener(invocation),
      onCommand: (command) => output.note(output.colors.dim(showCommand(command))),
    });
    return finish(report, invocation);
  } finally {
    if (download !== undefined) await rm(download, { recursive: true, force: true });
  }
};

/** Each key by itself: those that are not on this machine, locked or expired since are left out, and said to be. */
function signerOpener({ env, options, output }: Invocation): RebuildRequest["openSigner"] {
  const source = { env, file: textOption(options, "passphraseFile"), terminal: { input: process.stdin, output: process.stderr } };
  return async (recipe, { folder, epochSeconds }) => {
    if (flagOption(options, "unsigned")) return undefined;
    const signers: ReleaseSigner[] = [];
    const { gpg, minisign, apk } = recipe.sign;
    for (const [word, reference] of Object.entries({ gpg, minisign, apk })) {
      if (reference === undefined) continue;
      const opening = { env, folder, now: systemClock.now(), epochSeconds, passphrase: (question: string) => readPassphrase(source, question) };
      try {
        signers.push(await loadReleaseSigner({ [word]: reference }, opening));
      } catch (error) {
        if (!(error instanceof SlipwayError) || !["key_missing", "key_locked", "key_unfit"].includes(error.code)) throw error;
        output.note(`built without the key ${reference}: ${error.message}`);
      }
    }
    return signers.length === 0 ? undefined : signers.reduce(joinSigners);
  };
}

async function downloadRelease(
  invocation: Invocation,
  { here, version, folder }: { readonly here: RecipeFile; readonly version: Version; readonly folder: string },
): Promise<void> {
  const { recipe } = here;
  const api = await openApi(invocation, recipe.publish.server);
  const base = ["products", recipe.name, "releases", version];
  const { artifacts } = await api.call({ method: "GET", path: base, schema: releaseSchema });
  const progress = invocation.output.progress(
    `downloading ${recipe.name} ${version}`,
    artifacts.reduce((sum, { size }) => sum + size, 0),
  );
  let done = 0;
  for (const artifact of artifacts) {
    await downloadArtifact(await api.download([...base, "artifacts", artifact.name]), artifact, {
      folder,
      onBytes: (size) => progress.update(done + size, artifact.name),
    });
    done += artifact.size;
  }
  progress.end();
}

const words: Readonly<Record<FileVerdict["result"], string>> = {
  identical: "identical",
  unsigned: "identical apart from signatures",
  uncompared: "not compared",
  different: "different",
  missing: "missing",
};

function finish(report: RebuildReport, { output }: Invocation): number {
  const bad = report.files.filter(({ result }) => result === "different" || result === "missing");
  output.table(
    ["NAME", "RESULT", "NOTE"],
    report.files.map((file) => [file.name, words[file.result], file.note ?? describe(file)]),
  );
  for (const name of report.unreleased) output.line(`not released: ${name}, which the recipe at ${report.tag} makes as well`);
  output.line();
  output.result({ ...report, isReproducible: bad.length === 0 });
  const [first] = bad;
  if (first !== undefined) {
    throw new SlipwayError("not_reproducible", `${first.name}: ${first.note ?? describe(first)}`, {
      hint: `${bad.length} of ${report.files.length} files differ from what ${report.tag} (${report.commit.slice(0, 12)}) gives`,
    });
  }
  const count = (wanted: FileVerdict["result"], text: string): readonly string[] => {
    const found = report.files.filter(({ result }) => result === wanted).length;
    return found === 0 ? [] : [`${found} ${text}`];
  };
  const counts = [...count("identical", "byte for byte"), ...count("unsigned", "apart from signatures"), ...count("uncompared", "not compared")].join(", ");
  output.line(`${report.product} ${report.version} is what ${report.tag} (${report.commit.slice(0, 12)}) gives: ${counts}`);
  return 0;
}

function describe({ difference }: FileVerdict): string {
  if (difference === undefined) return "";
  const { member, offset, why } = difference;
  return `${member === undefined ? "" : `${member} `}${offset === undefined ? "" : `at byte ${offset}: `}${why}`;
}
