/** An installation whose version left by retention: set up with the text as printed, told that its version is gone, led straight to a supported one. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { createVendor, runSlipway } from "../support/vendor.ts";

test("C6 C18 the supported versions are published, and an older installation is led directly to one; what left answers 410 to curl", async (t) => {
  if (!needClient(t, "curl")) return;
  const vendor = await createVendor(t);
  await vendor.makeKeys();
  await vendor.serve();
  await vendor.release("1.4.0");
  const pair = await vendor.pair("acme-corp");
  const machine = await mkdtemp(join(tmpdir(), "slipway-machine-"));
  t.after(() => rm(machine, { recursive: true, force: true }));

  // `slipway key setup --for slipway`, pasted as printed; sudo puts the file below this folder.
  const { blocks } = (await vendor.result(["key", "setup", pair.id, "--for", "slipway"])) as { blocks: { text: string }[] };
  const block = blocks[0]?.text ?? "";
  await mkdir(join(machine, "bin"));
  await writeFile(join(machine, "bin/sudo"), `#!/bin/sh\nexec install -D -m "$4" /dev/stdin "${machine}$6"\n`, { mode: 0o755 });
  const env = { PATH: `${join(machine, "bin")}:/usr/bin:/bin`, SLIPWAY_SECRET: pair.secret };
  const pasted = await runCommand(["sh", "-euc", block], { timeoutMs: 120_000, env });
  assert.equal(pasted.exitCode, 0, pasted.stderr);
  const source = block
    .split("\n")
    .filter((line) => line.startsWith("# "))
    .map((line) => line.slice(2).replace("file:/", `file:${machine}/`));
  const exported = await vendor.run(["keys", "export", "updates"]);
  const key = exported.stdout.trim().split("\n").at(-1) ?? "";
  const settings = [
    "product: acme",
    "root: app",
    "state_dir: state",
    "artifact: { kind: archive }",
    `trust: { minisign: [${key}] }`,
    "health:",
    "  bake_seconds: 0",
    "  checks:",
    '    - command: { argv: [app/current/acme], version: "acme (.*)" }',
  ];
  await writeFile(join(machine, "slipway-installation.yaml"), [...settings, ...source, ""].join("\n"));
  const upgrade = async (...words: readonly string[]): Promise<Record<string, unknown>> => {
    const end = await runSlipway(["upgrade", ...words, "--json"], { cwd: machine, env: {} });
    assert.equal(end.exitCode, 0, end.stdout + end.stderr);
    return JSON.parse(end.stdout.trim().split("\n").at(-1) ?? "{}") as Record<string, unknown>;
  };
  await upgrade("install");
  for (const version of ["1.4.1", "1.4.2"]) await vendor.release(version);
  await vendor.result(["product", "retention", "--product", "acme", "--keep", "1"]);
  await vendor.result(["release", "retain", "--product", "acme", "--apply"]);

  await writeFile(join(machine, "curlrc"), `user = "${pair.id}:${pair.secret}"\n`, { mode: 0o600 });
  const curl = (path: string) => runCommand(["curl", "-sSi", "-K", join(machine, "curlrc"), `${vendor.url}/releases/acme/${path}`], { timeoutMs: 120_000 });
  assert.match((await curl("1.4.0/SHA256SUMS")).stdout, /^HTTP\/1\.1 410 Gone - acme 1\.4\.0 is no longer kept; use 1\.4\.2 instead/);
  const index = JSON.parse((await curl("index.json")).stdout.split("\r\n\r\n")[1] ?? "{}") as { supported: string[] };
  assert.deepEqual(index.supported, ["1.4.2"]);

  const { standing, offer } = (await upgrade("check")) as { standing: { kind: string; replacement: string }; offer: { version: string } };
  assert.deepEqual([standing.kind, standing.replacement, offer.version], ["retired", "1.4.2", "1.4.2"]);
  await upgrade("install");
  assert.match((await runCommand([join(machine, "app/current/acme")], { timeoutMs: 120_000 })).stdout, /acme 1\.4\.2/);
});
