/** The customer's own package managers on a mirror's tree: by file:, by nginx, without Slipway and without a network. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { cp, mkdir, readFile, realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { aptSources } from "../../src/repositories/setup.ts";
import { withAptRoot } from "../support/apt-root.ts";
import { findProgram, needClient } from "../support/clients.ts";
import { withDnfRoot } from "../support/dnf-root.ts";
import { freePort } from "../support/vendor.ts";
import { createSampleMirror, createSampleVendor, memorySource, product, type SampleMirror } from "./sample-source.ts";

/** nginx over the tree, as docs/mirror.md shows it; ends with the test. */
async function startNginx(t: TestContext, mirror: SampleMirror): Promise<string> {
  const port = await freePort();
  const folder = join(mirror.folder, "nginx");
  await mkdir(folder);
  const configuration = [
    `pid ${folder}/pid;`,
    `error_log ${folder}/error.log;`,
    "events { worker_connections 64; }",
    "http {",
    "  access_log off;",
    ...["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `  ${name}_temp_path ${folder}/${name};`),
    `  server { listen 127.0.0.1:${port}; root ${mirror.directory}/current; }`,
    "}",
  ];
  await writeFile(join(folder, "nginx.conf"), configuration.join("\n"));
  const program = findProgram("nginx") ?? "nginx";
  const child: ChildProcess = spawn(program, ["-c", join(folder, "nginx.conf"), "-g", "daemon off; user root;"], { stdio: "ignore" });
  t.after(() => {
    if (child.exitCode !== null) return undefined;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    return ended;
  });
  const address = `http://127.0.0.1:${port}`;
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const answer = await fetch(`${address}/releases/${product}/index.json`).catch(() => undefined);
    if (answer?.ok === true) return address;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`nginx does not answer: ${await readFile(join(folder, "error.log"), "utf8").catch(() => "")}`);
}

test("C7 C12 apt installs and upgrades from a mirror by file: and from nginx with signed-by", async (t) => {
  if (!needClient(t, "mmdebstrap", "nginx")) return;
  await withAptRoot(t, async (apt) => {
    const vendor = await createSampleVendor(["1.0.0"]);
    const mirror = await createSampleMirror(t, vendor);
    await mirror.sync(memorySource(vendor));
    const must = async (args: readonly string[]): Promise<void> => {
      const end = await apt.run(args);
      assert.equal(end.exitCode, 0, `apt-get ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
    };
    await cp(await realpath(join(mirror.directory, "current")), join(apt.path, "srv/mirror"), { recursive: true });
    await writeFile(
      join(apt.path, "etc/apt/sources.list.d/mirror.list"),
      `deb [signed-by=/srv/mirror/keys/${product}.gpg] file:/srv/mirror/apt/${product} stable main\n`,
    );
    await must(["update", "--error-on=any"]);
    await must(["install", product]);
    assert.match((await apt.command([product])).stdout, /1\.0\.0/);
    await vendor.publish("1.1.0");
    await mirror.sync(memorySource(vendor));
    const address = await startNginx(t, mirror);
    await writeFile(join(apt.path, "etc/apt/sources.list.d/mirror.list"), "");
    const key = await readFile(join(mirror.directory, "current/keys", `${product}.asc`), "utf8");
    await apt.writeSource(aptSources({ baseUrl: address, product, channel: "stable" }, key));
    await must(["update", "--error-on=any"]);
    await must(["upgrade"]);
    assert.match((await apt.command([product])).stdout, /1\.1\.0/);
  });
});

test("C7 C13 dnf installs from a mirror by file:// with gpgcheck and repo_gpgcheck, also from a part with the mirror's own indexes", async (t) => {
  if (!needClient(t, "dnf", "rpm")) return;
  await withDnfRoot(t, async (dnf) => {
    const vendor = await createSampleVendor(["1.0.0", "1.1.0"]);
    const mirror = await createSampleMirror(t, vendor);
    await mirror.sync(memorySource(vendor), { selection: { architectures: ["amd64"] } });
    const tree = join(mirror.directory, "current");
    await dnf.writeRepo(
      `[mirror]\nname=mirror\nbaseurl=file://${tree}/yum/${product}/stable\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://${tree}/keys/${product}.asc\n`,
    );
    const must = async (args: readonly string[]): Promise<void> => {
      const end = await dnf.run(args);
      assert.equal(end.exitCode, 0, `dnf ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
    };
    await must(["install", `${product}-1.0.0`]);
    await mirror.sync(memorySource(vendor), {
      selection: { architectures: ["amd64"], formats: ["apt", "yum", "files"], last: 1 },
      keys: { openpgp: vendor.repositoryKey.signingKey },
    });
    await must(["clean", "all"]);
    await must(["upgrade", product]);
    assert.match((await dnf.rpm(["-q", product])).stdout, /1\.1\.0/);
  });
});
