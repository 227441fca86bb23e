/**
 * `slipway test-install`: each built package is installed, upgraded from its predecessor, removed and purged in a private root by each package
 * manager of this machine, and what happened is held against what an operator may expect:
 * every step ends well; every file is there; an edited configuration and the data in /var/lib survive the upgrade and the removal; afterwards
 * nothing is left but what the operator edited or made.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { RunCommand } from "../io/command.ts";
import { safeJoin } from "../io/safe-path.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import type { PackageManager } from "./package-managers.ts";
import { type PackageUnderTest, readPackageUnderTest } from "./package-under-test.ts";
import { createPrivateRoot, type Isolation, type PrivateRoot } from "./private-root.ts";
import { readScriptRuns, type ScriptRun } from "./script-runs.ts";
import { isSharedDirectory } from "./shared-directories.ts";
import { writeStandInPackage } from "./stand-in-package.ts";
import { unitStateFolder } from "./stand-in-programs.ts";

export type StepName = "install" | "upgrade" | "remove" | "purge";

export type StepReport = {
  readonly step: StepName;
  readonly version: string;
  readonly scripts: readonly ScriptRun[];
  /** What the package or its scripts brought and that is there after the step; after install and upgrade nothing is listed. */
  readonly left: readonly string[];
  /** What an operator may not expect; empty for a step that went well. */
  readonly problems: readonly string[];
};

export type PackageReport = {
  readonly artifact: string;
  readonly manager: string;
  readonly version: string;
  /** The version that was upgraded from, where one was given. */
  readonly from?: string;
  readonly steps: readonly StepReport[];
};

export type PackagePair = {
  readonly artifact: ManifestArtifact & { readonly kind: "deb" | "rpm" | "apk" };
  readonly path: string;
  /** The same package of the version before. */
  readonly previousPath?: string;
};

export type TestInstallOptions = { readonly run: RunCommand; readonly isolation: Isolation };

const edit = "\n# edited by the operator\n";
const dataFile = "slipway-operator-data";
const outputTail = 6;

/** Tests one package with one package manager; the root is gone afterwards, whatever happened. Throws for what is wrong with this machine only. */
export async function testInstall(pair: PackagePair, manager: PackageManager, options: TestInstallOptions): Promise<PackageReport> {
  const root = await createPrivateRoot(manager.format, options);
  try {
    const reading = { run: options.run, folder: root.folder };
    const next = await readPackageUnderTest(manager.format, pair.path, reading);
    const previous = pair.previousPath === undefined ? undefined : await readPackageUnderTest(manager.format, pair.previousPath, reading);
    const course = await createCourse({ root, manager, next, previous });
    const steps: StepReport[] = [];
    for (const step of course) {
      const report = await step();
      steps.push(report);
      if (report.problems.length > 0) break; // what follows a failed step says nothing
    }
    return { artifact: pair.artifact.name, manager: manager.name, version: next.version, ...(previous === undefined ? {} : { from: previous.version }), steps };
  } finally {
    await root.remove();
  }
}

type Course = {
  readonly root: PrivateRoot;
  readonly manager: PackageManager;
  readonly next: PackageUnderTest;
  readonly previous: PackageUnderTest | undefined;
};

/** The steps in order, each to be taken once the one before went well. */
async function createCourse(course: Course): Promise<readonly (() => Promise<StepReport>)[]> {
  const { root, manager, next, previous } = course;
  const packages = previous === undefined ? [next] : [previous, next];
  await manager.prepare(root);
  for (const script of packages.flatMap(({ scripts }) => scripts)) {
    if (script.interpreter.startsWith("/")) await root.standInFor(script.interpreter);
  }
  const standIn = await writeStandInPackage(
    manager.format,
    packages.flatMap(({ needs }) => needs),
    root.folder,
  );
  const before = new Set(await root.paths());
  const operator = createOperator(root, packages);
  const first = previous ?? next;
  const steps: (() => Promise<StepReport>)[] = [
    async () => {
      const isApart = needsStandInBefore(manager, packages);
      if (isApart) {
        const prepared = await take(course, { step: "install", of: first, argv: manager.install(root, [standIn]) });
        if (prepared.problems.length > 0) return prepared;
      }
      const done = await take(course, { step: "install", of: first, argv: manager.install(root, isApart ? [first.path] : [standIn, first.path]) });
      const problems = done.problems.length > 0 ? done.problems : await missingFiles(root, first);
      if (problems.length === 0) await operator.work(first);
      return { ...done, problems };
    },
  ];
  if (previous !== undefined) {
    steps.push(async () => {
      const done = await take(course, { step: "upgrade", of: next, argv: manager.install(root, [next.path]) });
      if (done.problems.length > 0) return done;
      return { ...done, problems: [...(await missingFiles(root, next)), ...(await operator.losses("upgrade", next))] };
    });
  }
  const removal = (step: "remove" | "purge", argv: readonly string[]) => async (): Promise<StepReport> => {
    const done = await take(course, { step, of: next, argv });
    const left = (await root.paths()).filter((path) => !before.has(path) && !isSharedDirectory(path) && !operator.isOwn(path));
    if (done.problems.length > 0) return { ...done, left };
    const mayStay = step === "remove" || !manager.canPurge ? new Set(next.configs) : new Set<string>();
    const forgotten = next.files.map(realPath).filter((path) => left.includes(path) && !mayStay.has(path));
    return {
      ...done,
      left,
      problems: [...forgotten.map((path) => `${path} is still there`), ...(step === "remove" ? await operator.losses("remove", next) : [])],
    };
  };
  steps.push(removal("remove", manager.remove(root, next.name)));
  // dpkg forgets a package whose removal left nothing to purge, and apt then does not know the name.
  const isRemembered = next.configs.length > 0 || next.scripts.some(({ name }) => name === "postrm");
  if (manager.canPurge && isRemembered) steps.push(removal("purge", manager.purge(root, next.name)));
  return steps;
}

