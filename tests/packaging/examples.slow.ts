/** The examples as an operator meets them: each version of their packages installed, upgraded, removed and purged by the real package managers. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { compiled } from "../support/compiled.ts";
import { epochSeconds, exampleProduct } from "./fixture.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));
const programs = ["dpkg", "apt-get", "rpm", "dnf", "busybox", "unshare"];

const slipway = (folder: string, ...args: readonly string[]): Promise<CommandResult> =>
  runCommand([program, ...args], {
    cwd: folder,
    timeoutMs: 300_000,
    env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: folder, SOURCE_DATE_EPOCH: String(epochSeconds) },
  });

type Report = {
  readonly packages: readonly {
    readonly artifact: string;
    readonly manager: string;
    readonly from?: string;
    readonly steps: readonly { readonly step: string; readonly left: readonly string[]; readonly problems: readonly string[] }[];
  }[];
  readonly notRun: readonly { readonly artifact: string; readonly why: string }[];
};

async function buildExample(folder: string, version: string, recipe = "slipway.yaml"): Promise<void> {
  const built = await slipway(folder, "build", "--recipe", recipe, "--version", version, "--unsigned");
  assert.equal(built.exitCode, 0, built.stderr);
}

async function testInstall(folder: string, version: string, from: string): Promise<Report> {
  const tested = await slipway(folder, "test-install", `dist/${version}`, "--from", `dist/${from}`, "--json");
  assert.equal(tested.exitCode, 0, `${tested.stdout}\n${tested.stderr}`);
  return JSON.parse(tested.stdout.trimEnd().split("\n").at(-1) ?? "") as Report;
}

/** `<kind> <manager>` of those that were upgraded without a problem. */
const upgraded = ({ packages }: Report): readonly string[] =>
  packages.flatMap(({ artifact, manager, from, steps }) =>
    from !== undefined && steps.every(({ problems }) => problems.length === 0) ? [`${artifact.split(".").at(-1)} ${manager}`] : [],
  );
const all = ["deb apt", "deb dpkg", "rpm dnf", "rpm rpm"];

const needs = (t: TestContext): boolean => needClient(t, ...programs) && needRoot(t, "a throw-away root");

for (const { name, from, version } of [
  { name: "jaco", from: "0.1.0", version: "0.2.0" },
  { name: "coequal", from: "1.4.1", version: "1.4.2" },
]) {
  test(`J3 J4 test-install passes for the example ${name}: installed, upgraded, removed, purged, and nothing of it left`, async (t) => {
    if (!needs(t)) return;
    const folder = await exampleProduct(t, name);
    for (const one of [from, version]) await buildExample(folder, one);
    const report = await testInstall(folder, version, from);
    assert.deepEqual(upgraded(report).toSorted(), all);
    // What an operator may have edited stays until a purge; rpm knows none and leaves it as .rpmsave.
    const left = report.packages.flatMap(({ steps }) => steps.flatMap((step) => step.left)).filter((path) => !path.startsWith("/etc/"));
    assert.deepEqual(left, []);
  });
}

test("J3 J4 jaco as its document has it passes too, and upgrades to /usr/bin and service:", async (t) => {
  if (!needs(t)) return;
  const folder = await exampleProduct(t, "jaco");
  await buildExample(folder, "0.0.9", "as-documented.yaml");
  await buildExample(folder, "0.1.0", "as-documented.yaml");
  assert.deepEqual(upgraded(await testInstall(folder, "0.1.0", "0.0.9")).toSorted(), all);
  await buildExample(folder, "0.2.0");
  assert.deepEqual(upgraded(await testInstall(folder, "0.2.0", "0.1.0")).toSorted(), all);
});

test("carapace ships no package, and test-install says so", async (t) => {
  const folder = await exampleProduct(t, "carapace");
  await buildExample(folder, "0.2.0");
  const tested = await slipway(folder, "test-install", "dist/0.2.0");
  assert.notEqual(tested.exitCode, 0);
  assert.match(tested.stderr, /carapace 0\.2\.0 has no deb, rpm, apk packages/);
});
