/** 1,000 kept connections of one pair, all of them asking at once for the small index, without one error. */
import { readdir, readlink } from "node:fs/promises";
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { readLoad } from "./serve-load.ts";
import type { Ours } from "./serve-ours.ts";
import { program, residentMemory, round } from "./serve-side.ts";

const connections = 1_000;
const seconds = 10;

/** Prints the line; throws where a request failed or the server did not hold all connections. Returns how many requests were answered. */
export async function measureConnections(ours: Ours, folder: string): Promise<number> {
  const before = await residentMemory(ours.pid);
  const loading = readLoad({ wrk: program("wrk"), folder, url: ours.indexUrl, authorization: ours.authorization, connections, seconds });
  const looks = mostSockets(ours.pid);
  const load = await loading;
  const held = await looks;
  const after = await residentMemory(ours.pid);
  const line = {
    bench: "serve-connections",
    connections,
    held,
    requests: load.requests,
    rate: round(load.requests / load.seconds),
    p99_ms: round(load.p99Ms),
    failures: load.failures,
    rss_before_mib: round(before.now),
    rss_after_mib: round(after.now),
    load: loadavg()[0],
  };
  console.log(JSON.stringify(line));
  if (load.failures > 0) throw new Error(`${load.failures} of ${load.requests} requests failed`);
  if (held < connections) throw new Error(`the server held ${held} connections of ${connections}`);
  console.log(`connections: ${held} sockets held for ${seconds} s, ${line.rate} requests/s, p99 ${line.p99_ms} ms, no error`);
  return load.requests;
}

/** The most sockets that the process had open, looked at each second while the load runs. */
async function mostSockets(pid: number): Promise<number> {
  let most = 0;
  for (let second = 1; second < seconds; second += 1) {
    await sleep(1000);
    const folder = `/proc/${pid}/fd`;
    const targets = await Promise.all((await readdir(folder)).map((name) => readlink(`${folder}/${name}`).catch(() => "")));
    most = Math.max(most, targets.filter((target) => target.startsWith("socket:")).length);
  }
  return most;
}
