/**
 * The updater measured on this machine, each figure with a peer or a bound in the same run. `node bench/upgrade.ts`; `--quick` takes small sizes, to see
 * that it runs. One JSON line per figure, and a table in the end; a run whose result is wrong fails.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { open, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { applyDelta, type PositionedBytes } from "../src/formats/delta.ts";
import { makeDelta } from "../src/formats/delta-make.ts";
import { type CommandResult, requireCommand, runCommand } from "../src/io/command.ts";
import { type FileOf, makeSite, noSignal, startVendor, tarGz, toyFiles, type Vendor } from "../tests/updater/support.ts";

const isQuick = process.argv.includes("--quick");
const mib = 1024 * 1024;
const sizes = isQuick ? { large: 8 * mib, program: 2 * mib, state: 4 * mib } : { large: 1024 * mib, program: 60 * mib, state: 1024 * mib };
const slipway = join(import.meta.dirname, "../bin/slipway");
const rows: { readonly what: string; readonly value: string; readonly goal: string }[] = [];

function report(what: string, value: string, goal: string, data: Readonly<Record<string, number>>): void {
  rows.push({ what, value, goal });
  process.stdout.write(`${JSON.stringify({ bench: what, ...data })}\n`);
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
const megabytes = (bytes: number): string => `${(bytes / mib).toFixed(1)} MiB`;

async function timed<T>(work: () => Promise<T>): Promise<{ readonly ms: number; readonly result: T }> {
  const from = performance.now();
  const result = await work();
  return { ms: performance.now() - from, result };
}

const hasProgram = async (name: string): Promise<boolean> => (await runCommand(["sh", "-c", `command -v ${name}`], { timeoutMs: 5_000 })).exitCode === 0;

/** Wall and CPU time in ms, and the largest resident size in bytes, by GNU time. */
async function measured(
  argv: readonly string[],
): Promise<{ readonly wallMs: number; readonly cpuMs: number; readonly rssBytes: number; readonly result: CommandResult }> {
  const { ms, result } = await timed(() => runCommand(["/usr/bin/time", "-f", "TIME %U %S %M", ...argv], { timeoutMs: 900_000 }));
  const [, user = "0", system = "0", kib = "0"] = /TIME ([\d.]+) ([\d.]+) (\d+)/.exec(result.stderr) ?? [];
  return { wallMs: ms, cpuMs: (Number(user) + Number(system)) * 1000, rssBytes: Number(kib) * 1024, result };
}

/** Bytes that do not compress, the same for a seed. */
function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed;
  for (let at = 0; at + 4 <= size; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}

/** A program of that many bytes; as text, because the test's releases are made of texts. */
const ballast = (size: number, seed: number): FileOf => ({ "lib/ballast": { content: noise(Math.floor(size / 2), seed).toString("hex"), mode: 0o644 } });

async function release(vendor: Vendor, version: string, size: number, seed: number): Promise<void> {
  const files = { ...toyFiles(version), ...ballast(size, seed) };
  const archive = await tarGz(Object.entries(files).map(([name, { content, mode = 0o755 }]) => ({ name, content, mode })));
  await vendor.release(version, { files, archive });
}

async function nothingToDo(): Promise<void> {
  const vendor = await startVendor();
  const site = await makeSite(vendor);
  try {
    await vendor.release("1.0.0");
    await (await site.updater()).install({ signal: noSignal });
    const before = vendor.requests.length;
    const check = await measured([slipway, "upgrade", "check", "--installation", site.file]);
    assert.equal(check.result.exitCode, 0, check.result.stderr);
    const requests = vendor.requests.length - before;
    const help = await measured([slipway, "upgrade", "check", "--help"]);
    const cpuMs = check.cpuMs - help.cpuMs;
    report("nothing to do", `${requests} requests, ${cpuMs.toFixed(0)} ms of CPU beyond start-up`, "2 requests, 50 ms", { requests, cpuMs });
  } finally {
    await vendor.close();
    await rm(site.folder, { recursive: true, force: true });
  }
}

/** A binary on disk, verified by the command that customers use, against two programs that do nothing but hash. */
async function verifyLarge(folder: string): Promise<void> {
  const file = join(folder, "large.bin");
  const handle = await open(file, "w");
  const hash = createHash("sha256");
  const piece = noise(8 * mib, 7);
  for (let done = 0; done < sizes.large; done += piece.length) {
    await handle.write(piece);
    hash.update(piece);
  }
  await handle.close();
  const sha256 = hash.digest("hex");
  const script = join(import.meta.dirname, "../src/updater/file-tree.ts");
  const program = `const { seeFile } = await import(${JSON.stringify(script)}); const seen = await seeFile(${JSON.stringify(file)}); if (seen?.sha256 !== ${JSON.stringify(sha256)}) process.exit(1);`;
  const us = await measured([process.execPath, "--input-type=module", "-e", program]);
  assert.equal(us.result.exitCode, 0, us.result.stderr);
  const peers = [
    ["openssl", "dgst", "-sha256", file],
    ["sha256sum", file],
  ];
  for (const argv of peers) {
    const peer = await measured(argv);
    assert.ok(peer.result.stdout.includes(sha256));
    const ratio = peer.wallMs / us.wallMs;
    report(`verify ${megabytes(sizes.large)} vs ${argv[0] ?? ""}`, `${ratio.toFixed(2)} of its speed, ${megabytes(us.rssBytes)} of memory`, "0.9, 150 MiB", {
      ratio,
      wallMs: us.wallMs,
      peerMs: peer.wallMs,
      rssBytes: us.rssBytes,
    });
  }
}

