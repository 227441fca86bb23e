/**
 * Serving benchmark: our server with access pairs and the audit trail on, against nginx with basic auth, on loopback.
 *
 * Two questions: how many requests a second for a small index (1 KB), and how many MB/s for an artifact of 100 MB, by one reader and by eight.
 * nginx runs one worker with sendfile and an access log; passwords as {PLAIN} and as apr1 (what `htpasswd` writes). Both sides run in turn in
 * the same run (one warm-up, then pairs); medians are printed as a table and one JSON line per figure. A figure appears only after both
 * sides gave the right bytes, refused a wrong password, and every answered download of ours stands in the audit trail.
 *
 *   node bench/serve.ts [--pairs 5] [--seconds 3] [--only index|artifact]
 *
 * Peers: `apt-get install nginx-light wrk curl`. Without wrk the requests come from bench/serve-load.ts, a slower generator of our own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { parseArgs } from "node:util";
import { requireCommand } from "../src/io/command.ts";
import { readLoad } from "./serve-load.ts";
import { startNginx } from "./serve-nginx.ts";
import { freePort, program, type Side, untilReady } from "./serve-side.ts";

const { values } = parseArgs({
  options: { pairs: { type: "string", default: "5" }, seconds: { type: "string", default: "3" }, only: { type: "string" } },
});
const pairs = Math.max(1, Number(values.pairs));
const seconds = Math.max(1, Number(values.seconds));
const connections = 64;
const indexSize = 1024;
const artifactSize = 100 * 1000 * 1000;
const root = resolve(import.meta.dirname, "..");

/** `cpu`: seconds of the server's own processor time while it was measured. */
type Sample = { readonly requests: number; readonly wall: number; readonly cpu: number; readonly bytes: number; readonly p99Ms?: number };

// Our side.

type Ours = Side & { readonly process: ChildProcess; readonly dataDir: string };

async function startOurs(folder: string, files: Readonly<Record<string, Buffer>>): Promise<Ours> {
  const dataDir = join(folder, "data");
  const url = `http://127.0.0.1:${await freePort()}`;
  const argv = [
    "--disable-warning=ExperimentalWarning",
    join(root, "src/main.ts"),
    "serve",
    "--data-dir",
    dataDir,
    "--listen",
    new URL(url).host,
    "--log-level",
    "warn",
  ];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "ignore", "inherit"] });
  await untilReady(`${url}/readyz`, {});
  const token = (await readFile(join(dataDir, "admin-token"), "utf8")).trim();
  const pair = await publishFiles(url, token, files);
  const version = (JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string }).version;
  return {
    name: "slipway",
    version,
    pid: child.pid ?? 0,
    process: child,
    dataDir,
    authorization: `Basic ${Buffer.from(`${pair.id}:${pair.secret}`).toString("base64")}`,
    indexUrl: `${url}/releases/bench/1.0.0/index.bin`,
    artifactUrl: `${url}/releases/bench/1.0.0/artifact.bin`,
  };
}

