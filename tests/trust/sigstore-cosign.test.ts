/** cosign as the judge of our bundles, without a network, and cosign's own bundles under our eyes. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type CommandResult, cleanEnvironment, runCommand } from "../../src/io/command.ts";
import { createSigstorePolicy } from "../../src/trust/sigstore-policy.ts";
import { signerAt, verifySigstoreBundle } from "../../src/trust/sigstore-verify.ts";
import { findProgram } from "../support/clients.ts";
import { debianTool } from "../support/debian-tool.ts";
import { actionsIssuer, startSigstore } from "../support/sigstore-instance.ts";

const identity = "https://github.com/acme/toy/.github/workflows/release.yml@refs/tags/v1.5.0";

async function folderFor(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-cosign-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** cosign 2.5 of trixie, in a network namespace of its own where this machine has one: it cannot have asked anybody. */
async function cosign(t: TestContext, folder: string): Promise<((args: readonly string[]) => Promise<CommandResult>) | undefined> {
  const program = await debianTool(t, { release: "trixie", name: "cosign", program: "usr/bin/cosign" });
  if (program === undefined) return undefined;
  const alone = findProgram("unshare") !== undefined && process.getuid?.() === 0 ? ["unshare", "-n", "--"] : [];
  const env = { ...cleanEnvironment(), HOME: folder, COSIGN_PASSWORD: "" };
  return (args) => runCommand([...alone, program, ...args], { cwd: folder, env, timeoutMs: 60_000 });
}

test("K8 cosign 2.5 accepts a bundle that we signed, and refuses it for another tag and for a changed file", async (t) => {
  const folder = await folderFor(t);
  const run = await cosign(t, folder);
  if (run === undefined) return;
  const instance = await startSigstore(t);
  const file = join(folder, "toy");
  await writeFile(file, "a program\n");
  await writeFile(join(folder, "toy.bundle"), await instance.bundle(file, { identity, hasTimestamp: true }));
  await writeFile(join(folder, "root.json"), instance.trustedRoot);
  const verify = (name: string, of: string): Promise<CommandResult> =>
    run([
      "verify-blob",
      "--new-bundle-format",
      "--bundle=toy.bundle",
      "--trusted-root=root.json",
      `--certificate-identity=${name}`,
      `--certificate-oidc-issuer=${actionsIssuer}`,
      of,
    ]);
  const good = await verify(identity, "toy");
  assert.equal(good.exitCode, 0, good.stderr);
  assert.notEqual((await verify(identity.replace("v1.5.0", "v1.5.1"), "toy")).exitCode, 0);
  await writeFile(join(folder, "other"), "another program\n");
  assert.notEqual((await verify(identity, "other")).exitCode, 0);
});

test("a bundle that cosign signed with a key is accepted by a key policy and refused by one that demands an identity", async (t) => {
  const folder = await folderFor(t);
  const run = await cosign(t, folder);
  if (run === undefined) return;
  await writeFile(join(folder, "toy"), "a program\n");
  const made = await run(["generate-key-pair"]);
  assert.equal(made.exitCode, 0, made.stderr);
  const sign = ["sign-blob", "--yes", "--key", "cosign.key", "--tlog-upload=false", "--bundle"];
  const signed = await run([...sign, "toy.bundle", "--new-bundle-format", "toy"]);
  assert.equal(signed.exitCode, 0, signed.stderr);
  assert.equal((await run([...sign, "toy.old", "toy"])).exitCode, 0);
  const artifact = [await readFile(join(folder, "toy"))];
  const bundle = await readFile(join(folder, "toy.bundle"));
  const byKey = await createSigstorePolicy({ publicKey: await readFile(join(folder, "cosign.pub")) });
  assert.equal((await verifySigstoreBundle({ bundle, artifact, signer: signerAt(byKey, "") })).kind, "good");
  const { trustedRoot } = await startSigstore(t);
  const source = { issuer: actionsIssuer, repository: "https://github.com/acme/toy", workflow: ".github/workflows/release.yml", trustedRoot };
  const signer = signerAt(await createSigstorePolicy(source), "v1.5.0");
  const verdict = await verifySigstoreBundle({ bundle, artifact, signer });
  assert.equal(verdict.kind === "bad" && verdict.detail, "bundle_untrusted");
  const old = await verifySigstoreBundle({ bundle: await readFile(join(folder, "toy.old")), artifact, signer: signerAt(byKey, "") });
  assert.equal(old.kind === "bad" && old.detail, "bundle_malformed", "the form that cosign writes by default");
});