/** Cut at nine tenths: how much of the artifact crosses the wire again? */
async function resume(): Promise<void> {
  const vendor = await startVendor();
  const site = await makeSite(vendor, { extra: "artifact: { kind: binary }" });
  try {
    const size = Math.min(sizes.large, 384 * mib); // the test's vendor holds its releases in memory
    await vendor.release("1.0.0", { kind: "binary", files: { toy: { content: `#!/bin/sh\n#${noise(Math.floor(size / 2), 3).toString("hex")}` } } });
    const stop = new AbortController();
    let cutAt = 0;
    const cut = await site.updater({
      observe: (event) => {
        if (event.event === "download" && event.done >= event.total * 0.9 && cutAt === 0) {
          cutAt = event.done;
          stop.abort();
        }
      },
    });
    await assert.rejects(cut.install({ signal: stop.signal }));
    let first = 0;
    let total = 0;
    const again = await site.updater({
      observe: (event) => {
        if (event.event !== "download") return;
        first ||= event.done;
        total = event.total;
      },
    });
    await again.resume({ signal: noSignal }).catch(() => undefined); // the binary is no program: only its download counts
    assert.ok(first > 0 && total > 0);
    const share = (total - Math.min(first, cutAt)) / total;
    report("killed at 90 %, resumed", `${(share * 100).toFixed(1)} % transferred again`, "11 %", { share, bytes: total });
  } finally {
    await vendor.close();
    await rm(site.folder, { recursive: true, force: true });
  }
}

/** From stop to healthy, against what an operator would type. */
async function downtime(folder: string): Promise<void> {
  const vendor = await startVendor();
  const site = await makeSite(vendor);
  try {
    await release(vendor, "1.0.0", sizes.program, 1);
    await (await site.updater()).install({ signal: noSignal });
    await release(vendor, "1.1.0", sizes.program, 2);
    const us = await timed(async () => (await site.updater()).install({ signal: noSignal }));
    assert.ok(us.result.kind === "installed" && us.result.downtimeMs !== null);
    const downtimeMs = us.result.downtimeMs;
    const base = `${vendor.url}/releases/toy/1.1.0`;
    const name = "toy-v1.1.0-linux-amd64.tar.gz";
    const curl = `curl -fsS -u acme-1:$(cat ${site.folder}/secret)`;
    const isMinisigned = await hasProgram("minisign");
    const runbook = `set -e
cd ${folder}
for file in SHA256SUMS SHA256SUMS.minisig ${name}; do ${curl} -o $file ${base}/$file; done
${isMinisigned ? `minisign -Vqm SHA256SUMS -P ${vendor.publicKey}` : ":"}
sha256sum -c --quiet --ignore-missing SHA256SUMS
mkdir new
tar -xzf ${name} -C new
sync
from=$(date +%s%N)
rm -f ${site.folder}/run/version
mv new ${site.root}/versions/by-hand
ln -sfn versions/by-hand ${site.root}/current
${site.folder}/start.sh
until [ "$(cat ${site.folder}/run/version)" = 1.1.0 ]; do sleep 0.01; done
echo $((($(date +%s%N) - from) / 1000000))`;
    const peer = await timed(() => requireCommand(["sh", "-c", runbook], { timeoutMs: 300_000 }));
    const peerDowntimeMs = Number(peer.result.trim().split("\n").at(-1));
    report(`downtime, ${megabytes(sizes.program)} program`, `${seconds(downtimeMs)}; by hand ${seconds(peerDowntimeMs)}`, "under 1 s beyond its own start", {
      downtimeMs,
      peerDowntimeMs,
    });
    const by = isMinisigned ? "curl, minisign, sha256sum, tar" : "curl, sha256sum, tar; no minisign here";
    report("whole upgrade", `${seconds(us.ms)}; by hand (${by}) ${seconds(peer.ms)}`, "-", { ms: us.ms, peerMs: peer.ms });
  } finally {
    await vendor.close();
    await rm(site.folder, { recursive: true, force: true });
  }
}

