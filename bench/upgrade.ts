/**
 * The updater measured on this machine, each figure with a peer or a bound in the same run. `node bench/upgrade.ts` takes some minutes and
 * 5 GiB below TMPDIR; `--quick` takes small sizes, to see that it runs; `--only nothing,verify,resume,downtime,rollback,delta,start`;
 * `--executable FILE` (of executables/build.ts) measures that beside the sources. One JSON line per figure, and a table in the end; a run
 * whose result is wrong fails.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { cpus, loadavg } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { requireCommand } from "../src/io/command.ts";
import { type FileOf, makeSite, noSignal, type Site, startVendor, tarGz, toyFiles, type Vendor } from "../tests/updater/support.ts";
import { benchDeltas, noise } from "./upgrade-delta.ts";
import { hasProgram, inTurn, measured, median, megabytes, mib, printTable, report, seconds, timed } from "./upgrade-measure.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    executable: { type: "string" },
    old: { type: "string" },
    new: { type: "string" },
  },
});
const sizes = values.quick ? { large: 64 * mib, program: 2 * mib, state: 4 * mib } : { large: 1024 * mib, program: 60 * mib, state: 1024 * mib };
const rounds = values.quick ? 3 : 11;
/** Ways to start the same program. */
const programs: readonly { readonly name: string; readonly path: string }[] = [
  { name: "from source", path: join(import.meta.dirname, "../bin/slipway") },
  ...(values.executable === undefined ? [] : [{ name: "executable", path: resolve(values.executable) }]),
];
const slipway = programs.at(-1)?.path ?? "";

/** What makes a release as large as it is to be. */
const ballast = (size: number, seed: number): FileOf => ({ "lib/ballast": { content: noise(size, seed), mode: 0o644 } });

async function release(vendor: Vendor, version: string, size: number, seed: number): Promise<void> {
  const files = { ...toyFiles(version), ...ballast(size, seed) };
  const archive = await tarGz(Object.entries(files).map(([name, { content, mode = 0o755 }]) => ({ name, content, mode })));
  await vendor.release(version, { files, archive });
}

/** A vendor and a customer's machine for the time of `work`. */
async function withSite(work: (vendor: Vendor, site: Site) => Promise<void>, options: Parameters<typeof makeSite>[1] = {}): Promise<void> {
  const vendor = await startVendor();
  const site = await makeSite(vendor, options);
  try {
    await work(vendor, site);
  } finally {
    await vendor.close();
    await rm(site.folder, { recursive: true, force: true });
  }
}

/** What a check costs beyond a bare start of the same program, where there is nothing newer. */
async function nothingToDo(): Promise<void> {
  await withSite(async (vendor, site) => {
    await vendor.release("1.0.0");
    await (await site.updater()).install({ signal: noSignal });
    for (const { name, path } of programs) {
      const check = [path, "upgrade", "check", "--installation", site.file];
      vendor.requests.length = 0;
      await requireCommand(check, { timeoutMs: 30_000 });
      const requests = vendor.requests.length;
      const [bare, whole] = await inTurn([[path, "--version"], check], rounds);
      const [startMs, checkMs] = [bare?.cpuMs ?? Number.NaN, whole?.cpuMs ?? Number.NaN];
      const text = `${requests} requests, ${(checkMs - startMs).toFixed(0)} ms of CPU beyond the start's ${startMs.toFixed(0)}`;
      report(`nothing to do, ${name}`, text, "2 requests, 50 ms", { requests, startMs, checkMs });
    }
  });
}

/** A program of one file: bytes that no compression helps, with the version in the end. */
function largeProgram(version: string, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  const piece = noise(8 * mib, 7);
  for (let at = 0; at < size; at += piece.length) piece.copy(bytes, at);
  bytes.write(`\n${version}\n`, size - version.length - 2);
  return bytes;
}

