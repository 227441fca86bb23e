/** What both sides of the serving benchmark are: an address with credentials, and the process whose work is counted. */
import { once } from "node:events";
import { existsSync } from "node:fs";
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
  readonly indexUrl: string;
  readonly artifactUrl: string;
};

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** Asks until it answers 2xx; throws after ten seconds. */
export async function untilReady(url: string, headers: Readonly<Record<string, string>>): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const response = await fetch(url, { headers }).catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.ok === true) return;
    await sleep(50);
  }
  throw new Error(`${new URL(url).origin} did not come up`);
}
