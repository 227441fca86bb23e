/**
 * What strategy `manual` does instead of switching: the verified artifact lies ready under its own name, with the commands that install it. Once
 * the product reports the new version, `slipway upgrade resume` records it.
 */
import { link } from "node:fs/promises";
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { holdArtifact } from "./acquire.ts";
import { commit } from "./apply.ts";
import { passHealthGate } from "./health.ts";
import type { Installation } from "./installation.ts";
import { readState } from "./installed-state.ts";
import { runProbe } from "./probe.ts";
import type { Work } from "./work.ts";

/**
 * Verified again, under its own name, with the commands that install it: the transaction waits as `verified`. Where the product already reports
 * the new version and is healthy, it is recorded as installed. Returns whether it was.
 */
export async function stageByHand(work: Work): Promise<boolean> {
  const { installation, machine, directory, journal, service } = work;
  const { id, to } = journal.current();
  const isDone = await hasVersion(work, to.version);
  if (isDone) {
    const verdict = await passHealthGate({ installation, machine, service, version: to.version });
    if (!verdict.isHealthy) throw new SlipwayError("health_failed", `${to.version} was put there by hand and is not healthy: ${verdict.text}`);
    await commit(work, await readState(directory.state, installation.product));
    return true;
  }
  const held = await holdArtifact(work);
  await held.handle.close();
  const folder = directory.staging(id);
  const path = join(folder, held.artifact.name);
  await link(join(folder, "artifact"), path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  });
  const commands = manualCommands(installation, held.artifact, path);
  await journal.advance({ byHand: { path, commands: [...commands] } });
  machine.observe({ event: "step", step: "staged", text: `${path} is verified; run: ${commands.join("; ")}` });
  return false;
}

async function hasVersion({ installation, machine }: Work, version: string): Promise<boolean> {
  for (const check of installation.health.checks) if (!(await runProbe(machine, check, version)).isGood) return false;
  return true;
}

const shellWord = (text: string): string => (/^[A-Za-z0-9@%+=:,./_-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
/** No name on Windows holds a quote. */
const commandWord = (text: string): string => `"${text}"`;

/** For a shell, one line each. What they install has been verified; rpm and apk check their own signatures besides where they can. */
export function manualCommands(
  { root, product, hasRoot }: Pick<Installation, "root" | "product" | "hasRoot">,
  artifact: Pick<ManifestArtifact, "kind">,
  path: string,
  system: NodeJS.Platform = process.platform,
): readonly string[] {
  if (system === "win32") {
    const where = hasRoot ? root : `C:\\Program Files\\${product}`;
    // Its tar is bsdtar, since Windows 10; it reads zip as well.
    if (artifact.kind === "archive") return [`tar -xf ${commandWord(path)} -C ${commandWord(where)}`];
    if (artifact.kind === "binary") return [`copy /y ${commandWord(path)} ${commandWord(`${where}\\${product}.exe`)}`];
  }
  const file = shellWord(path);
  const where = shellWord(hasRoot ? root : `/opt/${product}`);
  switch (artifact.kind) {
    case "deb":
      return [`apt-get install ${file}`];
    case "rpm":
      return [`dnf install ${file}`];
    case "apk":
      return [`apk add --allow-untrusted ${file}`];
    case "image":
      return [`docker load --input ${file}`];
    case "archive":
      return [`tar -xf ${file} -C ${where}`];
    case "binary":
      return [`install -m 755 ${file} ${shellWord(`${hasRoot ? root : "/usr/local/bin"}/${product}`)}`];
    default:
      return [`# ${file}`];
  }
}
