/** Real registry clients against the server: skopeo as vendor and as customer, curl as the docker command line's handshake, and our own client. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { createRegistryClient } from "../../src/io/registry-client.ts";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { imageBlobs } from "../../src/packaging/image-build.ts";
import { pushImage } from "../../src/packaging/image-push.ts";
import { needClient } from "../support/clients.ts";
import { archiveBytes, buildSample, type SampleImage } from "../support/sample-image.ts";
import { issuePair, makeDraft, type Pair, publish, type RunningServer, startServer } from "../server/running-server.ts";

let folder: string;
let running: RunningServer;
let pair: Pair;
let host: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "slipway-oci-"));
  running = await startServer();
  host = new URL(running.url).host;
  await running.admin("POST", "/products", { name: "toolbox" });
  pair = await issuePair(running, "northwind", "toolbox");
});
after(async () => {
  await running.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Secrets go to skopeo in a file, as everywhere: never in an argument. */
async function login(name: string, user: string, password: string): Promise<string> {
  const authFile = join(folder, `${name}.json`);
  const result = await runCommand(["skopeo", "login", "--tls-verify=false", "--authfile", authFile, "-u", user, "--password-stdin", host], {
    timeoutMs: 30_000,
    input: password,
  });
  assert.equal(result.exitCode, 0, result.stderr);
  return authFile;
}

function skopeo(words: readonly string[]): Promise<CommandResult> {
  return runCommand(["skopeo", "--insecure-policy", ...words], { timeoutMs: 120_000 });
}

async function succeeds(words: readonly string[]): Promise<string> {
  const result = await skopeo(words);
  assert.equal(result.exitCode, 0, `${words.join(" ")}: ${result.stderr}`);
  return result.stdout;
}

async function sample(t: TestContext, name: string): Promise<SampleImage & { readonly folder: string }> {
  const own = join(folder, name);
  t.after(() => rm(own, { recursive: true, force: true }));
  return { ...(await buildSample(join(own, "layout"))), folder: own };
}

test("C3, C12 an image archive in a release: skopeo lists, inspects and copies all its platforms with the customer's pair", async (t) => {
  if (!needClient(t, "skopeo", "busybox")) return;
  const image = await sample(t, "released");
  await publish(running, "toolbox", "1.0.0", [{ name: "toolbox-1.0.0-oci.tar", content: await archiveBytes(image) }]);
  const authFile = await login("customer", pair.id, pair.secret);
  const source = `docker://${host}/toolbox:1.0.0`;
  const flags = ["--tls-verify=false", "--authfile", authFile];
  assert.deepEqual(JSON.parse(await succeeds(["list-tags", ...flags, `docker://${host}/toolbox`])).Tags, ["1.0.0", "latest", "stable"]);
  for (const tag of ["1.0.0", "latest"]) {
    const inspected = JSON.parse(await succeeds(["inspect", ...flags, `docker://${host}/toolbox:${tag}`])) as {
      Digest: string;
      Labels: Record<string, string>;
    };
    assert.equal(inspected.Digest, image.built.descriptor.digest);
    assert.equal(inspected.Labels["team"], "acme");
  }
  const copy = join(image.folder, "copy");
  await succeeds(["copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--src-authfile", authFile, source, `oci:${copy}:1.0.0`]);
  const { blobs } = await imageBlobs(image.layout, image.built);
  const copied = new Set(await readdir(join(copy, "blobs", "sha256")));
  for (const digest of blobs.keys()) assert.ok(copied.has(digest.slice("sha256:".length)), `${digest} was not copied`);
  const events = (await running.admin("GET", "/audit?action=download&customer=northwind&limit=100")).body["events"] as Record<string, unknown>[];
  assert.ok(events.some(({ protocol, version, client }) => protocol === "oci" && version === "1.0.0" && /skopeo|containers/.test(String(client))));
});

