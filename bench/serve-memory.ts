/** The server's memory while 100 clients download a file of 1 GB, each no faster than its own line: all of them overlap. */
import { connect } from "node:net";
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Ours } from "./serve-ours.ts";
import { residentMemory, round } from "./serve-side.ts";

const clients = 100;
/** Until all have begun and the buffers have their size; what is measured as flat comes after. */
const settleSeconds = 5;
/** How far the memory may move after that: what V8 leaves uncollected for a while. */
const flatMiB = 64;

export type MemoryOptions = {
  readonly url: string;
  readonly size: number;
  /** Of each client. */
  readonly bytesPerSecond: number;
  /** Clients that are not done by then hang up. */
  readonly seconds: number;
};

/** Prints the line; throws where a client was refused or cut off, or where the memory went on rising. */
export async function measureMemory(ours: Ours, options: MemoryOptions): Promise<void> {
  const state: Reading = { isOver: false, bytes: 0, complete: 0, running: 0 };
  const start = (await residentMemory(ours.pid)).now;
  const readers = Promise.all(Array.from({ length: clients }, () => readSlowly(ours, options, state)));
  const samples: number[] = [];
  let leastRunning = clients;
  const watching = (async () => {
    for (let second = 1; second <= options.seconds; second += 1) {
      await sleep(1000);
      samples.push((await residentMemory(ours.pid)).now);
      if (second > settleSeconds && state.complete === 0) leastRunning = Math.min(leastRunning, state.running);
    }
    state.isOver = true;
  })();
  await Promise.all([readers, watching]);
  await sleep(3000);
  const end = (await residentMemory(ours.pid)).now;
  const settled = samples.slice(settleSeconds);
  const line = {
    bench: "serve-memory",
    clients,
    at_once: leastRunning,
    seconds: options.seconds,
    read_gb: round(state.bytes / 1e9),
    read_whole: state.complete,
    start_mib: round(start),
    settled_mib: round(settled[0] ?? Number.NaN),
    max_mib: round(Math.max(...samples)),
    last_mib: round(samples.at(-1) ?? Number.NaN),
    end_mib: round(end),
    load: loadavg()[0],
  };
  console.log(JSON.stringify(line));
  if (leastRunning < clients) throw new Error(`only ${leastRunning} clients read at once`);
  const rise = (samples.at(-1) ?? Number.NaN) - (settled[0] ?? Number.NaN);
  if (!(rise <= flatMiB)) throw new Error(`the memory rose by ${round(rise)} MiB after ${settleSeconds} s`);
  console.log(
    `memory: ${line.start_mib} MiB before, ${line.settled_mib} after ${settleSeconds + 1} s, ${line.last_mib} after ${options.seconds} s with ${clients} clients (largest ${line.max_mib}), ${line.end_mib} when they were gone`,
  );
}

type Reading = { isOver: boolean; bytes: number; complete: number; running: number };

/** Stops reading whenever it is ahead of its rate: the kernel's window fills, and the server has to wait. */
function readSlowly(ours: Ours, options: MemoryOptions, state: Reading): Promise<void> {
  const { hostname, port, host, pathname } = new URL(options.url);
  const text = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${ours.authorization}\r\nConnection: close\r\n\r\n`;
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    let head = "";
    let isAnswered = false;
    let received = 0;
    const socket = connect(Number(port), hostname, () => socket.write(text));
    const take = (count: number): void => {
      received += count;
      state.bytes += count;
      if (state.isOver) {
        socket.destroy();
        return;
      }
      const aheadMs = (received / options.bytesPerSecond) * 1000 - (performance.now() - begun);
      if (aheadMs < 5 || received === options.size) return;
      socket.pause();
      setTimeout(() => socket.resume(), aheadMs);
    };
    socket.on("data", (piece: Buffer) => {
      if (isAnswered) {
        take(piece.length);
        return;
      }
      head += piece.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const isRight = head.startsWith("HTTP/1.1 200") && Number(/content-length: (\d+)/i.exec(head)?.[1]) === options.size;
      if (!isRight) {
        socket.destroy(new Error(`refused: ${head.slice(0, head.indexOf("\r\n"))}`));
        return;
      }
      isAnswered = true;
      state.running += 1;
      take(head.length - end - 4);
    });
    socket.on("error", reject);
    socket.on("close", () => {
      if (isAnswered) state.running -= 1;
      if (received === options.size) state.complete += 1;
      else if (!state.isOver) reject(new Error(`a download ended after ${received} of ${options.size} bytes`));
      resolve();
    });
  });
}