async function rollback(): Promise<void> {
  const vendor = await startVendor();
  const site = await makeSite(vendor);
  try {
    await vendor.release("1.0.0");
    await (await site.updater()).install({ signal: noSignal });
    await mkdir(join(site.folder, "data/big"));
    const piece = noise(Math.min(64 * mib, sizes.state), 11);
    for (let done = 0, index = 0; done < sizes.state; done += piece.length, index += 1) await writeFile(join(site.folder, `data/big/${index}`), piece);
    await vendor.release("1.1.0");
    await (await site.updater()).install({ signal: noSignal });
    const result = await (await site.updater()).rollback({ restoreState: "always", signal: noSignal });
    assert.equal(await site.running(), "1.0.0");
    assert.ok((await readFile(join(site.folder, "data/big/0"))).equals(piece));
    const { rtoMs, targetMs } = result.report;
    report(`rollback with ${megabytes(sizes.state)} of state`, seconds(rtoMs), `60 s here; ${seconds(targetMs)} are promised`, { rtoMs, targetMs });
  } finally {
    await vendor.close();
    await rm(site.folder, { recursive: true, force: true });
  }
}

/** Neighbouring builds of one program: code moved by an insertion, and addresses that shift with it. Real ones are given with --old FILE --new FILE. */
async function pairOf(): Promise<{ readonly old: Buffer; readonly fresh: Buffer }> {
  const named = (flag: string): string | undefined => (process.argv.includes(flag) ? process.argv[process.argv.indexOf(flag) + 1] : undefined);
  const [oldFile, newFile] = [named("--old"), named("--new")];
  if (oldFile !== undefined && newFile !== undefined) return { old: await readFile(oldFile), fresh: await readFile(newFile) };
  const whole = await readFile(process.execPath);
  const old = whole.subarray(0, isQuick ? 4 * mib : 40 * mib);
  const at = Math.floor(old.length / 3);
  const fresh = Buffer.concat([old.subarray(0, at), noise(40_000, 9), old.subarray(at)]);
  for (let place = 64; place + 4 < fresh.length; place += 149) fresh.writeUInt32LE((fresh.readUInt32LE(place) + 40_000) >>> 0, place);
  return { old, fresh };
}

const inMemory = (bytes: Buffer): PositionedBytes => ({ size: bytes.length, read: (from, length) => Promise.resolve(bytes.subarray(from, from + length)) });

async function deltas(folder: string): Promise<void> {
  const { old, fresh } = await pairOf();
  const [oldFile, newFile, patch] = [join(folder, "old"), join(folder, "new"), join(folder, "patch")];
  await writeFile(oldFile, old);
  await writeFile(newFile, fresh);
  const full = await runCommand(["gzip", "-6", "-k", "-f", newFile], { timeoutMs: 600_000 });
  assert.equal(full.exitCode, 0);
  const fullBytes = (await stat(`${newFile}.gz`)).size;
  const made = await timed(() => Promise.resolve(makeDelta({ old, new: fresh })));
  const hash = createHash("sha256");
  const applied = await timed(() =>
    applyDelta({ delta: inMemory(made.result), old: inMemory(old), limitBytes: fresh.length, sink: (piece) => void hash.update(piece) }),
  );
  assert.equal(hash.digest("hex"), createHash("sha256").update(fresh).digest("hex"));
  const share = made.result.length / fullBytes;
  report("delta", `${(share * 100).toFixed(1)} % of gzip, made in ${seconds(made.ms)}, applied in ${seconds(applied.ms)}`, "20 %", {
    share,
    bytes: made.result.length,
    fullBytes,
    makeMs: made.ms,
    applyMs: applied.ms,
  });
  const peers = { bsdiff: ["bsdiff", oldFile, newFile, patch], zstd: ["zstd", "-q", "-f", "-19", "--long=27", "--patch-from", oldFile, newFile, "-o", patch] };
  for (const [name, argv] of Object.entries(peers)) {
    if (!(await hasProgram(name))) {
      process.stderr.write(`${name} is not here: no figure of it\n`);
      continue;
    }
    const peer = await timed(() => requireCommand(argv, { timeoutMs: 900_000 }));
    const bytes = (await stat(patch)).size;
    const ratio = made.result.length / bytes;
    report(`delta vs ${name}`, `${ratio.toFixed(2)} of its size, ${(made.ms / peer.ms).toFixed(2)} of its time`, "1.10 (bsdiff), 0.75 (zstd)", {
      ratio,
      bytes,
      ms: peer.ms,
    });
  }
}

async function startTime(): Promise<void> {
  const runs: number[] = [];
  for (let index = 0; index < (isQuick ? 2 : 11); index += 1) runs.push((await timed(() => requireCommand([slipway, "--version"], { timeoutMs: 30_000 }))).ms);
  const ms = runs.sort((left, right) => left - right)[Math.floor(runs.length / 2)] ?? 0;
  report("--version, from source", `${ms.toFixed(0)} ms`, "30 ms as executable", { ms });
}

const folder = join(process.env["TMPDIR"] ?? "/tmp", `slipway-bench-${process.pid}`);
await mkdir(folder, { mode: 0o700 });
try {
  await nothingToDo();
  await verifyLarge(folder);
  await resume();
  await downtime(folder);
  await rollback();
  await deltas(folder);
  await startTime();
  for (const { what, value, goal } of rows) process.stdout.write(`${what.padEnd(36)} ${value.padEnd(70)} goal: ${goal}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
