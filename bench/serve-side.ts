/** What both sides of the serving benchmark are: addresses with credentials, and the process whose work is counted. */
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Path of an installed program; servers are in /usr/sbin, which a user's PATH may lack. */
export function program(name: string): string | undefined {
  return [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin"].map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export type Side = {
  readonly name: string;
  readonly version: string;
  readonly pid: number;
  readonly authorization: string;
};

/** A side that serves the small index and the large artifact. */
export type FileSide = Side & { readonly indexUrl: string; readonly artifactUrl: string };

export const hexOf = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** Asks until it answers 2xx; throws after thirty seconds, which a busy machine may need. */
export async function untilReady(url: string, headers: Readonly<Record<string, string>>): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    const response = await fetch(url, { headers }).catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.ok === true) return;
    await sleep(50);
  }
  throw new Error(`${new URL(url).origin} did not come up`);
}

/** User and system seconds so far: fields 14 and 15 of proc(5), in ticks of 10 ms; the name before them may hold blanks. */
export async function cpuSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** MiB: `now` is the resident set, `peak` the largest so far. */
export async function residentMemory(pid: number): Promise<{ readonly now: number; readonly peak: number }> {
  const text = await readFile(`/proc/${pid}/status`, "utf8");
  const mebibytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1] ?? Number.NaN) / 1024;
  return { now: mebibytes("VmRSS"), peak: mebibytes("VmHWM") };
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

export function round(value: number): number {
  return value >= 100 ? Math.round(value) : Math.round(value * 100) / 100;
}
