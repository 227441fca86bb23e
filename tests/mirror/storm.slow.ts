/** Mirrors under load and damage: publications all the time, kills at every step, a full disk, a large file; and a real server with every format. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { folderSource } from "../../src/mirror/source.ts";
import { parseVersion } from "../../src/model/version.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { demoRecipe } from "../support/vendor.ts";
import { createMirroredVendor, readTree } from "./mirrored-vendor.ts";
import { createSampleMirror, createSampleVendor, memorySource, product, type SampleMirror, type SampleVendor, serveVendor, sha256 } from "./sample-source.ts";

const entry = resolve(import.meta.dirname, "..", "..", "src", "main.ts");

/** Proves a tree as a customer's customer would: a sync from it into an empty mirror checks every signature and digest. */
async function requireWhole(t: TestContext, vendor: SampleVendor, mirror: SampleMirror): Promise<void> {
  const judge = await createSampleMirror(t, vendor);
  const summary = await judge.sync(folderSource(await realpath(join(mirror.directory, "current"))));
  assert.equal(summary.result, "synced");
  await rm(judge.directory, { recursive: true, force: true });
}

test("C7 while a vendor publishes without a pause, every set that a mirror shows is whole", async (t) => {
  const vendor = await createSampleVendor(["1.0.0"]);
  const mirror = await createSampleMirror(t, vendor);
  const source = memorySource(vendor);
  // A server answers later than at once: publications fall between the requests of one sync.
  source.onRead = () => new Promise((done) => setTimeout(done, 1));
  const state = { isOver: false };
  const publishing = (async () => {
    for (let count = 1; count <= 40; count += 1) {
      await new Promise((done) => setTimeout(done, 400));
      await vendor.publish(`1.0.${count}`);
      if (count % 7 === 0) await vendor.withdraw(`1.0.${count - 3}`);
    }
    state.isOver = true;
  })();
  let syncs = 0;
  while (!state.isOver) {
    await mirror.sync(source).catch((error: unknown) => {
      // A source that never stands still may be given up for now; what readers see must not suffer.
      assert.ok(
        ["conflict", "not_found", "gone", "upgrade_verification_failed", "signature_invalid"].includes((error as { code?: string }).code ?? ""),
        String(error),
      );
    });
    syncs += 1;
    const seen = await readdir(mirror.directory);
    if (seen.includes("current")) await requireWhole(t, vendor, mirror);
  }
  await publishing;
  await mirror.sync(source);
  await requireWhole(t, vendor, mirror);
  assert.ok(syncs > 1);
});

async function createOperator(t: TestContext, vendor: SampleVendor, url: string): Promise<SampleMirror> {
  const mirror = await createSampleMirror(t, vendor);
  const keys = "{ openpgp: vendor.asc, minisign: vendor.pub, apk: vendor.rsa.pub }";
  await writeFile(join(mirror.folder, "mirror.yaml"), `source: ${url}\ndirectory: mirror\nparallel: 2\nproducts:\n  ${product}:\n    keys: ${keys}\n`);
  return mirror;
}

function startSync(folder: string): { readonly child: ChildProcess; readonly ended: Promise<unknown> } {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", entry, "mirror", "sync"], { cwd: folder, stdio: "ignore" });
  return { child, ended: new Promise((done) => child.once("exit", done)) };
}

test("C7 a sync killed at any request, and after its last, leaves a whole set, and the last one ends complete", async (t) => {
  const vendor = await createSampleVendor(["1.0.0"]);
  let asked = 0;
  let onRequest = (): void => undefined;
  const server = await serveVendor(t, vendor, () => {
    asked += 1;
    onRequest();
    return false;
  });
  const mirror = await createOperator(t, vendor, server.url);
  await startSync(mirror.folder).ended;
  let version = 0;
  const publish = async (): Promise<void> => {
    await new Promise((done) => setTimeout(done, 1100));
    version += 1;
    await vendor.publish(`1.${version}.0`);
    asked = 0;
  };
  await publish();
  await startSync(mirror.folder).ended;
  const usual = asked; // what one more release takes
  const [atRequests, afterLast] = [18, 6];
  let killed = 0;
  for (let turn = 1; turn <= atRequests + afterLast; turn += 1) {
    await publish();
    const { child, ended } = startSync(mirror.folder);
    const last = Math.min(usual, Math.ceil((turn * usual) / atRequests));
    onRequest = () => {
      if (asked === last) setTimeout(() => child.kill("SIGKILL"), Math.max(0, turn - atRequests) * 15);
    };
    await ended;
    if (child.signalCode === "SIGKILL") killed += 1;
    onRequest = () => undefined;
    await requireWhole(t, vendor, mirror);
  }
  t.diagnostic(`${killed} syncs of ${usual} requests were killed`);
  assert.ok(killed >= atRequests, `${killed} kills`);
  const end = await runCommand([process.execPath, "--disable-warning=ExperimentalWarning", entry, "mirror", "sync"], {
    cwd: mirror.folder,
    timeoutMs: 120_000,
  });
  assert.equal(end.exitCode, 0, end.stderr);
  assert.ok((await readdir(join(mirror.directory, "current/releases", product))).includes(`1.${version}.0`));
  assert.deepEqual(
    (await readdir(join(mirror.directory, "sets"))).filter((name) => name.startsWith(".")),
    [],
  );
});

