/** Strategy container: a compose service pinned by digest, with the image out of the verified release or from the vendor's registry, and the way back by the recorded digest. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Manifest } from "../../src/model/manifest.ts";
import { parseVersion } from "../../src/model/version.ts";
import { containerEngine } from "../../src/updater/container-engine.ts";
import { pullImage } from "../../src/updater/image-pull.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { stateDirectoryOf } from "../../src/updater/state-directory.ts";
import {
  type ContainerSiteOptions,
  drive,
  imageRelease,
  makeContainerSite,
  publishImage,
  removeSite,
  requireWhole,
  testImage,
  updaterOf,
} from "./container-site.ts";
import { failure, noSignal, pair, startVendor } from "./support.ts";
import { serveRegistry } from "./vendor-registry.ts";

async function field(t: TestContext, options: ContainerSiteOptions = {}) {
  const vendor = await startVendor(t);
  const site = await makeContainerSite(vendor, options);
  t.after(() => removeSite(site));
  const old = await publishImage(vendor, "1.4.2");
  await (await updaterOf(site)).install({ signal: noSignal });
  return { vendor, site, old };
}

test("K8 a compose service is upgraded to the image of the verified release, pinned by its digest; the operator's file stays", async (t) => {
  const { vendor, site, old } = await field(t);
  assert.equal(await site.running(), "1.4.2");
  const image = await publishImage(vendor, "1.5.0");
  const result = await (await updaterOf(site)).install({ signal: noSignal });
  assert.equal(result.kind === "installed" && result.version, "1.5.0");
  assert.match((await site.override()) ?? "", new RegExp(`image: "${image.id}"`));
  assert.equal(await readFile(join(site.folder, "compose.yaml"), "utf8"), "services: { toy: { image: example.com/acme/toy:latest } }\n");
  const calls = (await readFile(join(site.folder, "engine/calls"), "utf8")).split("\n");
  assert.ok(calls.every((call) => !call.startsWith("compose") || !call.includes(" up ") || call.includes("--pull never")));
  assert.deepEqual((await readdir(join(site.folder, "engine/tags"))).sort(), ["toy:1.4.2", "toy:1.5.0"], "both are kept from being pruned");
  assert.equal((await (await updaterOf(site)).verifyInstalled({ signal: noSignal })).result, "PASS");
  await writeFile(join(site.folder, "engine/running"), `${old.id}\n`);
  assert.equal((await (await updaterOf(site)).verifyInstalled({ signal: noSignal })).result, "FAIL");
});

test("K10 an image that does not come up is rolled back by itself", async (t) => {
  const { vendor, site, old } = await field(t);
  await publishImage(vendor, "1.5.0", "crashes");
  await failure((await updaterOf(site)).install({ signal: noSignal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.4.2");
  assert.match((await site.override()) ?? "", new RegExp(old.id));
});

test("78 the way back goes by the recorded digest, wherever the tag leads meanwhile", async (t) => {
  const { vendor, site, old } = await field(t);
  const image = await publishImage(vendor, "1.5.0");
  await (await updaterOf(site)).install({ signal: noSignal });
  for (const name of await readdir(join(site.folder, "engine/tags"))) await writeFile(join(site.folder, "engine/tags", name), `${image.id}\n`);
  await (await updaterOf(site)).rollback({ signal: noSignal });
  assert.equal(await site.running(), "1.4.2");
  assert.match((await site.override()) ?? "", new RegExp(old.id));
});

test("an old image that is gone stops the upgrade before anything is touched, and is said where it is needed for the way back", async (t) => {
  const { vendor, site, old } = await field(t);
  await publishImage(vendor, "1.5.0");
  const kept = join(site.folder, "engine/images", old.id);
  const bytes = await readFile(kept);
  await rm(kept);
  await failure((await updaterOf(site)).install({ signal: noSignal }), "backup_failed");
  assert.equal(await site.running(), "1.4.2");
  await writeFile(kept, bytes);
  await (await updaterOf(site)).install({ version: parseVersion("1.5.0"), signal: noSignal });
  await rm(kept);
  await failure((await updaterOf(site)).rollback({ signal: noSignal }), "rollback_failed", "backup_changed");
});

test("an archive with another image than release.json lists is refused, and a compose file that was edited is not overwritten", async (t) => {
  const { vendor, site } = await field(t);
  const other = await testImage("9.9.9");
  const image = await testImage("1.5.0");
  await vendor.release("1.5.0", imageRelease("1.5.0", { ...image, digest: other.digest }));
  await failure((await updaterOf(site)).install({ signal: noSignal }), "upgrade_verification_failed", "release_json_mismatch");
  assert.equal(await site.running(), "1.4.2");
  await writeFile(join(site.folder, "compose.slipway.yaml"), `${(await site.override()) ?? ""}    privileged: true\n`);
  await failure((await updaterOf(site)).install({ signal: noSignal }), "state_dir_insecure");
});

test("auto takes the compose service that the installation file names, and says so; what ran before is adopted by its image", async (t) => {
  const { vendor, site, old } = await field(t, { strategy: "auto" });
  const status = await (await updaterOf(site)).status();
  assert.equal(status.strategy, "container");
  assert.match(status.strategyReason, /names the compose service toy/);
  // As if compose alone had been used until now.
  await rm(join(site.folder, "compose.slipway.yaml"));
  await rm(join(site.updates, "state.json"));
  await rm(join(site.updates, "transaction.json"));
  await publishImage(vendor, "1.5.0", "crashes");
  await failure((await updaterOf(site)).install({ adopt: parseVersion("1.4.2"), signal: noSignal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.4.2");
  assert.match((await site.override()) ?? "", new RegExp(old.id));
});

/** 1.4.2 runs, and the vendor's server is a registry that has 1.5.0. */
async function registryField(t: TestContext, pull = "auto") {
  const { vendor, site, old } = await field(t);
  await writeFile(site.file, (await readFile(site.file, "utf8")).replace("pull: auto", `pull: ${pull}`));
  const registry = serveRegistry(vendor);
  const image = await publishImage(vendor, "1.5.0");
  await registry.add(image.bytes);
  vendor.requests.length = 0;
  const engine = (name: string): string => join(site.folder, "engine", name);
  return { vendor, site, old, registry, image, engine };
}

