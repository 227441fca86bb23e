/** `slipway lint` held against the real lintian and rpmlint: what they call an error we have found before, and what we call clean passes them. */
import assert from "node:assert/strict";
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { cleanEnvironment, requireCommand, runCommand } from "../../src/io/command.ts";
import type { Finding } from "../../src/policy/lint-rule.ts";
import { lintRules } from "../../src/policy/package-lint.ts";
import { generateOpenpgpKey } from "../../src/trust/openpgp.ts";
import { needClient } from "../support/clients.ts";
import { compiled } from "../support/compiled.ts";
import { badProduct, badVersion } from "./bad-product.ts";
import { epochSeconds, exampleProduct, temporaryFolder, writeFiles } from "./fixture.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));
const timeoutMs = 180_000;

type Keys = Readonly<Record<string, string>>;

const slipway = (folder: string, args: readonly string[], keys: Keys = {}) =>
  runCommand([program, ...args], {
    cwd: folder,
    timeoutMs,
    env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: dirname(folder), SOURCE_DATE_EPOCH: String(epochSeconds), ...keys },
  });

async function lint(folder: string, version: string): Promise<readonly Finding[]> {
  const result = await slipway(folder, ["lint", "--version", version, "--target", "linux/amd64", "--json"]);
  return (JSON.parse(result.stdout) as { findings: readonly Finding[] }).findings;
}

/** Without keys it is a preview, and unsigned. */
async function build(folder: string, version: string, keys: Keys = {}): Promise<{ readonly deb: string; readonly rpm: string }> {
  const result = await slipway(folder, ["build", "--version", version, "--only", "deb,rpm", "--target", "linux/amd64"], keys);
  assert.equal(result.exitCode, 0, result.stderr);
  const dist = join(folder, "dist", version);
  const names = await readdir(dist);
  const find = (ending: string): string => join(dist, names.find((name) => name.endsWith(ending)) ?? "");
  return { deb: find(".deb"), rpm: find(".rpm") };
}

/** Tags of errors, as `file-in-usr-local`. */
async function lintianErrors(deb: string): Promise<readonly string[]> {
  const result = await runCommand(["lintian", "--allow-root", "--no-cfg", "--fail-on", "none", deb], { timeoutMs });
  return [...new Set([...result.stdout.matchAll(/^E: \S+: (\S+)/gm)].map((match) => match[1] ?? ""))];
}

/** Signatures are checked against the keys that this home has. */
async function rpmlintErrors(rpm: string, home: string): Promise<readonly string[]> {
  const result = await runCommand(["rpmlint", rpm], { timeoutMs, env: { ...cleanEnvironment(), HOME: home } });
  return [...new Set([...result.stdout.matchAll(/^\S+: E: (\S+)/gm)].map((match) => match[1] ?? ""))];
}

/** Whether one of our rules that found something stands for the tag; rpmlint appends the script's name to some. */
function isFound(tag: string, findings: readonly Finding[], judge: "lintian" | "rpmlint"): boolean {
  const rules = lintRules.filter(({ id }) => findings.some(({ rule }) => rule === id));
  return rules.some((rule) => (rule[judge] ?? []).some((known) => known === tag || (known.endsWith("-") && tag.startsWith(known))));
}

test("J4 every error of lintian and rpmlint on a bad product was found by lint before", async (t) => {
  if (!needClient(t, "lintian", "rpmlint")) return;
  const folder = await badProduct(t);
  const findings = await lint(folder, badVersion);
  const { deb, rpm } = await build(folder, badVersion);
  const debErrors = await lintianErrors(deb);
  const rpmErrors = await rpmlintErrors(rpm, folder);
  assert.ok(debErrors.length > 25 && rpmErrors.length > 25, `${debErrors.length} and ${rpmErrors.length} kinds of errors`);
  assert.deepEqual(
    debErrors.filter((tag) => !isFound(tag, findings, "lintian")),
    [],
    "lintian",
  );
  assert.deepEqual(
    rpmErrors.filter((tag) => !isFound(tag, findings, "rpmlint")),
    [],
    "rpmlint",
  );
});

/** A real program in place of the example's stand-in, which is a script: what it stands for is compiled. The deb must say then that it needs a libc. */
async function compileFor(folder: string, script: string, out: string): Promise<void> {
  await writeFile(join(folder, script), `set -e\nmkdir -p "$(dirname "${out}")"\necho 'int main(void) { return 0; }' | cc -s -O1 -x c -o "${out}" -\n`);
  for (const name of (await readdir(folder)).filter((one) => one.endsWith(".yaml"))) {
    const recipe = await readFile(join(folder, name), "utf8");
    await writeFile(join(folder, name), recipe.replace("deb: [docker.io", "deb: [libc6, docker.io"));
  }
}

