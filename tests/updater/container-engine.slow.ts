/** Strategy container with real engines and the real server: Docker pulls with the installation's own pair; podman loads and pulls what quadlets then name. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ociPlatform } from "../../src/formats/oci-descriptor.ts";
import { cleanEnvironment, runCommand } from "../../src/io/command.ts";
import { parseTarget } from "../../src/model/target.ts";
import { parseVersion } from "../../src/model/version.ts";
import { containerEngine } from "../../src/updater/container-engine.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { keptImageName, replaceQuadletImage } from "../../src/updater/quadlet-file.ts";
import { withRegistryLogin } from "../../src/updater/registry-login.ts";
import { stateDirectoryOf } from "../../src/updater/state-directory.ts";
import { issuePair, type RunningServer, startServer } from "../server/running-server.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { servePodman, startOuterEngines } from "../support/engine-root.ts";
import {
  type ContainerSite,
  imageRelease,
  makeContainerSite,
  removeSite,
  requireWhole,
  runnableImage,
  type TestImage,
  updaterOf,
  writeLoadableFile,
} from "./container-site.ts";
import { failure, noSignal, pair, startVendor, type TestRelease } from "./support.ts";
import { serveRegistry } from "./vendor-registry.ts";

async function field(t: TestContext) {
  if (!needClient(t, "mmdebstrap", "unshare", "nsenter", "busybox") || !needRoot(t, "a container engine")) return undefined;
  const folder = await mkdtemp(join(tmpdir(), "slipway-engine-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const inside = await startOuterEngines(t, folder);
  const server = await startServer();
  t.after(server.stop);
  assert.equal((await server.admin("POST", "/products", { name: "toy" })).status, 200);
  return { folder, inside, server };
}

/** Uploads the signed files of a release as they are. */
async function publishRelease(server: RunningServer, version: string, files: TestRelease): Promise<void> {
  assert.equal((await server.admin("POST", "/products/toy/releases", { version, channel: "stable" })).status, 200);
  for (const [name, content] of files) {
    const digest = await server.upload(content);
    const answer = await server.admin("PUT", `/products/toy/releases/${version}/artifacts/${name}`, { digest, size: content.length });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  }
  const sums = await server.upload(files.get("SHA256SUMS") ?? Buffer.alloc(0));
  const published = await server.admin("POST", `/products/toy/releases/${version}/publish`, { sums });
  assert.equal(published.status, 200, JSON.stringify(published.body));
}

