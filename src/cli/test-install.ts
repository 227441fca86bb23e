/** `slipway test-install`: installs, upgrades, removes and purges the built packages in throw-away roots, and shows what ran and what stayed. */
import { readdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { runCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import { defaultSumsName } from "../model/manifest.ts";
import { compareVersions, tryParseVersion } from "../model/version.ts";
import { findPackageManagers } from "../packaging/package-managers.ts";
import { findIsolation } from "../packaging/private-root.ts";
import { type PackageReport, testInstall } from "../packaging/test-install.ts";
import { parseTestedKinds, planTestInstall, readMachine } from "../packaging/test-install-plan.ts";
import { type BuiltRelease, findBuiltFolder, readBuiltRelease, readRecipeIfPresent } from "./built-release.ts";
import { type CommandRun, type Invocation, listOption, textOption } from "./command.ts";
import type { Output } from "./output.ts";

type NotRun = { readonly artifact: string; readonly why: string };

export const run: CommandRun = async (invocation) => {
  const { options, output, signal } = invocation;
  const { current, previous } = await readReleases(invocation);
  const only = listOption(options, "only");
  const machine = await readMachine();
  const plan = planTestInstall({
    current,
    ...(previous === undefined ? {} : { previous }),
    ...(only === undefined ? {} : { only: parseTestedKinds(only) }),
    machine,
  });
  const isolation = await findIsolation(runCommand);
  const reports: PackageReport[] = [];
  const notRun: NotRun[] = [...plan.notRun];
  const progress = output.progress(`testing ${current.manifest.product} ${current.manifest.version}`, plan.tests.length);
  for (const [done, test] of plan.tests.entries()) {
    progress.update(done, test.artifact.name);
    const { kind, arch = machine.arch, name } = test.artifact;
    const managers = await findPackageManagers(kind, { run: runCommand, arch, isForeign: test.isForeign });
    if (managers.length === 0) notRun.push({ artifact: name, why: `no package manager for ${kind} is installed here` });
    for (const manager of managers) {
      if (signal.aborted) throw new SlipwayError("interrupted", "stopped as asked");
      const report = await testInstall(test, manager, { run: runCommand, isolation });
      output.event({ event: "tested", artifact: name, manager: manager.name, problems: problemsOf(report) });
      reports.push(report);
    }
  }
  progress.end();
  print(reports, notRun, output);
  const failed = reports.filter((report) => problemsOf(report).length > 0);
  output.result({
    product: current.manifest.product,
    version: current.manifest.version,
    from: previous?.manifest.version,
    isolation: isolation.name,
    packages: reports,
    notRun,
  });
  if (failed.length > 0) {
    const [first] = failed;
    throw new SlipwayError(
      "install_test_failed",
      `${failed.length} of ${reports.length} tests failed: ${first?.artifact ?? ""} with ${first?.manager ?? ""}: ${problemsOf(first)[0] ?? ""}`,
    );
  }
  if (reports.length === 0) throw new SlipwayError("command_failed", "no package could be tested on this machine", { hint: notRun[0]?.why ?? "" });
  return 0;
};

const problemsOf = (report: PackageReport | undefined): readonly string[] => report?.steps.flatMap(({ problems }) => problems) ?? [];

async function readReleases(invocation: Invocation): Promise<{ readonly current: BuiltRelease; readonly previous?: BuiltRelease }> {
  const { args, options, cwd } = invocation;
  const isNamed = args.length > 0 || textOption(options, "version") !== undefined;
  const versions = isNamed ? [] : await versionFolders(resolve(cwd, "dist"));
  const newest = versions.at(-1);
  const folder = newest === undefined ? await findBuiltFolder(invocation) : newest.path;
  const sumsName = (await readRecipeIfPresent(invocation))?.checksums ?? defaultSumsName;
  const current = await readBuiltRelease(folder, sumsName);
  const named = textOption(options, "from");
  const from = named === undefined ? await predecessor(folder, current) : resolve(cwd, named);
  return { current, ...(from === undefined ? {} : { previous: await readBuiltRelease(from, sumsName) }) };
}

/** The next older version beside the folder, where there is one. */
async function predecessor(folder: string, { manifest }: BuiltRelease): Promise<string | undefined> {
  const version = tryParseVersion(manifest.version);
  const older = (await versionFolders(dirname(folder))).filter((one) => version !== undefined && compareVersions(one.version, version) < 0);
  return older.at(-1)?.path;
}

/** Oldest first. */
async function versionFolders(parent: string) {
  const names = await readdir(parent).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  });
  return names
    .flatMap((name) => {
      const version = tryParseVersion(name);
      return version === undefined ? [] : [{ version, path: resolve(parent, name) }];
    })
    .toSorted((left, right) => compareVersions(left.version, right.version));
}

function print(reports: readonly PackageReport[], notRun: readonly NotRun[], output: Output): void {
  const { colors } = output;
  for (const report of reports) {
    const isGood = problemsOf(report).length === 0;
    output.line(
      `${isGood ? colors.green("passed") : colors.red("failed")} ${colors.bold(report.artifact)} with ${report.manager}${report.from === undefined ? "" : `, upgraded from ${report.from}`}`,
    );
    const rows = report.steps.flatMap(({ step, scripts }) =>
      scripts.length === 0
        ? [[step, "", "", "", ""]]
        : scripts.map((script, index) => [
            index === 0 ? step : "",
            script.script,
            script.version,
            script.arguments.map((word) => (word === "" ? '""' : word)).join(" "),
            script.isRun ? script.calls.join("; ") : "(its interpreter is not in the root)",
          ]),
    );
    output.table(["STEP", "SCRIPT", "OF", "ARGUMENTS", "CALLED"], rows);
    for (const { step, left, problems } of report.steps) {
      if (left.length > 0) output.line(`left after ${step}: ${left.join(" ")}`);
      for (const problem of problems) output.line(`${colors.red("problem")} at ${step}: ${problem}`);
    }
    output.line();
  }
  for (const { artifact, why } of notRun) output.line(`${colors.dim("not run")} ${artifact}: ${why}`);
}