/** A binary on disk, verified by the updater's own pass and by the command that customers have, against two programs that do nothing but hash. */
async function verifyLarge(parent: string): Promise<void> {
  const folder = join(parent, "release");
  await mkdir(folder);
  await withSite(async (vendor) => {
    const files = await vendor.release("1.0.0", { kind: "binary", archive: largeProgram("1.0.0", sizes.large) });
    for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
    const [name = ""] = files.keys();
    const file = join(folder, name);
    vendor.releases.clear();
    const script = join(import.meta.dirname, "../src/io/hash-file.ts");
    const pass = `const { hashFile } = await import(${JSON.stringify(script)}); const from = performance.now(); const { digest } = await hashFile(${JSON.stringify(file)}); console.log(digest, performance.now() - from);`;
    const command = [slipway, "verify", "artifact", file, "--sums", join(folder, "SHA256SUMS"), "--key", vendor.publicKey];
    const peers = [
      ["openssl", "dgst", "-sha256", file],
      ["sha256sum", file],
    ];
    const figures = { pass: [] as number[], command: [] as number[], memory: [] as number[], peers: peers.map((): number[] => []) };
    for (let round = 0; round < (values.quick ? 1 : 5); round += 1) {
      const own = await measured([process.execPath, "--input-type=module", "-e", pass]);
      assert.equal(own.result.exitCode, 0, own.result.stderr);
      figures.pass.push(Number(own.result.stdout.trim().split(" ").at(-1)));
      const whole = await measured(command);
      assert.equal(whole.result.exitCode, 0, whole.result.stdout);
      figures.command.push(whole.wallMs);
      figures.memory.push(own.rssBytes, whole.rssBytes);
      for (const [index, argv] of peers.entries()) {
        const peer = await measured(argv);
        assert.ok(own.result.stdout.startsWith(`sha256:${/[0-9a-f]{64}/.exec(peer.result.stdout)?.[0] ?? ""} `), "the same digest");
        figures.peers[index]?.push(peer.wallMs);
      }
    }
    const [passMs, commandMs, rssBytes] = [median(figures.pass), median(figures.command), Math.max(...figures.memory)];
    for (const [index, [peer = ""]] of peers.entries()) {
      const peerMs = median(figures.peers[index] ?? []);
      const text = `${(peerMs / passMs).toFixed(2)} of its speed (whole \`verify artifact\`: ${(peerMs / commandMs).toFixed(2)}), ${megabytes(rssBytes)} of memory`;
      report(`verify ${megabytes(sizes.large)} vs ${peer}`, text, "0.9, 150 MB", { passMs, commandMs, peerMs, rssBytes });
    }
  });
  await rm(folder, { recursive: true });
}

/** The size of the part that is being downloaded; 0 where there is none. */
async function partBytes(site: Site): Promise<number> {
  const staging = join(site.updates, "staging");
  const [transaction = "none"] = await readdir(staging).catch(() => []);
  return stat(join(staging, transaction, "artifact.part")).then(
    (file) => file.size,
    () => 0,
  );
}

/** The process is killed at nine tenths: how much of the artifact crosses the wire again? */
async function resume(): Promise<void> {
  await withSite(
    async (vendor, site) => {
      const text = await readFile(site.file, "utf8");
      const check = `health: { deadline_seconds: 10, consecutive: 1, bake_seconds: 0, checks: [{ command: { argv: [tail, -c, "6", ${site.root}/bin/tool], version: "([0-9].*)" } }] }`;
      await writeFile(site.file, text.replace(/service:.*\n/, `${check}\n`));
      await vendor.release("1.0.0", { kind: "binary", archive: largeProgram("1.0.0", 1000) });
      await (await site.updater()).install({ signal: noSignal });
      const files = await vendor.release("1.1.0", { kind: "binary", archive: largeProgram("1.1.0", sizes.large) });
      const [name = ""] = files.keys();
      const child = spawn(slipway, ["upgrade", "install", "--installation", site.file], { stdio: "ignore" });
      const ended = once(child, "exit");
      while ((await partBytes(site)) < sizes.large * 0.9) {
        assert.equal(child.exitCode, null, "it ended before nine tenths had come");
        await sleep(2);
      }
      child.kill("SIGKILL");
      await ended;
      vendor.requests.length = 0;
      const again = await measured([slipway, "upgrade", "resume", "--installation", site.file]);
      assert.equal(again.result.exitCode, 0, again.result.stderr);
      assert.equal((await (await site.updater()).status()).installed, "1.1.0");
      const sent = vendor.requests.filter((request) => request.includes(name)).map((request) => sizes.large - Number(/ bytes=(\d+)-$/.exec(request)?.[1] ?? 0));
      const share = sent.reduce((sum, bytes) => sum + bytes, 0) / sizes.large;
      const memory = `${megabytes(again.rssBytes)} of memory for the rest, verification and installation`;
      report(`killed at 90 % of ${megabytes(sizes.large)}`, `${(share * 100).toFixed(1)} % transferred again, ${memory}`, "11 %", {
        share,
        rssBytes: again.rssBytes,
        wallMs: again.wallMs,
      });
    },
    { strategy: "inplace", extra: "artifact: { install_as: bin/tool }", health: "" },
  );
}