test("K8 C12 docker pulls from the vendor's own server with the installation's pair, over the updater; a revoked pair is refused while the old version runs", async (t) => {
  const here = await field(t);
  if (here === undefined) return;
  const { folder, server } = here;
  const vendor = await startVendor(t); // signs; the server is the real one
  const access = await issuePair(server, "northwind", "toy");
  const site = await makeContainerSite(vendor, { engine: folder, url: server.url });
  t.after(() => rm(site.folder, { recursive: true, force: true }));
  await writeFile(site.file, (await readFile(site.file, "utf8")).replace(pair.keyId, access.id));
  await writeFile(join(site.folder, "secret"), access.secret, { mode: 0o600 });
  const release = async (version: string, kind: "good" | "crashes" = "good"): Promise<TestImage> => {
    const image = await runnableImage(version, kind);
    await publishRelease(server, version, await vendor.release(version, imageRelease(version, image)));
    return image;
  };
  const images = { "1.4.2": await release("1.4.2"), "1.5.0": await release("1.5.0") };
  for (const version of ["1.4.2", "1.5.0"] as const) {
    await (await updaterOf(site)).install({ version: parseVersion(version), signal: noSignal });
    await requireWhole(site, "good", version);
    assert.match((await site.override()) ?? "", new RegExp(images[version].id));
  }
  assert.ok(site.events.some((event) => event.event === "step" && event.step === "pull" && event.text.includes(images["1.5.0"].digest)));
  await proveByHand(site);
  await release("1.6.0", "crashes");
  await failure((await updaterOf(site)).install({ signal: noSignal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.5.0");
  await release("1.7.0");
  await server.admin("POST", `/keys/${access.id}/revoke`, {});
  await failure((await updaterOf(site)).install({ signal: noSignal }), "unauthorized");
  assert.equal(await site.running(), "1.5.0");
  assert.ok(!(await readdir(site.updates)).includes("registry-login"));
  await removeSite(site);
});

/** What docs/strategies.md tells an operator to type: compose with both files changes nothing, and a drill runs the old image beside the live one. */
async function proveByHand(site: ContainerSite): Promise<void> {
  const env = { ...cleanEnvironment(), HOME: site.folder, PATH: site.path };
  const running = async (): Promise<string> => (await runCommand(["docker", "ps", "--quiet", "--no-trunc"], { env, timeoutMs: 120_000 })).stdout;
  const before = await running();
  const files = ["compose.yaml", "compose.slipway.yaml"].flatMap((name) => ["--file", join(site.folder, name)]);
  const up = await runCommand(["docker", "compose", ...files, "up", "--detach"], { env, timeoutMs: 120_000 });
  assert.equal(up.exitCode, 0, up.stderr);
  assert.equal(await running(), before);
  const volumes = ["--volume", "{section:data}:/site/data", "--volume", "{folder}:/site/run"];
  const start = ["docker", "run", "--detach", "--name", "toy-drill", "--network=none", "--user=0:0", ...volumes, "{image}"];
  const checks = [{ command: { argv: ["cat", "{folder}/version"], version: "[0-9].*" } }];
  const service = { start, stop: ["docker", "rm", "--force", "toy-drill"] };
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, `${text}drill: ${JSON.stringify({ service, health: { checks, consecutive: 1, bake_seconds: 0, interval_seconds: 0.1 } })}\n`);
  const report = await (await updaterOf(site)).drill({ signal: noSignal });
  assert.deepEqual([report.result, report.to], ["PASS", "1.4.2"]);
  await runCommand(["docker", "rm", "--force", "toy-drill"], { env, timeoutMs: 120_000 });
  assert.equal(await running(), before, "the live container was not touched");
  await requireWhole(site, "good", "after a drill");
}

test("podman loads and pulls the verified image under the signed digest, and systemd's generator makes a unit of the quadlet that names it", async (t) => {
  const here = await field(t);
  if (here === undefined) return;
  const { folder, inside, server } = here;
  const vendor = await startVendor(t);
  const env = { ...cleanEnvironment(), PATH: `${join(folder, "bin")}:${process.env["PATH"] ?? ""}` };
  const machine = {
    ...thisMachine(() => undefined),
    runCommand: (argv: readonly string[], options: Parameters<typeof runCommand>[1]) => runCommand(argv, { ...options, env }),
  };
  const engine = containerEngine("podman", machine);
  const image = await runnableImage("1.5.0");
  const { image: own, names } = await writeLoadableFile(join(folder, "engine.tar"), image);
  await engine.load(join(folder, "engine.tar"));
  const kept = keptImageName("toy", "1.5.0");
  const pinned = `${kept}@${own.descriptor.digest}`;
  const requirePinned = async (): Promise<void> => {
    assert.equal(await engine.idOf(pinned), image.id, "podman finds it by the name with the signed digest");
    const limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"];
    const ran = await runCommand(["podman", "run", "--rm", "--pull=never", "--network=none", ...limits, pinned, "sh", "-c", "echo runs $VERSION"], {
      env,
      timeoutMs: 120_000,
    });
    assert.equal(ran.stdout, "runs 1.5.0\n", ran.stderr);
  };
  assert.ok(new Set<string>(names).has((await engine.idOf(image.id)) ?? ""));
  await engine.keep(image.id, kept);
  assert.equal(await engine.digestOf(image.id), own.descriptor.digest);
  await requirePinned();

  const before = "[Unit]\nDescription=Toy\n\n[Container]\nImage=example.com/acme/toy:1.4\nNetwork=none\n\n[Install]\nWantedBy=multi-user.target\n";
  await mkdir(join(folder, "units"));
  await writeFile(join(folder, "units/toy.container"), replaceQuadletImage(before, pinned, "toy.container"));
  const generate = ["env", `QUADLET_UNIT_DIRS=${join(folder, "units")}`];
  const unit = await inside([...generate, "/usr/libexec/podman/quadlet", "-dryrun"]);
  assert.equal(unit.exitCode, 0, unit.stderr);
  assert.match(unit.stdout, /---toy\.service---/);
  assert.ok(unit.stdout.includes(`${pinned}\n`) && !unit.stdout.includes("example.com"), unit.stdout);
  await mkdir(join(folder, "generated"));
  const out = join(folder, "generated");
  const generated = await inside([...generate, "/usr/lib/systemd/system-generators/podman-system-generator", out, out, out]);
  assert.equal(generated.exitCode, 0, generated.stderr);
  assert.ok((await readFile(join(out, "toy.service"), "utf8")).includes(pinned));

  await runCommand(["podman", "rmi", "--force", image.id], { env, timeoutMs: 120_000 });
  assert.equal(await engine.idOf(image.id), undefined);
  const access = await issuePair(server, "northwind", "toy");
  await publishRelease(server, "1.5.0", await vendor.release("1.5.0", imageRelease("1.5.0", image)));
  const { host } = new URL(server.url);
  const reference = `${host}/toy@${image.digest}`;
  const login = { host, credentials: { keyId: access.id, secret: access.secret }, dockerFolder: folder };
  const directory = stateDirectoryOf(folder);
  await mkdir(directory.path);
  await withRegistryLogin(directory, login, (path) =>
    engine.pull({ reference, platform: ociPlatform(parseTarget("linux/amd64")), login: path, isPlainHttp: true }),
  );
  assert.equal(await engine.idOf(reference), image.id);
  await engine.keep(reference, kept);
  await engine.drop(reference);
  await requirePinned();
});

test("podman compose (podman 5, Docker's compose behind its socket): pulled by the signed digest, pinned, upgraded, rolled back by itself and by hand", async (t) => {
  const here = await field(t);
  if (here === undefined) return;
  const { folder, inside } = here;
  await servePodman(inside);
  const vendor = await startVendor(t);
  const registry = serveRegistry(vendor);
  const site = await makeContainerSite(vendor, { engine: folder, engineName: "podman", pull: "registry" });
  t.after(() => rm(site.folder, { recursive: true, force: true }));
  for (const [version, kind] of [
    ["1.4.2", "good"],
    ["1.5.0", "good"],
    ["1.6.0", "crashes"],
  ] as const) {
    const image = await runnableImage(version, kind);
    await registry.add(image.bytes);
    await vendor.release(version, imageRelease(version, image));
    const install = (await updaterOf(site)).install({ signal: noSignal });
    if (kind === "crashes") await failure(install, "health_failed", "rolled_back");
    else await install;
    await requireWhole(site, "good", version);
  }
  assert.equal(await site.running(), "1.5.0");
  await (await updaterOf(site)).rollback({ signal: noSignal });
  assert.equal(await site.running(), "1.4.2");
  assert.equal((await (await updaterOf(site)).verifyInstalled({ signal: noSignal })).result, "PASS");
  await removeSite(site, "podman");
});
