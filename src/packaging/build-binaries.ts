/** Gets the product's binaries: runs the recipe's build command for each target, or takes what is built already. */
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { cleanEnvironment, type CommandOptions, type CommandResult, type RunCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import { formatTarget, type Target } from "../model/target.ts";
import { assertRunsOn } from "./executable.ts";
import { insideFolder } from "./file-rules.ts";
import { buildValues, type Plan, type PlannedCommand } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { type BinaryFile, type FindBinary, readNature } from "./resolve-files.ts";
import { sourceFailure } from "./source-failure.ts";
import { expandTemplate } from "./templates.ts";

export type BinarySources = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  /** The recipe's folder, absolute: where the command runs. */
  readonly folder: string;
  /** An empty folder for what the command writes to {out}. */
  readonly workFolder: string;
  readonly run: RunCommand;
  readonly signal?: AbortSignal;
  readonly onCommand?: (command: PlannedCommand) => void;
  readonly onOutput?: (text: string) => void;
};

/** An hour for one command: a cold build of a large product on a small machine ends below it; a hanging one must end some time. */
const commandTimeoutMs = 60 * 60 * 1000;

/**
 * Runs the commands one after the other (each uses all cores by itself) and looks at every binary that the artifacts need.
 * Throws `build_failed` with the command's last lines, `source_missing` for a binary that is not there afterwards, `source_unusable` for one
 * that is no file or is made for another target.
 */
export async function buildBinaries(sources: BinarySources): Promise<FindBinary> {
  const outputs = await runCommands(sources);
  const binaries = new Map<string, BinaryFile>();
  for (const target of sources.plan.targets) {
    for (const name of sources.recipe.build.binaries) {
      const key = keyOf(target, name);
      binaries.set(key, await lookAt(sources, { target, name, output: outputs.get(key) }));
    }
  }
  return (target, name, place) => {
    const binary = binaries.get(keyOf(target, name));
    if (binary === undefined) throw new SlipwayError("source_missing", `there is no binary ${name} for ${formatTarget(target)}`, { place });
    return binary;
  };
}

function keyOf(target: Target, name: string): string {
  return `${formatTarget(target)} ${name}`;
}

/** Where each command wrote its {out}, by target and binary. */
async function runCommands(sources: BinarySources): Promise<ReadonlyMap<string, string>> {
  const outputs = new Map<string, string>();
  for (const command of sources.plan.commands) {
    const { target, binary } = command;
    if (target === undefined) {
      sources.onCommand?.(command);
      await runBuild(sources, command);
      continue;
    }
    const folder = join(sources.workFolder, `${target.os}-${target.arch}`);
    await mkdir(folder, { recursive: true });
    const out = join(folder, `${binary ?? "out"}${target.os === "windows" ? ".exe" : ""}`);
    sources.onCommand?.(command);
    await runBuild(sources, command, out);
    const writesOut = command.argv.some((word) => word.includes("{out}"));
    if (binary !== undefined && writesOut) outputs.set(keyOf(target, binary), out);
  }
  return outputs;
}

async function runBuild(sources: BinarySources, command: PlannedCommand, out?: string): Promise<void> {
  const argv = out === undefined ? command.argv : command.argv.map((word) => word.replaceAll("{out}", out));
  const place = sources.recipe.placeOf(["build", command.target === undefined ? "before" : "run"]);
  const result = await startBuild(sources, argv, place, {
    cwd: sources.folder,
    env: { ...passedEnvironment(sources.recipe.build.pass), ...standardEnvironment(sources.plan, command, out), ...command.env },
    timeoutMs: commandTimeoutMs,
    ...(sources.signal === undefined ? {} : { signal: sources.signal }),
    ...(sources.onOutput === undefined ? {} : { onOutput: sources.onOutput }),
  });
  assertNotInterrupted(sources.signal);
  if (result.exitCode === 0) return;
  const why = result.isTimedOut ? `no end after ${commandTimeoutMs / 60_000} minutes` : `exit ${result.exitCode ?? result.signal}`;
  const tail = (result.stderr || result.stdout).trim().split("\n").slice(-5).join("\n");
  throw new SlipwayError(
    "build_failed",
    `${argv[0] ?? ""}${command.target === undefined ? "" : ` for ${formatTarget(command.target)}`}: ${why}${tail === "" ? "" : `\n${tail}`}`,
    {
      place,
    },
  );
}