/** From stop to healthy, against what an operator would type. The toy starts at once: what is measured is all ours. */
async function downtime(folder: string): Promise<void> {
  await withSite(async (vendor, site) => {
    await release(vendor, "1.0.0", sizes.program, 1);
    await (await site.updater()).install({ signal: noSignal });
    const runs: { readonly ms: number; readonly downtimeMs: number }[] = [];
    for (const [index, version] of ["1.1.0", "1.2.0", "1.3.0"].entries()) {
      await release(vendor, version, sizes.program, index + 2);
      const { ms, result } = await timed(async () => (await site.updater()).install({ signal: noSignal }));
      assert.ok(result.kind === "installed" && result.downtimeMs !== null);
      runs.push({ ms, downtimeMs: result.downtimeMs });
    }
    const [ms, downtimeMs] = [median(runs.map((run) => run.ms)), median(runs.map((run) => run.downtimeMs))];
    const base = `${vendor.url}/releases/toy/1.3.0`;
    const name = "toy-v1.3.0-linux-amd64.tar.gz";
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
until [ "$(cat ${site.folder}/run/version)" = 1.3.0 ]; do sleep 0.01; done
echo $((($(date +%s%N) - from) / 1000000))`;
    const peer = await timed(() => requireCommand(["sh", "-c", runbook], { timeoutMs: 300_000 }));
    const peerDowntimeMs = Number(peer.result.trim().split("\n").at(-1));
    const by = isMinisigned ? "curl, minisign, sha256sum, tar" : "curl, sha256sum, tar; no minisign here";
    report(`downtime, ${megabytes(sizes.program)} program`, `${seconds(downtimeMs)}; by hand ${seconds(peerDowntimeMs)}`, "under 1 s beyond its own start", {
      downtimeMs,
      peerDowntimeMs,
    });
    report("whole upgrade", `${seconds(ms)}; by hand (${by}) ${seconds(peer.ms)}`, "-", { ms, peerMs: peer.ms });
  });
}

async function rollback(): Promise<void> {
  await withSite(async (vendor, site) => {
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
  });
}

async function startTime(): Promise<void> {
  const [floor, ...figures] = await inTurn([[process.execPath, "-e", "0"], ...programs.map(({ path }) => [path, "--version"])], rounds);
  for (const [index, { name }] of programs.entries()) {
    const { wallMs = Number.NaN, cpuMs = Number.NaN } = figures[index] ?? {};
    const text = `${wallMs.toFixed(0)} ms, ${cpuMs.toFixed(0)} ms of CPU; \`node -e 0\` ${floor?.wallMs.toFixed(0)} and ${floor?.cpuMs.toFixed(0)}`;
    report(`--version, ${name}`, text, name === "executable" ? "30 ms" : "-", { wallMs, cpuMs });
  }
}

const folder = join(process.env["TMPDIR"] ?? "/tmp", `slipway-bench-${process.pid}`);
const parts: Readonly<Record<string, () => Promise<void>>> = {
  nothing: nothingToDo,
  verify: () => verifyLarge(folder),
  resume,
  downtime: () => downtime(folder),
  rollback,
  delta: () => benchDeltas(folder, { isQuick: values.quick, old: values.old, new: values.new }),
  start: startTime,
};
const wanted = values.only?.split(",") ?? Object.keys(parts);
for (const name of wanted) assert.ok(name in parts, `--only ${name}: there are ${Object.keys(parts).join(", ")}`);
const loadBefore = loadavg()[0] ?? 0;
await mkdir(folder, { mode: 0o700 });
try {
  for (const name of wanted) await parts[name]?.();
  printTable();
  const [{ model } = { model: "?" }, ...others] = cpus();
  process.stdout.write(
    `${others.length + 1} x ${model}; node ${process.version}; load ${loadBefore.toFixed(1)} before, ${(loadavg()[0] ?? 0).toFixed(1)} after\n`,
  );
} finally {
  await rm(folder, { recursive: true, force: true });
}