test("K8 where the source is a registry, the engine pulls by the signed digest, with a login that is there only meanwhile", async (t) => {
  const { vendor, site, image, engine } = await registryField(t);
  await mkdir(join(site.folder, ".docker"));
  await writeFile(join(site.folder, ".docker/config.json"), JSON.stringify({ currentContext: "rootless", auths: { "elsewhere.example": { auth: "eDp5" } } }));
  const result = await (await updaterOf(site)).install({ signal: noSignal });
  assert.equal(result.kind === "installed" && result.version, "1.5.0");
  await requireWhole(site, "good", "pulled");
  assert.match((await site.override()) ?? "", new RegExp(image.id));
  assert.ok(
    vendor.requests.every((request) => !request.endsWith("-oci.tar")),
    "the archive was not downloaded",
  );
  assert.deepEqual((await readdir(engine("tags"))).sort(), ["toy:1.4.2", "toy:1.5.0"], "the registry's own name is gone again");
  const host = `127.0.0.1:${vendor.port}`;
  const auth = Buffer.from(`${pair.keyId}:${pair.secret}`).toString("base64");
  assert.deepEqual(JSON.parse(await readFile(engine("login.json"), "utf8")), { auths: { [host]: { auth } }, currentContext: "rootless" });
  assert.equal(await readFile(engine("login-modes"), "utf8"), "700\n600\n");
  const calls = await readFile(engine("calls"), "utf8");
  assert.ok(calls.includes(`pull --platform linux/amd64 ${host}/toy@${image.digest}\n`), calls);
  for (const text of [calls, await readFile(engine("environment"), "utf8"), JSON.stringify(site.events)])
    assert.ok(!text.includes(pair.secret) && !text.includes(auth), "the secret is in no argument, environment or event");
  await (await updaterOf(site)).rollback({ signal: noSignal });
  assert.equal(await site.running(), "1.4.2");
});

test("what the registry or the engine gets wrong is refused before the switch, and the old version never stops", async (t) => {
  const { vendor, site, old, registry, image, engine } = await registryField(t, "registry");
  const other = await testImage("9.9.9");
  await registry.add(other.bytes);
  const refused = async (code: string, detail?: string) => {
    const error = await failure((await updaterOf(site)).install({ signal: noSignal }), code, detail);
    assert.equal(await site.running(), "1.4.2", error.message);
    assert.match((await site.override()) ?? "", new RegExp(old.id));
    assert.ok(!(await readdir(site.updates)).includes("registry-login"), error.message);
    return error;
  };
  registry.faults.status = 401;
  await refused("unauthorized");
  registry.faults.status = 503;
  await refused("server_error");
  registry.faults.status = 404;
  assert.match((await refused("not_found")).hint ?? "", /pull: archive/);
  delete registry.faults.status;
  const installation = await site.installation();
  const signed = { repository: "acme/toy", tags: ["1.5.0"], digest: image.digest };
  const artifact = { name: "toy-1.5.0-oci.tar", kind: "image" as const, size: image.bytes.length, sha256: "", image: signed };
  for (const url of ["https://releases.example.com/slipway/", "http://releases.example.com/"])
    await failure(
      pullImage(
        {
          installation: { ...installation, source: { ...installation.source, url } },
          machine: thisMachine(() => undefined),
          directory: stateDirectoryOf(site.stateDir),
          engine: containerEngine(
            "docker",
            thisMachine(() => undefined),
          ),
        },
        { artifact, version: "1.5.0", path: "", keptName: "" },
      ),
      "installation_invalid",
    );
  registry.faults.swapped.set(image.digest, other.digest); // the manifest that a tag leads to by now
  assert.match((await refused("upgrade_verification_failed", "hash_mismatch")).message, new RegExp(other.digest));
  registry.faults.swapped.clear();
  await writeFile(engine("pulls-other"), `${old.id}\n`); // an engine whose registry is another one (a mirror in its configuration)
  await refused("upgrade_verification_failed", "hash_mismatch");
  await rm(engine("pulls-other"));
  for (const [words, code] of [
    ["Error response from daemon: Get https://x/v2/: dial tcp: connect: connection refused", "network_unreachable"],
    ["write /var/lib/docker/tmp/x: no space left on device", "disk_full"],
    ["manifest verification failed for digest sha256:00", "upgrade_verification_failed"],
    ["Cannot connect to the Docker daemon at unix:///var/run/docker.sock", "command_failed"],
  ] as const) {
    await writeFile(engine("pull-says"), words);
    await refused(code);
  }
  await rm(engine("pull-says"));
  vendor.releases.get("1.5.0")?.delete("toy-1.5.0-oci.tar");
  await (await updaterOf(site)).install({ signal: noSignal });
  assert.equal(await site.running(), "1.5.0", "and then it goes on, without an archive anywhere");
});

