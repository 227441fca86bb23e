/**
 * `npm test`: installs the real clients where it may, then types, lint, import rules, format, unused code, unit tests and real-client tests.
 *
 * Words: `--slow` (`npm run test:slow`) runs the slow suites instead of the fast ones; `--only static|tests`; names of test files run only those,
 * as `npm run test:slow -- bounds crash`. Each file is a process with a temporary folder and mounts of its own, which go with it; one that fails,
 * dies or hangs does not stop the others.
 * The last line is `N passed, N failed[, N skipped]`; the exit code is 1 unless nothing failed.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { delimiter, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { removeDeadCopies, rootsFolder } from "./support/cached-folder.ts";
import { debianPackages, slowDebianPackages } from "./support/clients.ts";
import { compiled } from "./support/compiled.ts";
import type { TestOutcome } from "./support/test-events.ts";
import { runTestFile } from "./support/test-file.ts";

const root = resolve(import.meta.dirname, "..");
const binaries = join(root, "node_modules", ".bin");
const { values, positionals } = parseArgs({ options: { slow: { type: "boolean" }, only: { type: "string" } }, allowPositionals: true });
const tally = { passed: 0, failed: 0, skipped: 0 };
const startedAt = performance.now();
const seconds = (): string => `${((performance.now() - startedAt) / 1000).toFixed(0)} s`;

/** Real clients come from Debian; as another user, or elsewhere, the tests that need a missing one skip loudly. */
function installClients(): void {
  if (process.getuid?.() !== 0 || spawnSync("dpkg-query", ["--version"]).status !== 0) {
    console.log("clients: not root on Debian, so nothing is installed; tests without their client are skipped");
    return;
  }
  const wanted = values.slow === true ? [...debianPackages, ...slowDebianPackages] : debianPackages;
  const known = spawnSync("dpkg-query", ["-W", "-f=${Package} ${Status}\\n", ...wanted])
    .stdout.toString()
    .split("\n");
  const missing = wanted.filter((name) => !known.includes(`${name} install ok installed`));
  // Private roots are made from the machine's own mirror, which apt knows only from its lists.
  const hasLists = spawnSync("apt-get", ["indextargets", "Created-By: Packages"]).stdout.length > 0;
  if (missing.length === 0 && hasLists) return;
  console.log(`clients: apt-get update${missing.length === 0 ? "" : ` and install ${missing.join(" ")}`}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const quiet = ["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"]; // a fresh machine may be at its unattended upgrades
  // A fresh machine has no lists; a stale list gives 404s.
  spawnSync("apt-get", [...quiet, "update"], { stdio: ["ignore", "ignore", "inherit"], env });
  const done = spawnSync("apt-get", [...quiet, "install", "-y", "--no-install-recommends", ...missing], { stdio: ["ignore", "ignore", "inherit"], env });
  if (done.status !== 0) console.log(`clients: apt-get ended with ${done.status}; the tests that need a missing client will say so`);
  console.log(`clients: ready after ${seconds()}`);
}

type Check = { readonly name: string; readonly argv: readonly string[] };

const staticChecks: readonly Check[] = [
  { name: "types", argv: ["tsc", "-p", "."] },
  { name: "lint and import rules", argv: ["oxlint", "--type-aware", "--deny-warnings", "."] },
  { name: "format", argv: ["biome", "format", "."] },
  { name: "unused code and dependencies", argv: ["knip", "--no-progress"] },
];

function runStatic(): void {
  for (const check of staticChecks) {
    const [program, ...args] = check.argv;
    const result = spawnSync(join(binaries, program ?? ""), args, {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, PATH: `${binaries}${delimiter}${process.env["PATH"]}` },
    });
    const isGood = result.status === 0;
    tally[isGood ? "passed" : "failed"] += 1;
    console.log(`${isGood ? "✔" : "✖"} ${check.name} (${seconds()})`);
    if (!isGood) console.log(`${result.stdout ?? ""}${result.stderr ?? ""}`.trimEnd());
  }
}

function stopWith(text: string): never {
  console.error(text);
  process.exit(2);
}

/** A path, or the end of one: `bounds`, `bounds.slow.ts`, `updater/bounds` all name tests/updater/bounds.slow.ts. */
function namedFile(word: string, all: readonly string[]): string {
  const path = resolve(word);
  if (path.endsWith(".ts") && existsSync(path)) return path;
  const [found, other] = all.filter((file) => file.endsWith(`/${word}`) || file.replace(/\.(test|slow)\.ts$/, "").endsWith(`/${word}`));
  if (found !== undefined && other === undefined) return found;
  const isMany = found !== undefined && other !== undefined;
  return stopWith(isMany ? `${word} may be ${relative(root, found)} or ${relative(root, other)}` : `no test file is named ${word}`);
}

/**
 * The longest first, so that none begins when the others are nearly through: as long as the last time on this machine; on a new one what makes
 * private roots first, then the larger the longer.
 */
async function testFiles(): Promise<readonly string[]> {
  const ending = values.slow === true ? ".slow.ts" : ".test.ts";
  const all = readdirSync(join(root, "tests"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  if (positionals.length > 0) return positionals.map((word) => namedFile(word, all));
  const times = await readTimes();
  const guess = (file: string): number => Math.min(60_000, statSync(file).size) + (file.includes("/e2e/") ? 60_000 : 0);
  const weight = (file: string): number => times[relative(root, file)] ?? guess(file);
  return all.sort((left, right) => weight(right) - weight(left));
}

/** Milliseconds that each file took when it was last run here. */
const timesFile = join(rootsFolder, "times.json");
const readTimes = async (): Promise<Record<string, number>> =>
  readFile(timesFile, "utf8").then(
    (text) => JSON.parse(text) as Record<string, number>,
    () => ({}),
  );

async function runTests(): Promise<void> {
  const files = await testFiles();
  const isSlow = values.slow === true || files.every((file) => file.endsWith(".slow.ts"));
  // Slow files use several cores themselves, and some watch the clock: one after another.
  const atOnce = isSlow ? 1 : availableParallelism();
  const limitMs = isSlow ? 10_800_000 : 1_200_000; // the crash matrix takes the better part of an hour on two free cores
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => stop.abort());
  process.env["NODE_COMPILE_CACHE"] = compiled.NODE_COMPILE_CACHE;
  await mkdir(rootsFolder, { recursive: true, mode: 0o755 });
  await removeDeadCopies();
  const folder = await mkdtemp(join(tmpdir(), "slw-")); // short: sockets lie below it, whose paths have room for 107 bytes
  await chmod(folder, 0o755);
  const times = await readTimes();
  const slowest: { name: string; ms: number }[] = [];
  const passed = new Set<string>();
  const queue = files.entries();
  const worker = async (): Promise<void> => {
    for (const [index, path] of queue) {
      if (stop.signal.aborted) return;
      const name = relative(root, path);
      if (isSlow) console.log(`▶ ${name} (${index + 1} of ${files.length}, ${seconds()})`);
      let failures = 0;
      const onOutcome = (outcome: TestOutcome): void => {
        if (outcome.kind === "passed") {
          tally.passed += 1;
          slowest.push(outcome);
          if (isSlow) console.log(`  ✔ ${outcome.name} (${(outcome.ms / 1000).toFixed(1)} s)`);
        } else if (outcome.kind === "said") {
          if (isSlow) console.log(`    ${outcome.name}`);
        } else if (outcome.kind === "skipped") {
          tally.skipped += 1;
          console.log(`SKIPPED ${outcome.name}: ${outcome.why}`);
        } else if (outcome.kind === "failed") {
          failures += 1;
          console.log(`✖ ${outcome.name} (${name})\n${indented(outcome.error)}`);
        }
      };
      const end = await runTestFile({
        path,
        folder: join(folder, String(index)),
        limitMs,
        signal: stop.signal,
        onOutcome,
        isStderrShown: process.env["SLIPWAY_TEST_STDERR"] !== undefined,
      });
      if (end.failure !== undefined) {
        failures += 1;
        console.log(`✖ ${name}: ${indented(end.failure).trimStart()}`);
      }
      if (end.leftovers.length > 0) console.log(`note: ${name} left ${end.leftovers.slice(0, 5).join(", ")}; gone now`);
      tally.failed += failures;
      if (failures > 0 || stop.signal.aborted) continue;
      passed.add(path);
      times[name] = Math.round(end.ms);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  await rm(folder, { recursive: true, force: true });
  await writeFile(timesFile, JSON.stringify(times)).catch(() => undefined); // only an order
  slowest.sort((a, b) => b.ms - a.ms);
  console.log(
    `slowest: ${slowest
      .slice(0, 8)
      .map((entry) => `${entry.name.slice(0, 60)} ${(entry.ms / 1000).toFixed(1)} s`)
      .join("; ")}`,
  );
  const again = files.filter((path) => !passed.has(path)).map((path) => relative(root, path));
  if (again.length > 0) console.log(`again: npm run ${isSlow ? "test:slow" : "test"} -- ${again.join(" ")}`);
  if (stop.signal.aborted) {
    console.log("interrupted");
    tally.failed += 1;
  }
}

const indented = (text: string): string =>
  text
    .split("\n")
    .slice(0, 25)
    .map((line) => `    ${line}`)
    .join("\n");

if (values.only !== "static") installClients();
if (values.only !== "tests" && values.slow !== true && positionals.length === 0) runStatic();
if (values.only !== "static") await runTests();
console.log(`done after ${seconds()}`);
console.log(`${tally.passed} passed, ${tally.failed} failed${tally.skipped === 0 ? "" : `, ${tally.skipped} skipped`}`);
process.exit(tally.failed === 0 && tally.passed > 0 ? 0 : 1);
