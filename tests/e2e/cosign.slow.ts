/** cosign 2.5 with a key pair against the server: the vendor signs a published image, the customer verifies it, both ways of finding a signature. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type CommandResult, cleanEnvironment, runCommand } from "../../src/io/command.ts";
import { debianTool } from "../support/debian-tool.ts";
import { archiveBytes, buildSample } from "../support/sample-image.ts";
import { issuePair, publish, startServer } from "../server/running-server.ts";

type Registry = { readonly image: string; readonly other: string; readonly vendor: Cosign; readonly customer: Cosign };
type Cosign = (args: readonly string[]) => Promise<CommandResult>;

/** Two images, of 1.0.0 and 1.1.0; cosign as the vendor and as the customer, each with a log-in of its own. */
async function publishedImages(t: TestContext, program: string): Promise<Registry> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-cosign-"));
  const running = await startServer();
  t.after(async () => {
    await running.stop();
    await rm(folder, { recursive: true, force: true });
  });
  const { host } = new URL(running.url);
  const digests: string[] = [];
  for (const version of ["1.0.0", "1.1.0"]) {
    const image = await buildSample(join(folder, version), { labels: { version } });
    await publish(running, "toolbox", version, [{ name: `toolbox-${version}-oci.tar`, content: await archiveBytes(image) }]);
    digests.push(`${host}/toolbox@${image.built.descriptor.digest}`);
  }
  const pair = await issuePair(running, "northwind", "toolbox");
  const as = async (name: string, user: string, password: string): Promise<Cosign> => {
    const home = await mkdtemp(join(folder, `${name}-`));
    const auths = { [host]: { auth: Buffer.from(`${user}:${password}`).toString("base64") } };
    await writeFile(join(home, "config.json"), JSON.stringify({ auths }), { mode: 0o600 });
    const env = { ...cleanEnvironment(), HOME: home, DOCKER_CONFIG: home, COSIGN_PASSWORD: "test passphrase", COSIGN_EXPERIMENTAL: "1" };
    return (args) => runCommand([program, ...args], { cwd: folder, env, timeoutMs: 120_000 });
  };
  const [image = "", other = ""] = digests;
  return { image, other, vendor: await as("vendor", "admin", running.adminToken), customer: await as("customer", pair.id, pair.secret) };
}

/** Its transparency log is somebody else's server: neither asked nor told. */
const modes = {
  "as a referrer": { sign: ["--registry-referrers-mode=oci-1-1"], verify: ["--experimental-oci11"] },
  "under a tag": { sign: [], verify: [] },
} as const;

for (const [mode, words] of Object.entries(modes)) {
  test(`C12 the vendor signs a published image with cosign, ${mode}; the customer verifies it, and another image is refused`, async (t) => {
    const program = await debianTool(t, { release: "trixie", name: "cosign", program: "usr/bin/cosign" });
    if (program === undefined) return;
    const { image, other, vendor, customer } = await publishedImages(t, program);
    const made = await vendor(["generate-key-pair"]);
    assert.equal(made.exitCode, 0, made.stderr);
    const verify = (name: string): Promise<CommandResult> => customer(["verify", "--key=cosign.pub", "--insecure-ignore-tlog", ...words.verify, name]);

    assert.notEqual((await verify(image)).exitCode, 0, "nothing is signed yet");
    const signed = await vendor(["sign", "--key=cosign.key", "--tlog-upload=false", "--yes", ...words.sign, image]);
    assert.equal(signed.exitCode, 0, signed.stderr);
    const verified = await verify(image);
    assert.equal(verified.exitCode, 0, verified.stderr);
    assert.ok(verified.stdout.includes(image.slice(image.indexOf("sha256:"))), verified.stdout);
    assert.notEqual((await verify(other)).exitCode, 0, "the other image is not signed");

    const forged = await customer(["sign", "--key=cosign.key", "--tlog-upload=false", "--yes", ...words.sign, other]);
    assert.notEqual(forged.exitCode, 0, "a customer may not push");
  });
}
