/** Load for the serving benchmark: wrk where it is installed, else keep-alive connections of our own that ask again as soon as they are answered. */
import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { requireCommand } from "../src/io/command.ts";

export type LoadRequest = {
  /** Path of wrk, or undefined for our own generator. */
  readonly wrk: string | undefined;
  /** For wrk's script. */
  readonly folder: string;
  readonly url: string;
  readonly authorization: string;
  /** Any media type where it is left out. */
  readonly accept?: string;
  readonly connections: number;
  readonly seconds: number;
};

export type Load = { readonly requests: number; readonly seconds: number; readonly p99Ms: number; readonly failures: number };

export function readLoad(request: LoadRequest): Promise<Load> {
  return request.wrk === undefined ? ownLoad(request) : wrkLoad(request, request.wrk);
}

/** The header comes from the environment, which keeps the secret out of the argument list. */
const script = `
wrk.headers["Authorization"] = os.getenv("BENCH_AUTHORIZATION")
wrk.headers["Accept"] = os.getenv("BENCH_ACCEPT")
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %f %d\\n", summary.requests, summary.duration, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
`;

async function wrkLoad(request: LoadRequest, wrk: string): Promise<Load> {
  const file = join(request.folder, "load.lua");
  await writeFile(file, script);
  const argv = [wrk, "-t1", `-c${request.connections}`, `-d${request.seconds}s`, "-s", file, request.url];
  const env = { PATH: process.env["PATH"] ?? "", BENCH_AUTHORIZATION: request.authorization, BENCH_ACCEPT: request.accept ?? "*/*" };
  const text = await requireCommand(argv, { env, timeoutMs: (request.seconds + 30) * 1000 });
  const [, requests, durationUs, p99Ms, failures] = /RESULT (\d+) (\d+) ([\d.]+) (\d+)/.exec(text) ?? [];
  if (requests === undefined) throw new Error(`wrk said: ${text}`);
  return { requests: Number(requests), seconds: Number(durationUs) / 1e6, p99Ms: Number(p99Ms), failures: Number(failures) };
}

async function ownLoad(request: LoadRequest): Promise<Load> {
  const latencies: number[] = [];
  const state = { failures: 0, isOver: false };
  const begun = performance.now();
  const timer = setTimeout(() => {
    state.isOver = true;
  }, request.seconds * 1000);
  await Promise.all(Array.from({ length: request.connections }, () => oneConnection(request, state, latencies)));
  clearTimeout(timer);
  const sorted = latencies.toSorted((left, right) => left - right);
  return {
    requests: latencies.length,
    seconds: (performance.now() - begun) / 1000,
    p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    failures: state.failures,
  };
}

/** Counts an answer when Content-Length bytes of body are there. */
function oneConnection(request: LoadRequest, state: { failures: number; readonly isOver: boolean }, latencies: number[]): Promise<void> {
  const { hostname, port, host, pathname } = new URL(request.url);
  const text = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${request.authorization}\r\nAccept: ${request.accept ?? "*/*"}\r\n\r\n`;
  return new Promise((resolve) => {
    let received = Buffer.alloc(0);
    let sentAt = performance.now();
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on("data", (piece: Buffer) => {
      received = Buffer.concat([received, piece]);
      const end = received.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = received.toString("latin1", 0, end);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (received.length < end + 4 + length) return;
      if (!head.startsWith("HTTP/1.1 200")) state.failures += 1;
      latencies.push(performance.now() - sentAt);
      received = received.subarray(end + 4 + length);
      if (state.isOver) {
        socket.end();
        return;
      }
      sentAt = performance.now();
      socket.write(text);
    });
    socket.on("error", () => {
      state.failures += 1;
    });
    socket.on("close", () => resolve());
  });
}
