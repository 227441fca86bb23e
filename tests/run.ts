/**
 * `npm test`: installs the real clients where it may, then types, lint, import rules, format, unused code, unit tests and real-client tests.
 *
 * Words: `--slow` runs the slow suites instead of the fast ones; `--only static|tests`; a path or two run only those test files.
 * The last line is `N passed, N failed[, N skipped]`; the exit code is 1 unless nothing failed.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, join, relative, resolve } from "node:path";
import { run } from "node:test";
import { parseArgs } from "node:util";
import { debianPackages, slowDebianPackages } from "./support/clients.ts";

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
  const installed = (name: string): boolean => spawnSync("dpkg-query", ["-W", "-f=${Status}", name]).stdout.toString().includes("ok installed");
  const wanted = values.slow === true ? [...debianPackages, ...slowDebianPackages] : debianPackages;
  const missing = wanted.filter((name) => !installed(name));
  // Private roots are made from the machine's own mirror, which apt knows only from its lists.
  const hasLists = spawnSync("apt-get", ["indextargets", "Created-By: Packages"]).stdout.length > 0;
  if (missing.length === 0 && hasLists) return;
  console.log(`clients: apt-get update${missing.length === 0 ? "" : ` and install ${missing.join(" ")}`}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const quiet = ["-qq", "-o", "Dpkg::Use-Pty=0"];
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

function testFiles(): readonly string[] {
  if (positionals.length > 0) return positionals.map((path) => resolve(path));
  const ending = values.slow === true ? ".slow.ts" : ".test.ts";
  return readdirSync(join(root, "tests"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function runTests(): Promise<void> {
  const stream = run({ files: [...testFiles()], concurrency: availableParallelism(), timeout: values.slow === true ? 3_600_000 : 600_000 });
  const slowest: { name: string; ms: number }[] = [];
  for await (const event of stream) {
    if (event.type === "test:fail" || event.type === "test:pass") {
      const isFile = event.data.nesting === 0 && event.data.name === event.data.file;
      const isSuite = event.data.details.type === "suite";
      const isSkipped = event.data.skip !== undefined && event.data.skip !== false;
      if (event.type === "test:fail") {
        tally.failed += 1;
        const file = event.data.file === undefined ? "" : relative(root, event.data.file);
        console.log(`✖ ${event.data.name} (${file})\n${describeFailure(event.data.details.error)}`);
      } else if (isSkipped) {
        tally.skipped += 1;
        console.log(`SKIPPED ${event.data.name}: ${String(event.data.skip)}`);
      } else if (!isFile && !isSuite) {
        tally.passed += 1;
        slowest.push({ name: event.data.name, ms: event.data.details.duration_ms });
      }
    }
    if (event.type === "test:stderr" && process.env["SLIPWAY_TEST_STDERR"] !== undefined) process.stderr.write(event.data.message);
  }
  slowest.sort((a, b) => b.ms - a.ms);
  console.log(
    `slowest: ${slowest
      .slice(0, 8)
      .map((entry) => `${entry.name.slice(0, 60)} ${(entry.ms / 1000).toFixed(1)} s`)
      .join("; ")}`,
  );
}

function describeFailure(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  return text
    .split("\n")
    .slice(0, 25)
    .map((line) => `    ${line}`)
    .join("\n");
}

if (values.only !== "static") installClients();
if (values.only !== "tests" && values.slow !== true && positionals.length === 0) runStatic();
if (values.only !== "static") await runTests();
console.log(`done after ${seconds()}`);
console.log(`${tally.passed} passed, ${tally.failed} failed${tally.skipped === 0 ? "" : `, ${tally.skipped} skipped`}`);
process.exit(tally.failed === 0 && tally.passed > 0 ? 0 : 1);
