/** Is what is installed what was signed? Every live file against the signed list; for packages what their manager says of them. */
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { parseVersion } from "../model/version.ts";
import { containerService } from "./container-service.ts";
import { dpkgExclusion } from "./dpkg-excluded.ts";
import { seeFile } from "./file-tree.ts";
import type { Machine } from "./machine.ts";
import type { PackageManagerKind } from "./package-manager.ts";
import { chooseArtifact } from "./plan.ts";
import { proveDescription, readTrustPolicy } from "./prove.ts";
import type { Session } from "./session.ts";
import type { Live } from "./strategy.ts";
import type { FileTable } from "./transaction.ts";

export type InstalledFinding = {
  readonly path: string;
  /** No faults: `config`, an operator's own edit of a configuration file, and `excluded`, what this machine's dpkg leaves out of every package. */
  readonly problem: "missing" | "changed" | "mode" | "unlisted" | "config" | "excluded";
  readonly detail: string;
};

export type InstalledReport = {
  readonly result: "PASS" | "FAIL" | "INCOMPLETE";
  readonly product: string;
  readonly version: string | null;
  readonly strategy: string;
  /** `release`: the list was fetched and its signature verified now; `record`: as it was signed when it was installed. */
  readonly list: "release" | "record" | "package manager";
  readonly checked: number;
  readonly findings: readonly InstalledFinding[];
};

/** Changes nothing. `isOffline`: the list as it was recorded at the installation. Throws `version_not_found` where nothing is installed. */
export async function verifyInstalled(session: Session, options: { readonly isOffline: boolean; readonly signal: AbortSignal }): Promise<InstalledReport> {
  const { installation, machine } = session;
  const { state, live } = await session.present();
  const { installed } = state;
  const base = { product: installation.product, version: live.version ?? null, strategy: installation.strategy };
  if (installed === undefined || live.version === undefined) {
    if (live.version === undefined) throw new SlipwayError("version_not_found", `${installation.product} is not installed here`);
    return {
      ...base,
      result: "INCOMPLETE",
      list: "record",
      checked: 0,
      findings: [
        {
          path: "",
          problem: "missing",
          detail: `nothing is recorded: slipway did not install it. ${installation.packaged === undefined ? "" : "Its package manager can verify it; "}the next \`slipway upgrade install\` records it`,
        },
      ],
    };
  }
  if (installation.packaged !== undefined) {
    const { kind, name } = installation.packaged;
    const findings = await askManager(machine, kind, name);
    const isOther = live.version !== installed.version;
    const other: readonly InstalledFinding[] = isOther
      ? [{ path: name, problem: "changed", detail: `version ${live.version} is installed; slipway installed ${installed.version}` }]
      : [];
    return { ...base, result: judge([...other, ...findings]), list: "package manager", checked: 1, findings: [...other, ...findings] };
  }
  if (installation.strategy === "container" || installation.strategy === "manual")
    return { ...base, ...(await examineElsewhere(session, installed.version, live)) };
  const recorded: FileTable = installed.files;
  const signed = options.isOffline ? undefined : await signedTable(session, installed.version, options.signal);
  const files = signed ?? recorded;
  const folder = join(installation.root, live.ref ?? "");
  const findings: InstalledFinding[] = [];
  for (const [path, expected] of Object.entries(files)) {
    const seen = await seeFile(join(folder, path));
    if (seen === undefined) findings.push({ path, problem: "missing", detail: "it is not there" });
    else if (seen.sha256 !== expected.sha256) findings.push({ path, problem: "changed", detail: `SHA-256 ${seen.sha256}; signed was ${expected.sha256}` });
    else if ((seen.mode & ~expected.mode & 0o6022) !== 0)
      findings.push({ path, problem: "mode", detail: `mode ${seen.mode.toString(8)}: others may change it, or it has more rights than it was given` });
  }
  // Only where the folder is the version's own: a program beside the signed ones would be run as one of them.
  if (installation.strategy === "versions") {
    for (const path of Object.keys(live.files))
      if (files[path] === undefined) findings.push({ path, problem: "unlisted", detail: "the release has no such file" });
  }
  return { ...base, result: judge(findings), list: signed === undefined ? "record" : "release", checked: Object.keys(files).length, findings };
}