for (const { name, version, script, out, env, leaves } of [
  // JACO's document signs the sums and no package.
  { name: "jaco", version: "0.2.0", script: "build/make-binary.sh", out: "$4", env: {}, leaves: ["no-signature"] },
  { name: "coequal", version: "1.4.2", script: "make-prebuilt.sh", out: "prebuilt/$2/coequal", env: { COEQUAL_RELEASE_KEY: "gpg" }, leaves: [] },
] as const) {
  test(`J4 lintian and rpmlint find no error in the packages of the example ${name}`, async (t) => {
    if (!needClient(t, "lintian", "rpmlint", "cc")) return;
    const folder = await exampleProduct(t, name);
    await compileFor(folder, script, out);
    const { secretKey, publicKey } = await generateOpenpgpKey({ userId: "Example <release@example.test>", algorithm: "rsa4096", now: new Date() });
    await writeFile(join(folder, "public.asc"), publicKey);
    await requireCommand(["rpmkeys", "--import", join(folder, "public.asc")], { timeoutMs, env: { ...cleanEnvironment(), HOME: folder } });
    const keys = Object.fromEntries(Object.keys(env).map((variable) => [variable, secretKey]));
    const { deb, rpm } = await build(folder, version, keys);
    const findings = await lint(folder, version);
    assert.deepEqual(
      findings.filter(({ severity }) => severity !== "note"),
      [],
      "nor do we find anything to warn of",
    );
    assert.deepEqual(await lintianErrors(deb), []);
    assert.deepEqual(await rpmlintErrors(rpm, folder), leaves);
  });
}

test("J3 J4 what lintian and rpmlint call errors in the documented layout of jaco, lint says before", async (t) => {
  if (!needClient(t, "lintian", "rpmlint", "cc")) return;
  const folder = await exampleProduct(t, "jaco");
  await compileFor(folder, "build/make-binary.sh", "$4");
  await copyFile(join(folder, "as-documented.yaml"), join(folder, "slipway.yaml"));
  const { deb, rpm } = await build(folder, "0.2.0");
  const findings = await lint(folder, "0.2.0");
  const errors = [
    ...(await lintianErrors(deb)).map((tag) => ["lintian", tag] as const),
    ...(await rpmlintErrors(rpm, folder)).map((tag) => ["rpmlint", tag] as const),
  ];
  assert.ok(errors.some(([, tag]) => tag === "file-in-usr-local"));
  assert.deepEqual(
    errors.filter(([judge, tag]) => tag !== "no-signature" && !isFound(tag, findings, judge)),
    [],
  );
});

test("J4 packages that lint finds nothing in pass lintian and rpmlint without an error", async (t) => {
  if (!needClient(t, "lintian", "rpmlint")) return;
  const folder = join(await temporaryFolder(t), "fine");
  await writeFiles(folder, {
    "slipway.yaml": `name: fine
summary: Answers questions politely
description: |
  Answers every question that it is asked,
  and asks none itself.
maintainer: Acme <release@acme.example>
license: Apache-2.0
homepage: https://acme.example/
targets: [linux/amd64]
build:
  run: cc -s -o {out} -O1 fine.c
  binaries: [fine]
packages:
  formats: [deb, rpm]
  files:
    /usr/bin/: [fine]
    /usr/share/man/man1/fine.1.gz: fine.1.gz
    /usr/lib/systemd/system/fine.service: fine.service
    /etc/fine: { directory: true }
    /etc/fine/fine.conf: { from: fine.conf, config: noreplace }
  scripts:
    postinstall: postinstall.sh
`,
    "fine.c": "int main(void) { return 0; }\n",
    "fine.service": "[Unit]\nDescription=Fine\nDocumentation=man:fine(1)\n[Service]\nExecStart=/usr/bin/fine\n[Install]\nWantedBy=multi-user.target\n",
    "fine.conf": "polite = yes\n",
    "postinstall.sh": "#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then\n  systemctl daemon-reload || true\nfi\n",
    LICENSE: "Apache License\nVersion 2.0\n",
  });
  if (!needClient(t, "cc")) return;
  const page = ".TH FINE 1\n.SH NAME\nfine \\- answers questions\n.SH SYNOPSIS\n.B fine\n.SH DESCRIPTION\nAnswers.\n";
  await writeFile(join(folder, "fine.1.gz"), gzipSync(page, { level: 9 }));
  const findings = await lint(folder, "1.0.0");
  assert.deepEqual(
    findings.filter(({ rule }) => rule !== "rpm-unsigned"),
    [],
  );
  const { deb, rpm } = await build(folder, "1.0.0");
  assert.deepEqual(await lintianErrors(deb), []);
  assert.deepEqual(await rpmlintErrors(rpm, folder), ["no-signature"], "which rpm-unsigned says");
});