/** dpkg wants what Pre-Depends names set up before it unpacks (apt sees to that itself), rpm what a pretrans script needs before the transaction. */
function needsStandInBefore({ name }: PackageManager, packages: readonly PackageUnderTest[]): boolean {
  return name === "dpkg" || packages.some(({ scripts }) => scripts.some((script) => script.name === "%pretrans"));
}

async function take(
  { root, next, previous }: Course,
  { step, of, argv }: { readonly step: StepName; readonly of: PackageUnderTest; readonly argv: readonly string[] },
): Promise<StepReport> {
  const result = await root.run(argv);
  const scripts = readScriptRuns(await root.takeLog(), { step, next: of, previous: step === "upgrade" ? previous : next });
  const output = `${result.stderr}\n${result.stdout}`.trim().split("\n").slice(-outputTail).join("\n");
  const why = result.isTimedOut ? "did not end" : `ended with ${result.exitCode ?? result.signal}`;
  const failed =
    result.exitCode === 0
      ? scriptletFailures(`${result.stderr}\n${result.stdout}`)
      : [`${argv.find((word) => /^(?:dpkg|apt-get|rpm|dnf|apk)$/.test(word)) ?? ""} ${why}: ${output}`];
  return { step, version: of.version, scripts, left: [], problems: failed };
}

/** rpm and dnf warn of a failed scriptlet after unpacking, and end with 0; apk says ERROR. */
function scriptletFailures(output: string): readonly string[] {
  return output.split("\n").filter((line) => /scriptlet failed|(?:warning|error): %\w+\(.*\) scriptlet|^ERROR: .*script exited/.test(line));
}

/** The root's /bin, /sbin and /lib are links into /usr. */
function realPath(path: string): string {
  return path.replace(/^\/(bin|sbin|lib|lib64)(?=\/)/, "/usr/$1");
}

async function missingFiles(root: PrivateRoot, { files }: PackageUnderTest): Promise<readonly string[]> {
  const there = new Set(await root.paths());
  return files.filter((path) => !there.has(realPath(path))).map((path) => `${path} is not there`);
}

type Operator = {
  /** Data of the operator's, and the folders that are there for it. */
  readonly isOwn: (path: string) => boolean;
  /** Edits every configuration, makes data where the product keeps its own, and has every unit running. */
  readonly work: (of: PackageUnderTest) => Promise<void>;
  /** What of that work is gone. */
  readonly losses: (step: "upgrade" | "remove", of: PackageUnderTest) => Promise<readonly string[]>;
};

function createOperator(root: PrivateRoot, packages: readonly PackageUnderTest[]): Operator {
  const edited = new Map<string, string>();
  const names = new Set(packages.flatMap(({ name, folders }) => [`/var/lib/${name}`, ...folders.filter((path) => /^\/var\/(?:lib|opt)\//.test(path))]));
  const inside = (path: string): string => safeJoin(root.path, path.slice(1));
  const read = (path: string): Promise<string | undefined> => readFile(inside(path), "utf8").catch(() => undefined); // gone, which is what is asked
  return {
    isOwn: (path) => names.has(path) || path.endsWith(`/${dataFile}`),
    work: async ({ configs, files }) => {
      for (const path of configs) {
        const text = `${(await read(path)) ?? ""}${edit}`;
        await writeFile(inside(path), text);
        edited.set(path, text);
      }
      for (const folder of names) {
        await mkdir(inside(folder), { recursive: true });
        await writeFile(join(inside(folder), dataFile), "precious\n");
      }
      for (const unit of files.flatMap((path) => /\/systemd\/system\/([^/]+\.service)$/.exec(path)?.[1] ?? []))
        await writeFile(inside(`${unitStateFolder}/${unit}.active`), "");
    },
    losses: async (step, { configs }) => {
      const losses: string[] = [];
      for (const [path, text] of edited) {
        const aside = [path, `${path}.rpmsave`, `${path}.dpkg-old`];
        const texts = await Promise.all(aside.map(read));
        // After an upgrade the product must find the edit where it looks, unless the new version has the file no more.
        const isKept = step === "upgrade" && configs.includes(path) ? texts[0] === text || texts[1] === text : texts.includes(text);
        if (!isKept) losses.push(`the operator's edit of ${path} is lost`);
      }
      for (const folder of names) {
        if ((await read(`${folder}/${dataFile}`)) === undefined) losses.push(`the operator's data in ${folder} is gone after ${step}`);
      }
      return losses;
    },
  };
}