test("C7 a full disk ends the sync with its code, readers keep their set, and with room it goes on", async (t) => {
  if (!needClient(t, "mount") || !needRoot(t, "a small file system")) return;
  const vendor = await createSampleVendor(["1.0.0"]);
  const mirror = await createSampleMirror(t, vendor);
  await mkdir(mirror.directory);
  await requireCommand(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mirror.directory], { timeoutMs: 120_000 });
  try {
    await mirror.sync(memorySource(vendor));
    await requireWhole(t, vendor, mirror);
    const large = Buffer.alloc(4_000_000, 7);
    await vendor.publish("1.1.0");
    await vendor.writeRelease({
      version: parseVersion("1.1.0"),
      sequence: 1_780_000_001, // the second one that the sample publishes
      artifacts: [{ name: `${product}-large`, kind: "binary", os: "linux", arch: "amd64", bytes: large }],
      imageDigest: `sha256:${sha256(vendor.get(`v2/${product}/manifests/1.1.0`))}`,
    });
    await assert.rejects(mirror.sync(memorySource(vendor)), { code: "disk_full" });
    await readFile(join(mirror.directory, "current/releases", product, "1.0.0/SHA256SUMS"));
    await requireCommand(["mount", "-o", "remount,size=32m", mirror.directory], { timeoutMs: 120_000 });
    assert.equal((await mirror.sync(memorySource(vendor))).result, "synced");
    await requireWhole(t, vendor, mirror);
  } finally {
    await requireCommand(["umount", mirror.directory], { timeoutMs: 120_000 });
  }
});

test("C7 memory stays flat while a large file is synced, exported and imported", async (t) => {
  if (!needClient(t, "time")) return;
  const vendor = await createSampleVendor(["1.0.0"]);
  const large = Buffer.alloc(400_000_000, "0123456789abcdef");
  const image = `sha256:${sha256(vendor.get(`v2/${product}/manifests/1.0.0`))}`;
  await vendor.writeRelease({
    version: parseVersion("1.0.0"),
    sequence: 1_780_000_000,
    artifacts: [{ name: `${product}-large`, kind: "binary", os: "linux", arch: "amd64", bytes: large }],
    imageDigest: image,
  });
  const server = await serveVendor(t, vendor);
  const outside = await createOperator(t, vendor, server.url);
  const inside = await createOperator(t, vendor, server.url);
  for (const [mirror, words] of [
    [outside, ["sync"]],
    [outside, ["export", "a.tar"]],
    [inside, ["import", join(outside.folder, "a.tar")]],
  ] as const) {
    const report = join(mirror.folder, "memory");
    const argv = ["time", "-f", "%M", "-o", report, process.execPath, "--disable-warning=ExperimentalWarning", entry, "mirror", ...words];
    const end = await runCommand(argv, { cwd: mirror.folder, timeoutMs: 300_000 });
    assert.equal(end.exitCode, 0, `${words.join(" ")}\n${end.stderr}`);
    const kilobytes = Number((await readFile(report, "utf8")).trim().split("\n").at(-1));
    t.diagnostic(`${words[0]}: ${Math.round(kilobytes / 1000)} MB at most for a file of 400 MB`);
    assert.ok(kilobytes < 320_000, `${words[0]} took ${kilobytes} kB`);
  }
});

const everyFormat = demoRecipe
  .replace("formats: [deb, rpm]", "formats: [deb, rpm, apk]")
  .replace("minisign: key:updates", "minisign: key:updates\n  apk: key:apks")
  .replace(
    "checksums: SHA256SUMS",
    "images:\n  - name: acme\n    tags: ['{version}']\n    user: 65532\n    entrypoint: [/usr/bin/acme]\nchecksums: SHA256SUMS",
  );

test("C7 a mirror of a real server: every format, images by their signed digest, and a revoked pair", async (t) => {
  if (!needClient(t, "skopeo")) return;
  const { vendor, customer } = await createMirroredVendor(t, [], everyFormat, async (made) => {
    await made.result(["keys", "new", "apks", "--type", "apk"]);
  });
  for (const version of ["1.4.1", "1.4.2"]) await vendor.release(version);
  const arch = await fetch(`${vendor.url}/apk/acme/stable/x86_64/APKINDEX.tar.gz`, {
    headers: { authorization: (await vendor.pair("observer")).authorization },
  });
  const [keyFile = ""] =
    /slipway-[0-9a-f]{16}\.rsa\.pub/.exec(
      await requireCommand(["sh", "-c", "tar tzf -"], { input: Buffer.from(await arch.arrayBuffer()), timeoutMs: 120_000 }),
    ) ?? [];
  await writeFile(join(customer.folder, "acme.rsa.pub"), Buffer.from(await (await fetch(`${vendor.url}/keys/apk/${keyFile}`)).arrayBuffer()));
  await customer.writeSettings({ selection: ["channels: [stable]"], apkKey: "acme.rsa.pub" });
  assert.equal((await customer.result(["mirror", "sync"]))["result"], "synced");
  const layout = JSON.parse((await readTree(customer, "images/acme/index.json")).toString()) as { manifests: { digest: string }[] };
  const manifest = JSON.parse((await readTree(customer, "releases/acme/1.4.2/release.json")).toString()) as { artifacts: { image?: { digest: string } }[] };
  const signed = manifest.artifacts.find(({ image }) => image !== undefined)?.image?.digest;
  assert.ok(signed !== undefined && layout.manifests.some(({ digest }) => digest === signed));
  const folder = await mkdtemp(join(tmpdir(), "slipway-layout-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await requireCommand(["skopeo", "--insecure-policy", "copy", "--all", `oci:${join(customer.directory, "current/images/acme")}:1.4.2`, `dir:${folder}/copy`], {
    timeoutMs: 120_000,
  });
  const id = /key_id: (\S+),/.exec(await readFile(join(customer.folder, "mirror.yaml"), "utf8"))?.[1] ?? "";
  await vendor.result(["key", "revoke", id]);
  const refused = await customer.run(["mirror", "sync"]);
  assert.equal(refused.exitCode, 24, refused.stderr);
  await readTree(customer, "apt/acme/dists/stable/InRelease");
});