async function startBuild({ run }: BinarySources, argv: readonly string[], place: string, options: CommandOptions): Promise<CommandResult> {
  try {
    return await run(argv, options);
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== "command_failed") throw error;
    const hint = "install it, put its folder into PATH, or correct the command; a script of the recipe's folder is started as ./name or with its interpreter";
    throw new SlipwayError("build_failed", error.message, { place, hint, cause: error });
  }
}

/**
 * Where tools and their caches lie, and how the network is reached: what a compiler in a container or behind a proxy does not start without.
 * What decides over the bytes (GOFLAGS, RUSTFLAGS, CC) is not among them and has to be named.
 */
const toolVariables = [
  ["GOROOT", "GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOSUMDB"],
  ["CARGO_HOME", "RUSTUP_HOME", "JAVA_HOME", "NPM_CONFIG_CACHE", "npm_config_cache", "XDG_CACHE_HOME"],
  ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK"],
].flat();

function passedEnvironment(passed: readonly string[]): Readonly<Record<string, string>> {
  const isPassed = (name: string): boolean =>
    [...toolVariables, ...passed].some((one) => (one.endsWith("*") ? name.startsWith(one.slice(0, -1)) : name === one));
  const given = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined && isPassed(entry[0]));
  return { ...cleanEnvironment(), ...Object.fromEntries(given) };
}

/** The same on every machine; Go's cross-build variables too, because a forgotten one would build for this machine. */
function standardEnvironment(plan: Plan, command: PlannedCommand, out: string | undefined): Readonly<Record<string, string>> {
  const { target } = command;
  const common = { TZ: "UTC", LC_ALL: "C", SOURCE_DATE_EPOCH: String(plan.epochSeconds), SLIPWAY_VERSION: plan.version, SLIPWAY_TAG: plan.tag };
  if (target === undefined) return common;
  const { os, arch } = target;
  return {
    ...common,
    GOOS: os,
    ...(arch === "armv7" ? { GOARCH: "arm", GOARM: "7" } : { GOARCH: arch }),
    SLIPWAY_TARGET: formatTarget(target),
    SLIPWAY_OS: os,
    SLIPWAY_ARCH: arch,
    ...(command.binary === undefined ? {} : { SLIPWAY_BIN: command.binary }),
    ...(out === undefined ? {} : { SLIPWAY_OUT: out }),
  };
}

type WantedBinary = { readonly target: Target; readonly name: string /** Where the command wrote it to. */; readonly output: string | undefined };

async function lookAt(sources: BinarySources, wanted: WantedBinary): Promise<BinaryFile> {
  const { recipe, plan, folder } = sources;
  const { target, name, output } = wanted;
  const { prebuilt } = recipe.build;
  const at = ["build", prebuilt === undefined ? "run" : "prebuilt"];
  const place = recipe.placeOf(at);
  const expected =
    prebuilt === undefined ? undefined : insideFolder(recipe, expandTemplate(prebuilt, { ...buildValues(recipe, plan.version, target), bin: name }), at);
  const path = output ?? (expected === undefined ? undefined : join(folder, expected));
  if (path === undefined) throw new Error("bug: the schema lets no recipe through that has neither {out} nor prebuilt");
  const shown = expected ?? name;
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new SlipwayError("source_unusable", `${shown} for ${formatTarget(target)} is not a file`, { place });
    if (found.size === 0) {
      throw new SlipwayError("source_unusable", `${shown} for ${formatTarget(target)} is empty`, { place, hint: "look at what the build command did" });
    }
    assertRunsOn(readNature(path), target, { path: shown, place });
    return { path, size: found.size };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw sourceFailure(error, { what: `${shown} for ${formatTarget(target)}`, place, folder });
    const what = expected === undefined ? `the build command wrote no ${shown}` : `there is no ${shown}`;
    throw new SlipwayError("source_missing", `${what} for ${formatTarget(target)}`, {
      place,
      ...(expected === undefined ? { hint: "it has to write to the path that stands for {out}" } : {}),
      cause: error,
    });
  }
}

/** Throws `interrupted` once Ctrl-C was pressed. */
export function assertNotInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new SlipwayError("interrupted", "stopped as asked");
}
