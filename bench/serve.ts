/**
 * Serving benchmark: our server with access pairs and the audit trail on, on loopback, in parts that run alone with --only.
 *
 *   index, artifact   requests a second for 1 KB and MB/s for 100 MB (one reader, then eight), against nginx with basic auth: one worker with
 *                     sendfile and an access log, passwords as {PLAIN} and as apr1 (what `htpasswd` writes)
 *   manifests         an image manifest by tag and by digest, against docker-registry, open and behind bcrypt of cost 5
 *   auth              microseconds for one decision about a caller
 *   connections       1,000 kept connections for ten seconds
 *   memory            the server's memory while 100 slow clients download 1 GB
 *
 * Both sides of a contest run in turn in the same run (one warm-up, then pairs); medians are printed as a table and one JSON line per figure.
 * A figure appears only after both sides gave the right bytes, refused a wrong password, and every answered download of ours stands in the
 * audit trail.
 *
 *   node bench/serve.ts [--pairs 5] [--seconds 3] [--only index,artifact,manifests,auth,connections,memory] [--rate 4] [--hold 30]
 *
 * --rate: MB/s of each slow client; --hold: after so many seconds they hang up (300 lets each read all of it).
 * Peers: `apt-get install nginx-light docker-registry wrk curl`. Without wrk the requests come from bench/serve-load.ts, a slower generator
 * of our own.
 */
import type { ChildProcess } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { requireCommand } from "../src/io/command.ts";
import { imageType } from "../tests/server/registry-client.ts";
import { measureAuthentication } from "./serve-auth.ts";
import { measureConnections } from "./serve-connections.ts";
import { byteRate, contest, type Figure, measureSmall, printTable, requestRate, type Result, type Sample } from "./serve-contest.ts";
import { measureMemory } from "./serve-memory.ts";
import { startNginx } from "./serve-nginx.ts";
import { type Ours, recordedDownloads, sparseFile, startOurs, writtenFile } from "./serve-ours.ts";
import { type ImageSide, manifestUrls, startRegistries } from "./serve-registry.ts";
import { cpuSeconds, type FileSide, hexOf, program, residentMemory, type Side, stop } from "./serve-side.ts";

const parts = ["index", "artifact", "manifests", "auth", "connections", "memory"] as const;
type Part = (typeof parts)[number];

const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    only: { type: "string", default: parts.join(",") },
    rate: { type: "string", default: "4" },
    hold: { type: "string", default: "30" },
  },
});
const pairs = Math.max(1, Number(values.pairs));
const seconds = Math.max(1, Number(values.seconds));
const connections = 64;
const indexSize = 1024;
const artifactSize = 100 * 1000 * 1000;
const largeSize = 1000 * 1000 * 1000;
const wanted = new Set(values.only.split(",").map(partOf));

function partOf(name: string): Part {
  const part = parts.find((one) => one === name);
  if (part === undefined) throw new Error(`--only ${name}: the parts are ${parts.join(", ")}`);
  return part;
}

const wants = (...names: readonly Part[]): boolean => names.some((name) => wanted.has(name));

