/** A real `slipway serve` process on a data folder of its own, for tests that kill it or look at it from outside. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { compiled } from "../support/compiled.ts";
import { freePort } from "../support/vendor.ts";
import { type RunningServer, vendorCalls } from "./running-server.ts";

export const entry = resolve(import.meta.dirname, "..", "..", "src", "main.ts");

/** A machine with many test files at once starts a process in seconds, not in milliseconds. */
const readyLimitMs = 120_000;

export type ServedProcess = { readonly running: RunningServer; readonly process: ChildProcess; readonly stdout: () => string; readonly stderr: () => string };

/** Starts the command on this data folder and waits until it is ready; the process is gone after the test. */
export async function serve(t: TestContext, dataDir: string, flags: readonly string[] = []): Promise<ServedProcess> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const argv = ["--disable-warning=ExperimentalWarning", entry, "serve", "--json", "--data-dir", dataDir, "--listen", `127.0.0.1:${port}`, ...flags];
  const child = spawn(process.execPath, argv, { env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: dataDir }, stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (piece: Buffer) => (stdout += piece.toString()));
  child.stderr.on("data", (piece: Buffer) => (stderr += piece.toString()));
  for (const deadline = Date.now() + readyLimitMs; ; ) {
    if (child.exitCode !== null) throw new Error(`serve ended with ${child.exitCode}: ${stdout}${stderr}`);
    if ((await fetch(`${url}/readyz`).catch(() => undefined))?.ok === true) break;
    if (Date.now() > deadline) throw new Error(`serve is not ready after ${readyLimitMs} ms: ${stdout}${stderr}`);
    await sleep(50);
  }
  const adminToken = (await readFile(join(dataDir, "admin-token"), "utf8")).trim();
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  };
  const running = { url, adminToken, ...vendorCalls({ url, adminToken }), stop, dataDir, server: undefined as never };
  return { running, process: child, stdout: () => stdout, stderr: () => stderr };
}

export async function dataFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-serve-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "data");
}
