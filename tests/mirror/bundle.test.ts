/** Bundles over an air gap: written, proven without Slipway, merged on the other side; and every way to tamper with one. */
import assert from "node:assert/strict";
import { mkdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { createTarWriter, type TarHeader } from "../../src/formats/tar.ts";
import { readTar } from "../../src/formats/tar-read.ts";
import { systemClock } from "../../src/io/clock.ts";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { openBlobPool } from "../../src/mirror/blob-pool.ts";
import { openBundle, readBundleManifest } from "../../src/mirror/bundle-read.ts";
import { type WrittenBundle, writeBundle } from "../../src/mirror/bundle-write.ts";
import { readCurrentSet } from "../../src/mirror/file-set.ts";
import { importBundle } from "../../src/mirror/import-bundle.ts";
import { loadTrust } from "../../src/mirror/keys.ts";
import { folderSource } from "../../src/mirror/source.ts";
import type { SyncSummary } from "../../src/mirror/sync.ts";
import { needClient } from "../support/clients.ts";
import { createSampleMirror, createSampleVendor, memorySource, product, type SampleMirror, type SampleVendor } from "./sample-source.ts";

const { signal } = new AbortController();
const selection = { formats: ["apt", "yum", "apk", "files", "images"] };

async function exported(mirror: SampleMirror, name: string, options: { readonly splitBytes?: number; readonly since?: string } = {}): Promise<WrittenBundle> {
  const set = await readCurrentSet(mirror.directory);
  assert.ok(set !== undefined);
  const since = options.since === undefined ? undefined : (await readBundleManifest(options.since)).set;
  const pool = await openBlobPool(mirror.directory);
  return writeBundle({ pool, set, since, path: join(mirror.folder, name), splitBytes: options.splitBytes, signal, onProgress: () => undefined });
}

async function imported(mirror: SampleMirror, path: string, isOlderAllowed = false): Promise<SyncSummary> {
  return importBundle({
    bundle: await openBundle(path, { signal, onProgress: () => undefined }),
    trustOf: (name, chosen) =>
      loadTrust({
        product: name,
        keys: { openpgp: "vendor.asc", minisign: "vendor.pub", apk: "vendor.rsa.pub" },
        selection: chosen,
        folder: mirror.folder,
        source: folderSource(mirror.folder),
        signal,
      }),
    directory: mirror.directory,
    isOlderAllowed,
    isDryRun: false,
    keepMs: 3_600_000,
    parallel: 2,
    clock: systemClock,
    signal,
    observe: () => undefined,
  });
}

async function connected(
  t: TestContext,
  versions: readonly string[] = ["1.0.0"],
): Promise<{ vendor: SampleVendor; inside: SampleMirror; outside: SampleMirror }> {
  const vendor = await createSampleVendor(versions);
  const outside = await createSampleMirror(t, vendor);
  await outside.sync(memorySource(vendor), { selection });
  return { vendor, outside, inside: await createSampleMirror(t, vendor) };
}

test("C7 a bundle is the same bytes twice, and what is imported is the tree that was exported", async (t) => {
  const { outside, inside } = await connected(t);
  const first = await exported(outside, "a.tar");
  const second = await exported(outside, "b.tar");
  assert.deepEqual(await readFile(first.parts[0]?.path ?? ""), await readFile(second.parts[0]?.path ?? ""));
  const summary = await imported(inside, join(outside.folder, "a.tar"));
  assert.equal(summary.result, "synced");
  await requireCommand(["diff", "-r", join(outside.directory, "current"), join(inside.directory, "current")], { timeoutMs: 20_000 });
  assert.equal((await imported(inside, join(outside.folder, "a.tar"))).result, "unchanged");
  // What is there several times is stored once.
  const stored = (await stat(join(outside.folder, "a.tar"))).size;
  const set = await readCurrentSet(outside.directory);
  assert.ok(stored < 2 * new Map(set?.files.map((file) => [file.sha256, file.size + 1024])).values().reduce((sum, size) => sum + size, 0));
});

test("C7 a bundle in parts for small sticks is read from its first part, and sha256sum proves the parts", async (t) => {
  const { outside, inside } = await connected(t);
  const written = await exported(outside, "a.tar", { splitBytes: 20_000 });
  assert.ok(written.parts.length > 2 && written.parts.every((part) => part.size <= 20_000));
  await requireCommand(["sha256sum", "-c", "--quiet", written.sumsPath], { cwd: outside.folder, timeoutMs: 20_000 });
  assert.equal((await imported(inside, join(outside.folder, "a.tar.001"))).result, "synced");
  await rm(written.parts[1]?.path ?? "");
  await assert.rejects(imported(inside, join(outside.folder, "a.tar")), { code: "format_invalid" });
});

test("C7 an addition holds only what is new, and needs the bundle before it", async (t) => {
  const { vendor, outside, inside } = await connected(t);
  const whole = await exported(outside, "a.tar");
  await new Promise((done) => setTimeout(done, 1100));
  await vendor.publish("1.1.0");
  await outside.sync(memorySource(vendor), { selection });
  const addition = await exported(outside, "b.tar", { since: whole.manifestPath });
  const names: string[] = [];
  for await (const member of readTar(bytesSource(await readFile(join(outside.folder, "b.tar"))).open(), { name: "b.tar", memberLimit: 10_000, pax: "read" }))
    if (member.kind === "file") names.push(member.path);
  const set = await readCurrentSet(outside.directory);
  assert.ok(addition.files < (set?.files.length ?? 0));
  assert.deepEqual(
    names.filter((name) => /pool.*1\.0\.0/.test(name)),
    [],
  );
  await assert.rejects(imported(inside, join(outside.folder, "b.tar")), { code: "source_missing" });
  await imported(inside, join(outside.folder, "a.tar"));
  assert.equal((await imported(inside, join(outside.folder, "b.tar"))).result, "synced");
  for (const version of ["1.0.0", "1.1.0"])
    await stat(join(inside.directory, "current/apt", product, "pool/main/c", product, `${product}_${version}_amd64.deb`));
  // Older over newer only when that is meant.
  await assert.rejects(imported(inside, join(outside.folder, "a.tar")), { code: "metadata_rollback" });
  assert.equal((await imported(inside, join(outside.folder, "a.tar"), true)).result, "synced");
});

type Member = { readonly header: TarHeader; readonly bytes?: Uint8Array };

/** The bundle with its members changed. */
async function rewrite(path: string, change: (members: Member[]) => Member[]): Promise<void> {
  const members: Member[] = [];
  for await (const member of readTar(bytesSource(await readFile(path)).open(), { name: path, memberLimit: 10_000, pax: "read" })) {
    if (member.kind === "refused") members.push({ header: { name: member.name, kind: "hardlink", mode: 0o644, target: "manifest.json", epochSeconds: 0 } });
    else {
      const pieces: Uint8Array[] = [];
      for await (const piece of member.body()) pieces.push(Uint8Array.from(piece));
      members.push({ header: { name: member.storedName, kind: "file", mode: 0o644, epochSeconds: 0 }, bytes: Buffer.concat(pieces) });
    }
  }
  const output: Uint8Array[] = [];
  const tar = createTarWriter((piece) => void output.push(Uint8Array.from(piece)));
  for (const { header, bytes } of change(members)) await tar.add(header, bytes === undefined ? undefined : bytesSource(bytes));
  await tar.end();
  await writeFile(path, Buffer.concat(output));
}

const isDeb = ({ header }: Member): boolean => header.name.endsWith("_1.0.0_amd64.deb") && header.kind === "file";
const evil = (name: string, kind: TarHeader["kind"], target?: string): Member => ({
  header: { name, kind, mode: 0o777, epochSeconds: 0, ...(target === undefined ? {} : { target }) },
  ...(kind === "file" ? { bytes: Buffer.from("x") } : {}),
});

/** The manifest with one entry changed, so that only the signatures can tell. */
const withManifest =
  (change: (files: { path: string; sha256: string; size: number }[]) => void) =>
  (members: Member[]): Member[] =>
    members.map((member) => {
      if (member.header.name !== "manifest.json" || member.bytes === undefined) return member;
      const value = JSON.parse(Buffer.from(member.bytes).toString()) as { set: { files: { path: string; sha256: string; size: number }[] } };
      change(value.set.files);
      return { ...member, bytes: Buffer.from(JSON.stringify(value)) };
    });

const tampered: readonly { readonly name: string; readonly code: string; readonly change: (members: Member[]) => Member[] }[] = [
  {
    name: "a changed package",
    code: "format_invalid",
    change: (all) => all.map((one) => (isDeb(one) ? { ...one, bytes: Buffer.alloc(one.bytes?.length ?? 0) } : one)),
  },
  { name: "a lost file", code: "format_invalid", change: (all) => all.filter(({ header }) => !header.name.endsWith("repomd.xml")) },
  { name: "a member that no manifest lists", code: "path_unsafe", change: (all) => [...all, evil("tree/extra", "file")] },
  { name: "a path out of the tree", code: "path_unsafe", change: (all) => [...all, evil("tree/../../etc/cron.d/x", "file")] },
  { name: "an absolute path", code: "path_unsafe", change: (all) => [...all, evil("/etc/cron.d/x", "file")] },
  { name: "a symbolic link", code: "path_unsafe", change: (all) => [...all, evil("tree/apt/link", "symlink", "/etc")] },
  { name: "a hard link that no manifest lists", code: "path_unsafe", change: (all) => [...all, evil("tree/apt/link", "hardlink", "/etc/shadow")] },
  { name: "the same member twice", code: "path_unsafe", change: (all) => [...all, ...all.filter(isDeb)] },
  { name: "no manifest at its start", code: "format_invalid", change: (all) => all.slice(1) },
  {
    name: "a manifest with a path out of the tree",
    code: "path_unsafe",
    change: withManifest((files) => {
      if (files[0] !== undefined) files[0].path = "../x";
    }),
  },
  {
    name: "a manifest that lists a path twice",
    code: "format_invalid",
    change: withManifest((files) => {
      if (files[0] !== undefined) files.push(files[0]);
    }),
  },
];

test("C7 a bundle that was tampered with is refused before anything of the mirror is touched", async (t) => {
  const { outside, inside } = await connected(t);
  await exported(outside, "good.tar");
  for (const { name, code, change } of tampered) {
    await t.test(`C7 refused: ${name}`, async () => {
      const path = join(outside.folder, "bad.tar");
      await writeFile(path, await readFile(join(outside.folder, "good.tar")));
      await rewrite(path, change);
      await assert.rejects(imported(inside, path), { code });
      await assert.rejects(readlink(join(inside.directory, "current")));
    });
  }
  await t.test("C7 refused: half of the file", async () => {
    const bytes = await readFile(join(outside.folder, "good.tar"));
    await writeFile(join(outside.folder, "bad.tar"), bytes.subarray(0, bytes.length / 2));
    await assert.rejects(imported(inside, join(outside.folder, "bad.tar")), { code: "format_invalid" });
  });
  await t.test("C7 refused: a whole bundle by somebody else's keys", async (inner) => {
    const stranger = await createSampleMirror(inner, await createSampleVendor());
    await assert.rejects(imported(stranger, join(outside.folder, "good.tar")), { code: "upgrade_verification_failed" });
  });
});

async function unpacked(mirror: SampleMirror, bundle: string): Promise<string> {
  const folder = join(mirror.folder, "unpacked");
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  await requireCommand(["tar", "xf", join(mirror.folder, bundle), "-C", folder], { timeoutMs: 20_000 });
  return folder;
}

test("C7 verify.sh proves a bundle without Slipway under dash and busybox, and finds what was changed", async (t) => {
  if (!needClient(t, "gpgv", "minisign", "busybox", "sha256sum")) return;
  const { outside } = await connected(t);
  await exported(outside, "a.tar");
  for (const shell of [["sh"], ["busybox", "sh"]]) {
    const folder = await unpacked(outside, "a.tar");
    const verify = (words: readonly string[] = []): Promise<CommandResult> =>
      runCommand([...shell, join(folder, "verify.sh"), ...words], { timeoutMs: 60_000 });
    const good = await verify();
    assert.equal(good.exitCode, 0, good.stdout + good.stderr);
    for (const line of [
      "Release is signed",
      "repomd.xml is signed",
      "SHA256SUMS is signed",
      "packages of tree/apt",
      "packages of tree/yum",
      "everything that is here",
    ])
      assert.ok(good.stdout.includes(line), `${line}\n${good.stdout}`);
    const pinned = join(folder, "pinned");
    await requireCommand(["cp", "-r", join(folder, "tree/keys"), pinned], { timeoutMs: 20_000 });
    assert.equal((await verify([pinned])).exitCode, 0);
    const deb = join(folder, `tree/apt/${product}/pool/main/c/${product}/${product}_1.0.0_amd64.deb`);
    // A forger who also writes SHA256SUMS anew is found by the signatures.
    await rm(deb);
    await writeFile(deb, "forged");
    assert.equal((await verify()).exitCode, 1);
    await requireCommand(["sh", "-c", "find manifest.json verify.sh tree -type f | LC_ALL=C sort | xargs sha256sum > SHA256SUMS"], {
      cwd: folder,
      timeoutMs: 20_000,
    });
    const forged = await verify();
    assert.equal(forged.exitCode, 1);
    assert.match(forged.stdout, /FAIL {2}packages of tree\/apt/);
    const latest = join(folder, `tree/releases/${product}/latest/${product}-latest-linux-amd64`);
    await rm(latest);
    await writeFile(latest, "forged");
    await requireCommand(["sh", "-c", "find manifest.json verify.sh tree -type f | LC_ALL=C sort | xargs sha256sum > SHA256SUMS"], {
      cwd: folder,
      timeoutMs: 20_000,
    });
    assert.match((await verify()).stdout, /FAIL {2}coequal latest: files that the sums do not list\ncoequal-latest-linux-amd64/);
  }
});

test("C7 verify.sh refuses signatures of a revoked key, which gpgv itself lets pass", async (t) => {
  if (!needClient(t, "gpgv", "gpg", "minisign")) return;
  const { outside } = await connected(t);
  await exported(outside, "a.tar");
  const folder = await unpacked(outside, "a.tar");
  const home = join(outside.folder, "gnupg");
  await mkdir(home, { mode: 0o700 });
  const gpg = (words: readonly string[]): Promise<string> => requireCommand(["gpg", "--homedir", home, "--batch", "--yes", ...words], { timeoutMs: 60_000 });
  await gpg(["--quick-gen-key", "--passphrase", "", "vendor@test.example", "ed25519", "sign", "never"]);
  const [, fingerprint = ""] = /^fpr:+([0-9A-F]{40}):/m.exec(await gpg(["--with-colons", "-k"])) ?? [];
  const dist = join(folder, `tree/apt/${product}/dists/stable`);
  await rm(join(dist, "Release.gpg"));
  await gpg(["--output", join(dist, "Release.gpg"), "--armor", "--detach-sign", join(dist, "Release")]);
  const certificate = (await readFile(join(home, "openpgp-revocs.d", `${fingerprint}.rev`), "utf8")).replace(/^:-----BEGIN/m, "-----BEGIN");
  await writeFile(join(outside.folder, "revocation"), certificate);
  await gpg(["--import", join(outside.folder, "revocation")]);
  const pinned = join(folder, "pinned");
  await requireCommand(["cp", "-r", join(folder, "tree/keys"), pinned], { timeoutMs: 20_000 });
  await rm(join(pinned, `${product}.gpg`));
  await gpg(["--output", join(pinned, `${product}.gpg`), "--export", fingerprint]);
  const tolerant = await runCommand(["gpgv", "--keyring", join(pinned, `${product}.gpg`), join(dist, "Release.gpg"), join(dist, "Release")], {
    timeoutMs: 20_000,
  });
  assert.equal(tolerant.exitCode, 0, "gpgv passes it: the reason for this test");
  const end = await runCommand(["sh", join(folder, "verify.sh"), pinned], { timeoutMs: 60_000 });
  assert.equal(end.exitCode, 1);
  assert.match(end.stdout, /FAIL {2}tree\/apt\/coequal\/dists\/stable\/Release: no good signature/);
  await runCommand(["gpgconf", "--homedir", home, "--kill", "all"], { timeoutMs: 20_000 });
});
