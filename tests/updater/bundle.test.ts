/** `upgrade install --file`: releases that were carried over an air gap are verified as ever, and nothing is asked over a network. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { createTarWriter } from "../../src/formats/tar.ts";
import type { Fetch } from "../../src/io/download.ts";
import { runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { TestTuf } from "../support/tuf-repository.ts";
import { failure, makeSite, noSignal, type Site, startVendor, type TestRelease, toyFiles, type Vendor } from "./support.ts";

const noNetwork: Fetch = (input) => Promise.reject(new Error(`asked for ${input instanceof Request ? input.url : String(input)}`));

async function field(t: TestContext): Promise<{ readonly vendor: Vendor; readonly site: Site; readonly carried: string }> {
  const vendor = await startVendor(t);
  // The access pair stands in a file that an air-gapped machine does not have.
  const site = await makeSite(vendor, {}, t);
  await vendor.release("1.0.0");
  await (await site.updater()).install({ signal: noSignal });
  await rm(join(site.folder, "secret"));
  const carried = join(site.folder, "carried");
  await mkdir(carried);
  return { vendor, site, carried };
}

async function writeRelease(folder: string, release: TestRelease): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (const [name, bytes] of release) await writeFile(join(folder, name), bytes);
  return folder;
}

async function tarOf(path: string, members: readonly (readonly [string, Buffer])[]): Promise<string> {
  const pieces: Buffer[] = [];
  const tar = createTarWriter((piece) => void pieces.push(Buffer.from(piece)));
  for (const [name, bytes] of members) await tar.add({ name, kind: "file", mode: 0o644, epochSeconds: 1 }, bytesSource(bytes));
  await tar.end();
  await writeFile(path, Buffer.concat(pieces));
  return path;
}

const offline = async (site: Site): ReturnType<Site["updater"]> => site.updater({ fetch: noNetwork });

test("the files of one release are installed from a folder, without a request and without the access pair", async (t) => {
  const { vendor, site, carried } = await field(t);
  const folder = await writeRelease(carried, await vendor.release("1.1.0"));
  const asked = vendor.requests.length;
  const planned = await (await offline(site)).plan({ file: folder, signal: noSignal });
  assert.equal(planned?.to, "1.1.0");
  const result = await (await offline(site)).install({ file: folder, signal: noSignal });
  assert.equal(result.kind === "installed" && result.version, "1.1.0");
  assert.equal(await site.running(), "1.1.0");
  assert.equal(vendor.requests.length, asked);
});

test("a tar that tar(1) made of a release's folder is installed, and one in parts as a mirror writes them", async (t) => {
  const { vendor, site, carried } = await field(t);
  await writeRelease(join(carried, "toy-1.1.0"), await vendor.release("1.1.0"));
  const tar = join(site.folder, "toy.tar");
  assert.equal((await runCommand(["tar", "-cf", tar, "-C", carried, "toy-1.1.0"], { timeoutMs: 10_000 })).exitCode, 0);
  await (await offline(site)).install({ file: tar, signal: noSignal });
  assert.equal(await site.running(), "1.1.0");

  const release = await vendor.release("1.2.0");
  const whole = await tarOf(join(site.folder, "next.tar"), [...release]);
  assert.equal((await runCommand(["split", "-b", "5000", "-d", "-a", "3", "--numeric-suffixes=1", whole, `${whole}.`], { timeoutMs: 10_000 })).exitCode, 0);
  await rm(whole);
  await (await offline(site)).install({ file: whole, signal: noSignal });
  assert.equal(await site.running(), "1.2.0");
});

test("of a mirror's bundle the newest release of the channel is installed; content that stands in it once serves all its paths", async (t) => {
  const { vendor, site } = await field(t);
  const release = await vendor.release("1.1.0");
  const index = { schema: 1, product: "toy", releases: [{ version: "1.1.0", channel: "stable", sequence: 1002, state: "published" }] };
  const files = [
    ["releases/toy/index.json", Buffer.from(JSON.stringify(index))] as const,
    ...[...release].map(([name, bytes]) => [`releases/toy/1.1.0/${name}`, bytes] as const),
  ];
  const set = { files: files.map(([path, bytes]) => ({ path, size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") })) };
  const manifest = Buffer.from(JSON.stringify({ schema: 1, kind: "slipway-mirror-bundle", set }));
  const path = await tarOf(join(site.folder, "b.tar"), [["manifest.json", manifest], ...files.map(([name, bytes]) => [`tree/${name}`, bytes] as const)]);
  await (await offline(site)).install({ file: path, signal: noSignal });
  assert.equal(await site.running(), "1.1.0");
});

test("74 where the installation demands TUF, a carried release must be listed in carried metadata that is not expired", async (t) => {
  const vendor = await startVendor(t);
  const tuf = new TestTuf({ product: "toy", now: new Date(), repository: "offline" });
  const trust = `{ minisign: [${vendor.publicKey}], tuf: { root: absent.root.json, offline_root: toy.offline.json } }`;
  const site = await makeSite(vendor, { trust }, t);
  await writeFile(join(site.folder, "toy.offline.json"), tuf.firstRoot);
  const carried = join(site.folder, "carried");
  const release = await vendor.release("1.1.0");
  await writeRelease(carried, release);
  const metadata = join(carried, "tuf/toy/offline/metadata");
  await mkdir(metadata, { recursive: true });
  const carry = async (): Promise<void> => {
    for (const [name, bytes] of tuf.files) await writeFile(join(metadata, name), bytes);
  };
  await carry();
  await failure((await offline(site)).install({ file: carried, signal: noSignal }), "version_not_found"); // not listed yet
  tuf.release("1.1.0", (JSON.parse(release.get("release.json")?.toString("utf8") ?? "{}") as { sequence: number }).sequence, release);
  await carry();
  const inTwoMonths = new Date(Date.now() + 60 * 86_400_000);
  const late = await site.updater({ fetch: noNetwork, clock: { now: () => inTwoMonths } });
  await failure(late.install({ file: carried, signal: noSignal }), "metadata_expired");
  await (await offline(site)).install({ file: carried, signal: noSignal });
  assert.equal(await site.running(), "1.1.0");
});

test("the command installs a carried release where there is no network at all", async (t) => {
  const { vendor, site, carried } = await field(t);
  const folder = await writeRelease(carried, await vendor.release("1.1.0"));
  const slipway = [join(import.meta.dirname, "../../bin/slipway"), "upgrade", "install"];
  const argv = ["unshare", "--user", "--map-root-user", "--net", "--", ...slipway, "--installation", site.file, "--file", folder, "--json"];
  const { exitCode, stderr } = await runCommand(argv, { timeoutMs: 60_000 });
  assert.equal(exitCode, 0, stderr);
  assert.equal(await site.running(), "1.1.0");
});

test("74 a carried release that is older than what is installed, or made before what was seen, is refused", async (t) => {
  const { vendor, site, carried } = await field(t);
  const old = await writeRelease(join(carried, "old"), await vendor.release("0.9.0"));
  await failure((await offline(site)).install({ file: old, signal: noSignal }), "downgrade_refused");
  const replayed = await writeRelease(join(carried, "replayed"), await vendor.release("1.3.0", { sequence: 5 }));
  await failure((await offline(site)).install({ file: replayed, signal: noSignal }), "metadata_rollback");
  assert.equal(await site.running(), "1.0.0");
});

test("a carried release is verified as one from the source: changed, unsigned, signed by somebody else, of another product", async (t) => {
  const { vendor, site, carried } = await field(t);
  const attempts: readonly (readonly [string, (release: TestRelease) => void, string])[] = [
    [
      "a changed archive",
      (release) => void release.set("toy-v1.1.0-linux-amd64.tar.gz", Buffer.alloc(release.get("toy-v1.1.0-linux-amd64.tar.gz")?.length ?? 0)),
      "hash_mismatch",
    ],
    ["no signature", (release) => void release.delete("SHA256SUMS.minisig"), "minisig_missing"],
  ];
  for (const [index, [name, change, detail]] of attempts.entries()) {
    const release = await vendor.release("1.1.0");
    change(release);
    const folder = await writeRelease(join(carried, String(index)), release);
    const error = await failure((await offline(site)).install({ file: folder, signal: noSignal }), "upgrade_verification_failed");
    assert.equal(error.detail, detail, name);
  }
  const release = await vendor.release("1.1.0");
  release.set("release.json", Buffer.from(JSON.stringify({ product: "other", version: "1.1.0", channel: "stable", sequence: 1 })));
  const foreign = await writeRelease(join(carried, "foreign"), release);
  await failure((await offline(site)).install({ file: foreign, signal: noSignal }), "source_unusable");
  assert.equal(await site.running(), "1.0.0");
});

test("what was begun from a file goes on from it, and a file that is gone is said", async (t) => {
  const { vendor, site, carried } = await field(t);
  const folder = await writeRelease(carried, await vendor.release("1.1.0", { files: toyFiles("1.1.0") }));
  const stop = new AbortController();
  const cut = await site.updater({
    fetch: noNetwork,
    observe: (event) => {
      if (event.event === "download") stop.abort();
    },
  });
  await failure(cut.install({ file: folder, signal: stop.signal }), "interrupted");
  const result = await (await offline(site)).resume({ signal: noSignal });
  assert.equal(result.kind === "installed" && result.version, parseVersion("1.1.0"));
  await failure((await offline(site)).install({ file: join(site.folder, "nowhere.tar"), signal: noSignal }), "source_missing");
});