async function check(side: FileSide, files: Readonly<Record<string, Buffer>>): Promise<void> {
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

/** `streams` readers at once, each the whole artifact once; curl reads the pair from a file, as no secret belongs in an argument list. */
async function measureArtifact(side: FileSide, streams: number, folder: string): Promise<Sample> {
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

/** Content of the small index and the artifact: numbers that do not repeat. */
function numbered(size: number): Buffer {
  const content = Buffer.alloc(size);
  for (let at = 0; at < size; at += 64) content.writeUInt32LE(Math.imul(at + 1, 2654435761) >>> 0, at);
  return content;
}

/** Runs contests of ours, counts what was answered, and keeps the rows of the table. */
function scoreboard() {
  const results: Result[] = [];
  let answered = 0;
  return {
    compete: async <S extends Side>(figure: Figure<S>, ours: S, peer: S): Promise<void> => {
      const outcome = await contest(figure, { ours, peer, pairs });
      answered += outcome.answered;
      results.push(outcome.result);
    },
    add: (requests: number): void => {
      answered += requests;
    },
    results,
    answered: () => answered,
  };
}

type Scoreboard = ReturnType<typeof scoreboard>;
type Bench = { readonly folder: string; readonly ours: Ours; readonly scores: Scoreboard; readonly children: ChildProcess[] };

async function againstNginx({ folder, ours, scores, children }: Bench, files: Readonly<Record<string, Buffer>>): Promise<void> {
  const nginx = await startNginx(folder, files);
  if (nginx === undefined) {
    console.log("skipped: nginx or openssl is not installed (apt-get install nginx-light openssl)");
    return;
  }
  children.push(nginx.process);
  for (const side of [ours, ...nginx.sides]) await check(side, files);
  console.log(`peer: ${nginx.sides[0]?.version}`);
  if (wants("index")) {
    const measure = (side: FileSide): Promise<Sample> => measureSmall(side, { folder, url: side.indexUrl, size: indexSize, connections, seconds });
    for (const peer of nginx.sides) await scores.compete({ bench: "index-1k", unit: "requests/s", rate: requestRate, measure }, ours, peer);
  }
  const [plain] = nginx.sides;
  if (wants("artifact") && plain !== undefined && program("curl") !== undefined) {
    for (const streams of [1, 8]) {
      const measure = (side: FileSide): Promise<Sample> => measureArtifact(side, streams, folder);
      await scores.compete({ bench: `artifact-${streams}x`, unit: "MB/s", rate: byteRate, measure }, ours, plain);
    }
  }
  await stop(nginx.process);
}

async function againstRegistries({ folder, ours, scores, children }: Bench): Promise<void> {
  const started: ChildProcess[] = [];
  const registries = await startRegistries(folder, ours, (child) => {
    started.push(child);
    children.push(child);
  });
  if (registries.length === 0) console.log("skipped: docker-registry is not installed (apt-get install docker-registry)");
  const own: ImageSide = { ...ours, ...manifestUrls(ours.url, ours.image) };
  for (const side of [own, ...registries]) await checkManifest(side, ours);
  const size = Buffer.byteLength(JSON.stringify(ours.image.document));
  for (const peer of registries) {
    for (const kind of ["tag", "digest"] as const) {
      const measure = (side: ImageSide): Promise<Sample> =>
        measureSmall(side, { folder, url: side[`${kind}Url`], size, connections, seconds, accept: imageType });
      await scores.compete({ bench: `manifest-${kind}`, unit: "requests/s", rate: requestRate, measure }, own, peer);
    }
  }
  for (const child of started) await stop(child);
}

/** The same manifest by tag and by digest; refused with a wrong password, except where nobody is asked for one. */
async function checkManifest(side: ImageSide, { image }: Ours): Promise<void> {
  for (const url of [side.tagUrl, side.digestUrl]) {
    const response = await fetch(url, { headers: { authorization: side.authorization, accept: imageType } });
    const body = Buffer.from(await response.arrayBuffer());
    if (response.status !== 200 || `sha256:${hexOf(body)}` !== image.digest) throw new Error(`${side.name}: ${response.status} for ${url}`);
    const stranger = await fetch(url, { headers: { authorization: `Basic ${Buffer.from("reader:wrong").toString("base64")}`, accept: imageType } });
    await stranger.arrayBuffer();
    if (stranger.status !== (side.name.endsWith(" open") ? 200 : 401)) throw new Error(`${side.name}: ${stranger.status} for a stranger`);
  }
}

/** All parts that need the running server. */
async function withServer(folder: string, children: ChildProcess[]): Promise<void> {
  const contents = { "index.bin": numbered(indexSize), ...(wants("index", "artifact") ? { "artifact.bin": numbered(artifactSize) } : {}) };
  const written = await Promise.all(Object.entries(contents).map(async ([name, content]) => [name, await writtenFile(join(folder, name), content)] as const));
  const large = wants("memory") ? { "large.bin": await sparseFile(join(folder, "large.bin"), largeSize) } : {};
  const ours = await startOurs(folder, { ...Object.fromEntries(written), ...large });
  children.push(ours.process);
  const bench: Bench = { folder, ours, scores: scoreboard(), children };
  const { scores } = bench;
  if (wants("memory")) {
    const url = new URL("large.bin", ours.indexUrl).href;
    await measureMemory(ours, { url, size: largeSize, bytesPerSecond: Number(values.rate) * 1e6, seconds: Number(values.hold) });
  }
  if (wants("index", "artifact")) await againstNginx(bench, contents);
  if (wants("manifests")) await againstRegistries(bench);
  if (wants("connections")) scores.add(await measureConnections(ours, folder));
  if (scores.results.length > 0) printTable(scores.results);
  console.log(`peak memory of our server: ${(await residentMemory(ours.pid)).peak.toFixed(0)} MiB`);
  await stop(ours.process);
  const recorded = recordedDownloads(ours.dataDir);
  if (recorded < scores.answered()) throw new Error(`${scores.answered()} answered downloads, ${recorded} in the audit trail`);
  console.log(`audit trail: ${recorded} events for ${scores.answered()} answered downloads`);
}

const folder = await mkdtemp(join(tmpdir(), "slipway-bench-serve-"));
const children: ChildProcess[] = [];
try {
  const generator = program("wrk") === undefined ? "own generator" : "wrk";
  console.log(
    `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Node ${process.version}, ${pairs} pairs of ${seconds} s, ${connections} connections, ${generator}`,
  );
  if (wants("auth")) {
    await mkdir(join(folder, "auth"));
    await measureAuthentication(join(folder, "auth"));
  }
  if (wants("index", "artifact", "manifests", "connections", "memory")) await withServer(folder, children);
} finally {
  for (const child of children) await stop(child);
  await rm(folder, { recursive: true, force: true });
}