test("killed while the engine pulls: the login that was left is removed by the next command, and the upgrade goes on", async (t) => {
  const { site, engine } = await registryField(t);
  await writeFile(engine("kill-in-pull"), "");
  assert.equal((await drive(site, "install", 0)).signal, "SIGKILL");
  assert.deepEqual(await readdir(join(site.updates, "registry-login")), ["config.json"]);
  assert.equal(await site.running(), "1.4.2");
  await (await updaterOf(site)).resume({ signal: noSignal });
  assert.equal(await site.running(), "1.5.0");
  await requireWhole(site, "good", "killed in the pull");
});

test("53 room for the archive is demanded where the archive comes, before anything is stopped, and not where the engine pulls", async (t) => {
  const { vendor, site, image } = await registryField(t, "archive");
  const options = imageRelease("1.5.0", image);
  // More than any disk of these tests has, and nothing that anybody would fetch.
  const huge = (manifest: Manifest): Manifest => ({ ...manifest, artifacts: manifest.artifacts.map((one) => ({ ...one, size: 2 ** 52 })) });
  await vendor.release("1.5.0", { ...options, changeManifest: huge });
  await failure((await updaterOf(site)).install({ signal: noSignal }), "disk_full");
  assert.equal(await site.running(), "1.4.2");
  assert.ok(
    vendor.requests.every((request) => !request.endsWith("-oci.tar")),
    "nothing was fetched",
  );
  await writeFile(site.file, (await readFile(site.file, "utf8")).replace("pull: archive", "pull: auto"));
  await (await updaterOf(site)).install({ signal: noSignal });
  assert.equal(await site.running(), "1.5.0");
});

test("pull: archive asks no registry", async (t) => {
  const { vendor, site } = await registryField(t, "archive");
  await (await updaterOf(site)).install({ signal: noSignal });
  assert.equal(await site.running(), "1.5.0");
  assert.ok(vendor.requests.some((request) => request.endsWith("-oci.tar")) && vendor.requests.every((request) => !request.includes("/v2/")));
});

test("K7 a drill: the engine is only asked, a copy of the compose file is pinned back, and the copy runs where the installation file says how", async (t) => {
  const { site, old, engine } = await registryField(t);
  await (await updaterOf(site)).install({ signal: noSignal });
  const before = await Promise.all([site.override(), readFile(join(site.updates, "state.json"), "utf8")]);
  await rm(engine("calls"));
  const incomplete = await (await updaterOf(site)).drill({ signal: noSignal });
  assert.deepEqual([incomplete.result, incomplete.from, incomplete.to], ["INCOMPLETE", "1.5.0", "1.4.2"]);
  assert.match(incomplete.notDone ?? "", /the live container was not touched/);
  const run = join(site.folder, "drill-run");
  const start = `echo {image} > ${run} && cp {root}/compose.slipway.yaml ${run}.yaml && test $(cat {section:data}/format) = 1.5.0`;
  const service = { stop: ["rm", "-f", run], start: ["sh", "-c", start] };
  const checks = [{ command: { argv: ["cat", `${run}.yaml`], version: 'version: "([0-9.]+)"' } }];
  const drill = { service, health: { checks, consecutive: 1, bake_seconds: 0, interval_seconds: 0.02 } };
  await writeFile(site.file, `${await readFile(site.file, "utf8")}drill: ${JSON.stringify(drill)}\n`);
  const report = await (await updaterOf(site)).drill({ signal: noSignal });
  assert.equal(report.result, "PASS");
  assert.equal((await readFile(run, "utf8")).trim(), old.id, "the copy was started with the image that goes back");
  assert.deepEqual(
    new Set(
      (await readFile(engine("calls"), "utf8"))
        .trim()
        .split("\n")
        .map((call) => call.split(" ").slice(0, 2).join(" ")),
    ),
    new Set(["image inspect"]),
  );
  assert.deepEqual(await Promise.all([site.override(), readFile(join(site.updates, "state.json"), "utf8")]), before);
  assert.equal(await site.running(), "1.5.0");
});
