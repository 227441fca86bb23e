/** Bounds of an upgrade with a large file: memory, and what a kill in the middle of the download costs. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { runCommand } from "../../src/io/command.ts";
import { plainRun } from "./crash.ts";
import { makeSite, noSignal, type Site, startVendor } from "./support.ts";

const sizeBytes = 1024 ** 3;
const killedAt = 0.9;
const mostAgain = 0.11;
const mostMemoryBytes = 150 * 1000 ** 2;
/** The process says its own status as its last words. Not getrusage: its maximum counts the process that forked it, too. */
const tellMemory = `data:text/javascript,import{readFileSync}from"node:fs";process.on("exit",()=>process.stderr.write(readFileSync("/proc/self/status")))`;
/** The most memory that a process ever had, in bytes, from its status (proc_pid_status(5)). */
const peakBytes = (status: string): number => Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
/** Pieces from the network are new memory each, freed when the collector comes by: more, but bounded. */
const mostDownloadMemoryBytes = 300 * 1000 ** 2;

const inMb = (bytes: number): string => `${(bytes / 1000 ** 2).toFixed(0)} MB`;

/** Starts a program, kills it as soon as `is` holds, and says how much memory it had at most until then. */
async function killWhen([node = "", ...words]: readonly string[], is: () => Promise<boolean>): Promise<{ readonly peakBytes: number }> {
  const child = spawn(node, words, { stdio: "ignore" });
  const ended = once(child, "exit");
  for (const deadline = Date.now() + 300_000; !(await is()); await sleep(10)) {
    assert.ok(Date.now() < deadline && child.exitCode === null, `it came too far, or not far enough; exit ${child.exitCode}`);
  }
  const status = await readFile(`/proc/${child.pid}/status`, "utf8");
  child.kill("SIGKILL");
  await ended;
  return { peakBytes: peakBytes(status) };
}

/** The size of a file of the transaction that is under way; 0 where it is not there. */
async function stagedBytes(site: Site, name: string): Promise<number> {
  const staging = join(site.updates, "staging");
  const [transaction = "none"] = await readdir(staging).catch(() => []);
  return stat(join(staging, transaction, name)).then(
    (file) => file.size,
    () => 0,
  );
}

/** The program of a release: bytes that no compression helps, and the version at the end. */
function program(version: string, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let at = 0; at < size; at += 2 ** 30) randomFillSync(bytes, at, Math.min(2 ** 30, size - at));
  bytes.write(`\n${version}\n`, size - version.length - 2);
  return bytes;
}

test("K10 a download of 1 GB that is killed at 90 % is continued: at most 11 % is sent again, and it is verified and installed below 150 MB of memory", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, { strategy: "inplace", extra: "artifact: { install_as: bin/tool }", health: "" }, t);
  const text = await readFile(site.file, "utf8");
  const check = `health: { deadline_seconds: 10, consecutive: 1, bake_seconds: 0, checks: [{ command: { argv: [tail, -c, "6", ${site.root}/bin/tool], version: "([0-9].*)" } }] }`;
  await writeFile(site.file, text.replace(/service:.*\n/, `${check}\n`));
  await vendor.release("1.0.0", { kind: "binary", archive: program("1.0.0", 1000) });
  await (await site.updater()).install({ signal: noSignal });
  const large = program("1.1.0", sizeBytes);
  await vendor.release("1.1.0", { kind: "binary", archive: large });

  const [name = ""] = [...(vendor.releases.get("1.1.0")?.keys() ?? [])];
  const firstPart = Math.ceil(sizeBytes * killedAt);
  vendor.faults.answer = (_request, response, file) => {
    if (file !== name) return false;
    response.writeHead(200, { etag: '"one"', "content-length": sizeBytes });
    response.write(large.subarray(0, firstPart)); // and then nothing more
    return true;
  };
  const partBytes = (): Promise<number> => stagedBytes(site, "artifact.part");
  const first = await killWhen(plainRun(site, "install"), async () => (await partBytes()) >= firstPart);

  let sentAgain = 0;
  vendor.faults.answer = (request, response, file) => {
    if (file !== name) return false;
    const from = request.headers["if-range"] === '"one"' ? Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0) : 0;
    sentAgain += sizeBytes - from;
    const range = from === 0 ? {} : { "content-range": `bytes ${from}-${sizeBytes - 1}/${sizeBytes}` };
    response.writeHead(from === 0 ? 200 : 206, { etag: '"one"', "content-length": sizeBytes - from, ...range }).end(large.subarray(from));
    return true;
  };
  await killWhen(plainRun(site, "resume"), async () => (await stagedBytes(site, "artifact")) === sizeBytes);
  const [node = "", ...words] = plainRun(site, "resume");
  const resumed = await runCommand([node, "--import", tellMemory, ...words], { timeoutMs: 900_000 });
  assert.equal(resumed.exitCode, 0, resumed.stderr);
  assert.equal((await (await site.updater()).status()).installed, "1.1.0");
  const memoryBytes = peakBytes(resumed.stderr);
  t.diagnostic(
    `${((sentAgain / sizeBytes) * 100).toFixed(2)} % sent again; at most ${inMb(first.peakBytes)} to download, ${inMb(memoryBytes)} to verify and install`,
  );
  assert.ok(sentAgain > 0 && sentAgain / sizeBytes <= mostAgain, `${sentAgain} bytes were sent again`);
  assert.ok(memoryBytes < mostMemoryBytes, `${inMb(memoryBytes)} of memory to verify and install`);
  assert.ok(first.peakBytes < mostDownloadMemoryBytes, `${inMb(first.peakBytes)} of memory to download`);
});