async function api(
  url: string,
  token: string,
  call: { readonly method: string; readonly path: string; readonly body: unknown },
): Promise<Record<string, unknown>> {
  const response = await fetch(`${url}/api/v1${call.path}`, {
    method: call.method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(call.body),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(`${call.method} ${call.path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

const hexOf = (content: Buffer): string => createHash("sha256").update(content).digest("hex");

/** A release of these files as any vendor would publish it, and a customer's pair for it. */
async function publishFiles(url: string, token: string, files: Readonly<Record<string, Buffer>>): Promise<{ readonly id: string; readonly secret: string }> {
  const artifacts = Object.entries(files).map(([name, content]) => ({ name, kind: "binary", size: content.length, sha256: hexOf(content) }));
  const manifest = {
    schema: 1,
    product: "bench",
    version: "1.0.0",
    tag: "v1.0.0",
    channel: "stable",
    sequence: 1,
    createdAt: "2026-01-01T00:00:00Z",
    artifacts,
  };
  const listed: Record<string, Buffer> = { ...files, "release.json": Buffer.from(JSON.stringify(manifest)) };
  const names = Object.keys(listed).sort();
  const sums = Buffer.from(names.map((name) => `${hexOf(listed[name] ?? Buffer.alloc(0))}  ${name}\n`).join(""));
  await api(url, token, { method: "POST", path: "/products", body: { name: "bench" } });
  await api(url, token, { method: "POST", path: "/products/bench/releases", body: { version: "1.0.0", channel: "stable" } });
  for (const [name, content] of Object.entries({ ...listed, SHA256SUMS: sums })) {
    const digest = `sha256:${hexOf(content)}`;
    const headers = {
      authorization: `Bearer ${token}`,
      "content-type": "application/octet-stream",
      "upload-offset": "0",
      "upload-length": String(content.length),
    };
    const sent = await fetch(`${url}/api/v1/uploads/${digest}`, { method: "PATCH", headers, body: Uint8Array.from(content) });
    if (!sent.ok) throw new Error(await sent.text());
    await api(url, token, { method: "PUT", path: `/products/bench/releases/1.0.0/artifacts/${name}`, body: { digest, size: content.length } });
  }
  await api(url, token, { method: "POST", path: "/products/bench/releases/1.0.0/publish", body: { sums: `sha256:${hexOf(sums)}` } });
  await api(url, token, { method: "POST", path: "/customers", body: { name: "reader" } });
  const issued = await api(url, token, { method: "POST", path: "/customers/reader/keys", body: { product: "bench" } });
  return { id: String(issued["id"]), secret: String(issued["secret"]) };
}

// Measuring.

/** User and system seconds so far: fields 14 and 15 of proc(5), in ticks of 10 ms; the name before them may hold blanks. */
async function cpuSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Largest resident set so far, MiB. */
async function peakMemory(pid: number): Promise<number> {
  return Number(/VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
}

async function check(side: Side, files: Readonly<Record<string, Buffer>>): Promise<void> {
  for (const [url, name] of [
    [side.indexUrl, "index.bin"],
    [side.artifactUrl, "artifact.bin"],
  ] as const) {
    const response = await fetch(url, { headers: { authorization: side.authorization } });
    const body = Buffer.from(await response.arrayBuffer());
    if (response.status !== 200 || hexOf(body) !== hexOf(files[name] ?? Buffer.alloc(0))) throw new Error(`${side.name}: wrong answer for ${name}`);
    for (const headers of [{}, { authorization: `Basic ${Buffer.from("reader:wrong").toString("base64")}` }]) {
      const refused = await fetch(url, { headers });
      await refused.arrayBuffer();
      if (refused.status !== 401) throw new Error(`${side.name}: ${refused.status} for a stranger`);
    }
  }
}

async function measureIndex(side: Side, folder: string): Promise<Sample> {
  const cpu = await cpuSeconds(side.pid);
  const load = await readLoad({ wrk: program("wrk"), folder, url: side.indexUrl, authorization: side.authorization, connections, seconds });
  if (load.failures > 0) throw new Error(`${side.name}: ${load.failures} failed requests`);
  return { requests: load.requests, wall: load.seconds, cpu: (await cpuSeconds(side.pid)) - cpu, p99Ms: load.p99Ms, bytes: load.requests * indexSize };
}

/** `streams` readers at once, each the whole artifact once; curl reads the pair from a file, as no secret belongs in an argument list. */
async function measureArtifact(side: Side, streams: number, folder: string): Promise<Sample> {
  const header = join(folder, "header");
  await writeFile(header, `Authorization: ${side.authorization}\n`, { mode: 0o600 });
  const cpu = await cpuSeconds(side.pid);
  const begun = performance.now();
  const readers = Array.from({ length: streams }, () =>
    requireCommand(["curl", "-sS", "-f", "-o", "/dev/null", "-w", "%{size_download}", "-H", `@${header}`, side.artifactUrl], { timeoutMs: 120_000 }),
  );
  const sizes = (await Promise.all(readers)).map(Number);
  const wall = (performance.now() - begun) / 1000;
  if (sizes.some((size) => size !== artifactSize)) throw new Error(`${side.name}: sizes ${sizes.join(", ")}`);
  return { requests: streams, wall, cpu: (await cpuSeconds(side.pid)) - cpu, bytes: streams * artifactSize };
}

const median = (numbers: readonly number[]): number => numbers.toSorted((left, right) => left - right)[Math.floor(numbers.length / 2)] ?? Number.NaN;

type Figure = {
  readonly bench: string;
  readonly unit: "requests/s" | "MB/s";
  readonly rate: (sample: Sample) => number;
  readonly measure: (side: Side) => Promise<Sample>;
};

const requestRate = (sample: Sample): number => sample.requests / sample.wall;
const byteRate = (sample: Sample): number => sample.bytes / sample.wall / 1e6;

/** Medians of one side. */
type Summary = { readonly rate: number; readonly p99Ms: number | undefined; readonly cpuUsPerRequest: number; readonly cpuMsPerGb: number };

function summarize(figure: Figure, samples: readonly Sample[]): Summary {
  const p99s = samples.flatMap((sample) => (sample.p99Ms === undefined ? [] : [sample.p99Ms]));
  return {
    rate: round(median(samples.map(figure.rate))),
    p99Ms: p99s.length === 0 ? undefined : round(median(p99s)),
    cpuUsPerRequest: round(median(samples.map((sample) => (sample.cpu * 1e6) / sample.requests))),
    cpuMsPerGb: round(median(samples.map((sample) => (sample.cpu * 1e12) / sample.bytes))),
  };
}

type Result = { readonly figure: Figure; readonly peer: string; readonly us: Summary; readonly them: Summary; readonly ratios: readonly number[] };

/** A B A B …, one JSON line at the end; `answered`: how many requests ours answered, the warm-up included. */
async function contest(figure: Figure, ours: Side, peer: Side): Promise<{ readonly answered: number; readonly result: Result }> {
  const samples: { readonly us: Sample[]; readonly them: Sample[] } = { us: [], them: [] };
  let answered = (await figure.measure(ours)).requests;
  await figure.measure(peer);
  for (let pair = 0; pair < pairs; pair += 1) {
    const own = await figure.measure(ours);
    answered += own.requests;
    samples.us.push(own);
    samples.them.push(await figure.measure(peer));
  }
  const ratios = samples.us.map((sample, place) => figure.rate(sample) / figure.rate(samples.them[place] ?? sample));
  const result = { figure, peer: peer.name, us: summarize(figure, samples.us), them: summarize(figure, samples.them), ratios };
  printLine(result, { ours, peer });
  return { answered, result };
}

function printLine({ figure, us, them, ratios }: Result, at: { readonly ours: Side; readonly peer: Side }): void {
  const line = {
    bench: `serve-${figure.bench}`,
    n: pairs,
    unit: figure.unit,
    us: { name: at.ours.name, version: at.ours.version, ...us },
    peer: { name: at.peer.name, version: at.peer.version, ...them },
    ratio_rate: round(median(ratios)),
    ratio_cpu: round(us.cpuUsPerRequest / them.cpuUsPerRequest),
    min: round(Math.min(...ratios)),
    max: round(Math.max(...ratios)),
    load: loadavg()[0],
  };
  console.log(JSON.stringify(line));
}

/** As docs/benchmarks.md has it. */
function printTable(results: readonly Result[]): void {
  const rows = results.map(({ figure, peer, us, them, ratios }) => [
    figure.bench,
    peer,
    `${us.rate} ${figure.unit}`,
    `${them.rate} ${figure.unit}`,
    `${round(median(ratios))} (${round(Math.min(...ratios))} to ${round(Math.max(...ratios))})`,
    us.p99Ms === undefined ? "" : `${us.p99Ms} / ${them.p99Ms} ms`,
    figure.unit === "MB/s" ? `${us.cpuMsPerGb} / ${them.cpuMsPerGb} ms/GB` : `${us.cpuUsPerRequest} / ${them.cpuUsPerRequest} us/request`,
  ]);
  const table = [["figure", "peer", "ours", "peer's", "ratio (min to max)", "p99 ours / peer", "CPU ours / peer"], ...rows];
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  const lines = table.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`);
  lines.splice(1, 0, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`);
  console.log(`\n${lines.join("\n")}\n`);
}

function round(value: number): number {
  return value >= 100 ? Math.round(value) : Math.round(value * 100) / 100;
}

/** Downloads in the audit trail, read from the closed database. */
function recordedDownloads(dataDir: string): number {
  const database = new DatabaseSync(join(dataDir, "slipway.db"), { readOnly: true });
  const row = database.prepare("select count(*) as n from audit_events where action = 'download' and result = 'complete'").get() as { n: number };
  database.close();
  return row.n;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

async function makeFile(path: string, size: number): Promise<Buffer> {
  const content = Buffer.alloc(size);
  for (let at = 0; at < size; at += 64) content.writeUInt32LE(Math.imul(at + 1, 2654435761) >>> 0, at);
  const handle = await open(path, "w");
  await handle.writeFile(content);
  await handle.close();
  return content;
}

const folder = await mkdtemp(join(tmpdir(), "slipway-bench-serve-"));
const children: ChildProcess[] = [];
try {
  const files = {
    "index.bin": await makeFile(join(folder, "index.bin"), indexSize),
    "artifact.bin": await makeFile(join(folder, "artifact.bin"), artifactSize),
  };
  const ours = await startOurs(folder, files);
  children.push(ours.process);
  const nginx = await startNginx(folder, files);
  if (nginx === undefined) {
    console.log("skipped: nginx or openssl is not installed (apt-get install nginx-light openssl)");
  } else {
    children.push(nginx.process);
    for (const side of [ours, ...nginx.sides]) await check(side, files);
    console.log(
      `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Node ${process.version}, ${nginx.sides[0]?.version}, ${pairs} pairs of ${seconds} s, ${connections} connections, ${program("wrk") === undefined ? "own generator" : "wrk"}`,
    );
    let answered = 0;
    const results: Result[] = [];
    const compete = async (figure: Figure, peer: Side): Promise<void> => {
      const outcome = await contest(figure, ours, peer);
      answered += outcome.answered;
      results.push(outcome.result);
    };
    if (values.only !== "artifact") {
      const measure = (side: Side): Promise<Sample> => measureIndex(side, folder);
      for (const peer of nginx.sides) await compete({ bench: "index-1k", unit: "requests/s", rate: requestRate, measure }, peer);
    }
    const [plain] = nginx.sides;
    if (values.only !== "index" && plain !== undefined && program("curl") !== undefined) {
      for (const streams of [1, 8]) {
        const measure = (side: Side): Promise<Sample> => measureArtifact(side, streams, folder);
        await compete({ bench: `artifact-${streams}x`, unit: "MB/s", rate: byteRate, measure }, plain);
      }
    }
    printTable(results);
    console.log(`peak memory of our server: ${(await peakMemory(ours.pid)).toFixed(0)} MiB`);
    await stop(ours.process);
    const recorded = recordedDownloads(ours.dataDir);
    if (recorded < answered) throw new Error(`${answered} answered downloads, ${recorded} in the audit trail`);
    console.log(`audit trail: ${recorded} events for ${answered} answered downloads`);
  }
} finally {
  for (const child of children) await stop(child);
  await rm(folder, { recursive: true, force: true });
}