test("the vendor pushes all platforms with skopeo, and again without sending anything; customers see them when the release is published", async (t) => {
  if (!needClient(t, "skopeo", "busybox")) return;
  const image = await sample(t, "pushed");
  const authFile = await login("vendor", "admin", running.adminToken);
  const files = await makeDraft(running, "toolbox", "1.1.0");
  const layout = `oci:${join(image.folder, "layout")}:1.2.0-rc.1`;
  const target = `docker://${host}/toolbox/extra:1.1.0`;
  const push = ["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", "--dest-authfile", authFile, layout, target];
  await succeeds(push);
  await succeeds(push);
  const customerFile = await login("customer", pair.id, pair.secret);
  const inspect = ["inspect", "--tls-verify=false", "--authfile", customerFile, "--raw", target];
  const refused = await skopeo(inspect);
  assert.notEqual(refused.exitCode, 0);
  assert.match(refused.stderr, /name unknown|no repository/i);
  const sums = files.find(({ name }) => name === "SHA256SUMS");
  const digest = await running.upload(sums?.content ?? Buffer.alloc(0));
  assert.equal((await running.admin("POST", "/products/toolbox/releases/1.1.0/publish", { sums: digest })).status, 200);
  assert.equal(JSON.parse(await succeeds(inspect)).manifests.length, 2);
  const denied = await skopeo(["copy", "--all", "--dest-tls-verify=false", "--dest-authfile", customerFile, layout, `docker://${host}/toolbox/extra:mine`]);
  assert.notEqual(denied.exitCode, 0);
  assert.match(denied.stderr, /denied|read-only|unauthorized/i);
  const other = await sample(t, "other");
  const moved = await skopeo(["copy", "--dest-tls-verify=false", "--dest-authfile", authFile, `oci:${join(other.folder, "layout")}:1.2.0-rc.1`, target]);
  assert.notEqual(moved.exitCode, 0, "one platform is another manifest than the index that was published");
  assert.match(moved.stderr, /its tags never change/);
});

test("skopeo's login says no to a wrong secret", async (t) => {
  if (!needClient(t, "skopeo")) return;
  const words = ["skopeo", "login", "--tls-verify=false", "--authfile", join(folder, "wrong.json"), "-u", pair.id, "--password-stdin", host];
  const result = await runCommand(words, { timeoutMs: 30_000, input: "wrong" });
  assert.notEqual(result.exitCode, 0);
  assert.match(result.stderr, /invalid username\/password|unauthorized|not accepted/i);
});

test("curl goes through the handshake of the docker command line, and resumes a blob", async (t) => {
  if (!needClient(t, "curl", "skopeo", "busybox")) return;
  const image = await sample(t, "curled");
  await publish(running, "toolbox", "1.2.0", [{ name: "toolbox-1.2.0-oci.tar", content: await archiveBytes(image) }]);
  const curl = async (words: readonly string[], credential: string): Promise<string> => {
    const result = await runCommand(["curl", "-sS", "--config", "-", ...words], { timeoutMs: 30_000, input: credential });
    assert.equal(result.exitCode, 0, result.stderr);
    return result.stdout;
  };
  const challenge = await curl(["-D", "-", "-o", "/dev/null", `${running.url}/v2/`], "");
  assert.match(challenge, /^HTTP\/1\.1 401[^]*www-authenticate: Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token"/im);
  const { token } = JSON.parse(await curl([`${running.url}/token?service=x&scope=repository:toolbox:pull`], `user = "${pair.id}:${pair.secret}"`)) as {
    token: string;
  };
  const bearer = `header = "Authorization: Bearer ${token}"`;
  const [layer] = (await imageBlobs(image.layout, image.built)).image.images[0]?.manifest.layers ?? [];
  assert.ok(layer);
  const file = join(image.folder, "layer");
  const url = `${running.url}/v2/toolbox/blobs/${layer.digest}`;
  await curl(["-r", "0-999", "-o", file, url], bearer);
  await curl(["-C", "-", "-o", file, url], bearer);
  const got = await readFile(file);
  assert.deepEqual([got.length, `sha256:${createHash("sha256").update(got).digest("hex")}`], [layer.size, layer.digest]);
});

test("our own registry client pushes in chunks and pulls, with a token for each", async (t) => {
  if (!needClient(t, "busybox")) return;
  const image = await sample(t, "own");
  const { image: tagged } = await imageBlobs(image.layout, image.built);
  const credentials = { username: "admin", secret: running.adminToken };
  const client = createRegistryClient({ origin: new URL(running.url), credentials, upload: { kind: "chunked", chunkBytes: 100_000 } });
  const outcomes: string[] = [];
  const push = {
    client,
    repository: "toolbox/own",
    tags: ["dev"],
    source: image.layout.source,
    image: tagged,
    onBlob: ({ outcome }: { outcome: string }) => outcomes.push(outcome),
  };
  const { digest } = await pushImage(push);
  assert.ok(outcomes.includes("uploaded"));
  await pushImage({ ...push, repository: "toolbox/second", mountFrom: ["toolbox/own"] });
  assert.ok(outcomes.includes("mounted"));
  assert.equal((await client.getManifest("toolbox/own", "dev", [tagged.descriptor.mediaType])).digest, digest);
});