/** What does not lie in files of ours: the image that the engine has, or what somebody put there by hand. */
async function examineElsewhere(
  { installation, machine }: Session,
  recorded: string,
  live: Live,
): Promise<Pick<InstalledReport, "result" | "list" | "checked" | "findings">> {
  if (installation.strategy !== "container") {
    const detail = "strategy manual: only the operator knows where the files are; `slipway verify artifact` looks at the one that was fetched";
    return { result: "INCOMPLETE", list: "record", checked: 0, findings: [{ path: "", problem: "missing", detail }] };
  }
  const findings: InstalledFinding[] = [];
  const { engine, pin } = containerService(installation, machine);
  const path = pin.name;
  const running = await pin.runningImage();
  if (running === undefined) findings.push({ path, problem: "missing", detail: "the service does not run" });
  else if (running !== (await engine.idOf(live.ref ?? "")))
    findings.push({ path, problem: "changed", detail: `it runs the image ${running}; pinned is ${live.ref ?? "none"}` });
  if (live.version !== recorded) findings.push({ path, problem: "changed", detail: `it is pinned to ${live.version ?? ""}; slipway installed ${recorded}` });
  return { result: judge(findings), list: "record", checked: 1, findings };
}

const judge = (findings: readonly InstalledFinding[]): InstalledReport["result"] =>
  findings.every(({ problem }) => problem === "config" || problem === "excluded") ? "PASS" : "FAIL";

/** The signed list, fetched again: the record on this machine could have been changed with the files. Undefined where the source cannot be asked. */
async function signedTable(
  { installation, machine, source, strategyAt, present }: Session,
  version: string,
  signal: AbortSignal,
): Promise<FileTable | undefined> {
  const wanted = parseVersion(version);
  let files: Awaited<ReturnType<typeof source.files>>;
  try {
    files = await source.files(wanted, signal);
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === "upgrade_verification_failed") throw error;
    machine.observe({ event: "warning", text: `the signed list cannot be fetched (${error.message}); what was recorded at the installation is used` });
    return undefined;
  }
  const { manifest } = await proveDescription({ files, installation, policy: await readTrustPolicy(installation), version: wanted, now: machine.clock.now() });
  const { directory } = await present();
  return strategyAt(directory).target(chooseArtifact(manifest, installation), wanted).files;
}

const managers = {
  dpkg: (name: string) => ["dpkg", "--verify", "--", name],
  rpm: (name: string) => ["rpm", "--verify", "--nomtime", "--", name],
} as const;

/** `dpkg -V` and `rpm -V`: nine flags, an attribute (`c` for configuration), a path; or `missing`. */
async function askManager(machine: Machine, kind: PackageManagerKind, name: string): Promise<readonly InstalledFinding[]> {
  if (kind === "apk") return auditApk(machine, name);
  const { stdout, stderr, exitCode } = await machine.runCommand(managers[kind](name), { timeoutMs: 300_000, outputLimit: 4 * 1024 * 1024 });
  const isExcluded = kind === "dpkg" ? await dpkgExclusion() : () => false;
  const findings = stdout.split("\n").flatMap((line): InstalledFinding[] => {
    const found = /^(missing|[.?SM5DLUGTPc]{8,11})\s+(?:([cdglr])\s+)?(\/.*)$/.exec(line);
    if (found === null) return [];
    const [, flags = "", attribute, path = ""] = found;
    const isConfiguration = attribute === "c";
    if (flags === "missing") {
      const missing = path.replace(/ \(.*\)$/, "");
      // A folder is left out where all that is in it is.
      if (isExcluded(missing) || isExcluded(`${missing}/.`))
        return [{ path: missing, problem: "excluded", detail: "this machine's dpkg leaves it out (path-exclude)" }];
      return [{ path: missing, problem: isConfiguration ? "config" : "missing", detail: "it is not there" }];
    }
    return [{ path, problem: isConfiguration ? "config" : "changed", detail: `${kind} says ${flags}` }];
  });
  if (exitCode !== 0 && findings.length === 0)
    throw new SlipwayError("command_failed", `${managers[kind](name).join(" ")}: exit ${exitCode ?? "?"}: ${(stderr || stdout).trim().slice(0, 500)}`);
  return findings;
}

/** apk has no verify of what is installed; its audit names every file that differs from the database, of which the package's own are picked. */
async function auditApk(machine: Machine, name: string): Promise<readonly InstalledFinding[]> {
  const options = { timeoutMs: 300_000, outputLimit: 16 * 1024 * 1024 };
  const audit = await machine.runCommand(["apk", "audit", "--system"], options);
  const contents = await machine.runCommand(["apk", "info", "--contents", "--", name], options);
  if (contents.exitCode !== 0) throw new SlipwayError("command_failed", `apk info --contents ${name}: ${contents.stderr.trim().slice(0, 500)}`);
  const own = new Set(contents.stdout.split("\n").map((line) => line.trim().replace(/^\//, "")));
  const words = { U: "changed", M: "changed", X: "missing", A: "unlisted" } as const;
  return audit.stdout.split("\n").flatMap((line): InstalledFinding[] => {
    const [, letter = "", path = ""] = /^([UMXA]) (.+)$/.exec(line) ?? [];
    return own.has(path) ? [{ path: `/${path}`, problem: words[letter as keyof typeof words], detail: `apk audit says ${letter}` }] : [];
  });
}
