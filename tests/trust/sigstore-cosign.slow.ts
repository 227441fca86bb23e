/** cosign 3 of Debian unstable as a second judge of our bundles, without a network. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { cleanEnvironment, runCommand } from "../../src/io/command.ts";
import { findProgram } from "../support/clients.ts";
import { debianTool } from "../support/debian-tool.ts";
import { actionsIssuer, startSigstore } from "../support/sigstore-instance.ts";

const identity = "https://github.com/acme/toy/.github/workflows/release.yml@refs/tags/v1.5.0";

test("K8 cosign 3 accepts a bundle that we signed, and refuses it for another tag", async (t) => {
  const program = await debianTool(t, { release: "sid", name: "cosign", program: "usr/bin/cosign" });
  if (program === undefined) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-cosign-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const instance = await startSigstore(t);
  await writeFile(join(folder, "toy"), "a program\n");
  await writeFile(join(folder, "toy.bundle"), await instance.bundle(join(folder, "toy"), { identity, hasTimestamp: true }));
  await writeFile(join(folder, "root.json"), instance.trustedRoot);
  const alone = findProgram("unshare") !== undefined && process.getuid?.() === 0 ? ["unshare", "-n", "--"] : [];
  const verify = (name: string): ReturnType<typeof runCommand> =>
    runCommand(
      [
        ...alone,
        program,
        "verify-blob",
        "--bundle=toy.bundle",
        "--trusted-root=root.json",
        `--certificate-identity=${name}`,
        `--certificate-oidc-issuer=${actionsIssuer}`,
        "toy",
      ],
      { cwd: folder, env: { ...cleanEnvironment(), HOME: folder }, timeoutMs: 120_000 },
    );
  // cosign 2 wants --new-bundle-format here and refuses without it.
  const good = await verify(identity);
  assert.equal(good.exitCode, 0, good.stderr);
  assert.notEqual((await verify(identity.replace("v1.5.0", "v1.5.1"))).exitCode, 0);
});
