/**
 * Adding one release to a repository that holds N packages: ours against aptly (APT) and createrepo_c --update (YUM), in one run.
 *
 *   node bench/publish.ts [--n 10000,100000] [--pairs 20] [--peers-to 10000] [--views 5] [--json]
 *
 * One step takes a package file and ends with new signed indexes on disk. Ours is measured twice: as a whole process that starts, loads
 * its state, key and libraries and ends ("process"), and inside a process that stays, as the server does ("resident", with its peak memory).
 * Both read and check the package, hash it, sign with the same RSA-4096 key as the peer's gpg, and store blocks and files durably in the
 * server's blob store; what is left out: receiving the upload and the database. The peer's step is `aptly repo add` + `aptly publish update`, or `createrepo_c --update` + `gpg --detach-sign`. Steps
 * alternate, each pair with a package of its own, after one warm-up pair. CPU is user + system, of children too.
 *
 * "server" is publishing itself, publish-server.ts: a release of two debs and one rpm into N packages of both formats, from the draft whose
 * files are uploaded to the switch of the head in the database. "view" is what the first request of a customer with limits costs after it:
 * each of --views customers has a view of his own; their count does not touch the publishing. Neither has a peer.
 *
 * Above --peers-to packages there is no peer, and the N packages are entries alone, without files: at 50,000 createrepo_c took 13.8 s and
 * aptly 7.5 s for one release in an earlier run. Set it to 100000 to measure them, to 0 to measure ours alone.
 *
 * Then apt-get and rpm-md's own digests say whether the results are right, and only then numbers are printed: a table, with
 * --json a line per figure too. aptly is in no list of packages that the tests install: `apt-get install aptly`.
 */
import { fork, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gunzipSync, gzipSync } from "node:zlib";
import { parseVersion } from "../src/model/version.ts";
import { generateOpenpgpKey } from "../src/trust/openpgp.ts";
import { findProgram } from "../tests/support/clients.ts";
import { printingPackage, writeTestDeb, writeTestRpm } from "../tests/support/test-packages.ts";
import { growFromModel, type IndexKind, type PublishOptions, publishOne, type ResidentAnswer } from "./publish-one.ts";
import type { ServerAnswer, ServerOptions } from "./publish-server.ts";

type Cost = { readonly wallMs: number; readonly cpuMs: number; readonly peakBytes?: number };
type Figure = {
  readonly kind: IndexKind | "both";
  readonly n: number;
  readonly ours: string;
  readonly us: readonly Cost[];
  readonly peer: string;
  readonly peers: readonly Cost[];
};

const { values } = parseArgs({
  options: {
    n: { type: "string", default: "10000,100000" },
    pairs: { type: "string", default: "20" },
    json: { type: "boolean", default: false },
    "peers-to": { type: "string", default: "10000" },
    views: { type: "string", default: "5" },
  },
});
const sizes = values.n.split(",").map(Number);
const pairs = Number(values.pairs);
const peersTo = Number(values["peers-to"]);
const views = Number(values.views);
const work = await mkdtemp(join(tmpdir(), "slipway-bench-publish-"));
const gnupgHome = join(work, "gnupg");
const environment = { PATH: process.env["PATH"] ?? "", HOME: work, GNUPGHOME: gnupgHome, LANG: "C.UTF-8" };
/** An input made by its number alone: two runs see the same packages. */
const nameOf = (index: number): string => `coequal-${index % 40}`;
const versionOf = (index: number) => parseVersion(`1.${Math.floor(index / 40)}.0`);

/** Runs to the end and measures; throws with the output where it fails. dash's `times` prints the CPU of the shell's children last. */
function measured(argv: readonly string[], cwd = work): Cost {
  const start = performance.now();
  const result = spawnSync("/bin/sh", ["-c", '"$@" >&2; code=$?; times; exit $code', "sh", ...argv], {
    cwd,
    env: environment,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  const wallMs = performance.now() - start;
  if (result.status !== 0) throw new Error(`${argv.join(" ")}: exit ${result.status}\n${result.stderr}`);
  const seconds = [...(result.stdout.trim().split("\n").at(-1) ?? "").matchAll(/(\d+)m([\d.]+)s/g)].map(
    ([, minutes, rest]) => Number(minutes) * 60 + Number(rest),
  );
  return { wallMs, cpuMs: seconds.reduce((sum, value) => sum + value, 0) * 1000 };
}

const sum = (costs: readonly Cost[]): Cost => ({
  wallMs: costs.reduce((total, cost) => total + cost.wallMs, 0),
  cpuMs: costs.reduce((total, cost) => total + cost.cpuMs, 0),
});

type Resident<Answer> = { readonly publish: (what: string) => Promise<Answer>; readonly stop: () => Promise<void> };

/** A process of its own that stays for all steps: its memory is that of publishing, not of this script. */
function startResident<Answer>(script: string, options: Omit<PublishOptions, "packages"> | ServerOptions): Resident<Answer> {
  const child = fork(join(import.meta.dirname, script), [JSON.stringify(options)], { cwd: work, env: environment });
  const exited = once(child, "exit");
  return {
    publish: async (what) => {
      child.send(what);
      const ended = exited.then(([code]) => Promise.reject(new Error(`the resident process ended with ${code}`)));
      const [answer] = (await Promise.race([once(child, "message"), ended])) as [Answer];
      return answer;
    },
    stop: async () => {
      child.disconnect();
      await exited;
    },
  };
}

async function makeKey(): Promise<string> {
  const key = await generateOpenpgpKey({ userId: "bench <bench@test.example>", algorithm: "rsa4096", now: new Date(Date.now() - 3_600_000) });
  await mkdir(gnupgHome, { mode: 0o700 });
  const secret = join(work, "key.asc");
  await writeFile(secret, key.secretKey, { mode: 0o600 });
  await writeFile(join(work, "public.asc"), key.publicKey);
  measured(["gpg", "--batch", "--quiet", "--import", secret]);
  return key.fingerprint;
}

async function writePackages(kind: IndexKind, folder: string, from: number, to: number): Promise<readonly string[]> {
  await mkdir(folder, { recursive: true });
  const names: string[] = [];
  for (let index = from; index < to; index += 1) {
    const one = printingPackage(nameOf(index), versionOf(index));
    const name = kind === "apt" ? `${one.name}_${one.version}_amd64.deb` : `${one.name}-${one.version}-1.x86_64.rpm`;
    await writeFile(join(folder, name), kind === "apt" ? await writeTestDeb(one) : await writeTestRpm(one));
    names.push(join(folder, name));
  }
  return names;
}

async function benchOne(kind: IndexKind, n: number, fingerprint: string): Promise<readonly Figure[]> {
  const folder = join(work, `${kind}-${n}`);
  const stock = join(folder, "stock/pool");
  const hasPeer = n <= peersTo;
  const packages = await writePackages(kind, stock, 0, hasPeer ? n : 1);
  const steps = pairs + 1;
  const news = await writePackages(kind, join(folder, "new"), n, n + steps);
  const places = { resident: join(folder, "resident"), process: join(folder, "process") };
  const keyFile = join(work, "key.asc");
  for (const place of Object.values(places)) {
    if (hasPeer) await publishOne({ kind, folder: place, packages, keyFile });
    else await growFromModel({ kind, folder: place, keyFile, model: packages[0] ?? "", count: n }, nameOf, versionOf);
  }
  const peer = hasPeer ? startPeer(kind, { folder, stock, fingerprint }) : undefined;
  const resident = startResident<ResidentAnswer>("publish-one.ts", { kind, folder: places.resident, keyFile });
  const costs = { resident: [] as Cost[], process: [] as Cost[], peer: [] as Cost[] };
  for (const [step, file] of news.entries()) {
    const here = await resident.publish(file);
    const options = { kind, packages: [file], keyFile, folder: places.process };
    const there = measured([process.execPath, join(import.meta.dirname, "publish-one.ts"), JSON.stringify(options)]);
    const theirs = peer?.step(file);
    if (step === 0) continue; // warm-up
    costs.resident.push(here);
    costs.process.push(there);
    if (theirs !== undefined) costs.peer.push(theirs);
  }
  await resident.stop();
  const trees = [...Object.values(places).map((place) => join(place, "tree")), ...(peer === undefined ? [] : [peer.tree])];
  for (const tree of trees) await (kind === "apt" ? checkApt : checkYum)(tree, n + steps);
  await printIndexCost(kind, n, join(places.resident, "tree"));
  const common = { kind, n, peer: peer?.name ?? "none", peers: costs.peer };
  await rm(folder, { recursive: true });
  return [
    { ...common, ours: "process", us: costs.process },
    { ...common, ours: "resident", us: costs.resident },
  ];
}

/** Publishing through the server's code, and opening the views of customers with limits after each publication. */
async function benchServer(n: number): Promise<readonly Figure[]> {
  const folder = join(work, `server-${n}`);
  const [deb = "", rpm = ""] = (await Promise.all((["apt", "yum"] as const).map((kind) => writePackages(kind, join(folder, kind), 0, 1)))).flat();
  const options: ServerOptions = { dataDir: join(folder, "data"), count: n, views, deb, rpm };
  measured([process.execPath, join(import.meta.dirname, "publish-server.ts"), JSON.stringify(options)]);
  const server = startResident<ServerAnswer>("publish-server.ts", options);
  const answers: ServerAnswer[] = [];
  for (let step = 0; step <= pairs; step += 1) {
    const answer = await server.publish(`1.${step}.0`);
    if (step > 0) answers.push(answer);
  }
  await server.stop();
  await rm(folder, { recursive: true });
  const common = { kind: "both", n, peer: "none", peers: [] } as const;
  const perView = answers.map((answer) => ({ wallMs: answer.views.wallMs / views, cpuMs: answer.views.cpuMs / views, peakBytes: answer.peakBytes }));
  // The memory of publishing alone is that of a run without views.
  const published = answers.map(({ wallMs, cpuMs, peakBytes }) => ({ wallMs, cpuMs, ...(views === 0 ? { peakBytes } : {}) }));
  return [{ ...common, ours: "server", us: published }, ...(views === 0 ? [] : [{ ...common, ours: "view", us: perView }])];
}

type Peer = { readonly name: string; readonly tree: string; readonly step: (file: string) => Cost };

function startPeer(kind: IndexKind, input: { readonly folder: string; readonly stock: string; readonly fingerprint: string }): Peer | undefined {
  const peer = kind === "apt" ? aptlyPeer(input.folder, input.stock, input.fingerprint) : createrepoPeer(input.folder);
  const [name, debian] = kind === "apt" ? ["aptly", "aptly"] : ["createrepo_c", "createrepo-c"];
  if (peer === undefined) console.log(`${kind}: ${name} is not installed: no pair (apt-get install ${debian})`);
  return peer;
}

function aptlyPeer(folder: string, stock: string, fingerprint: string): Peer | undefined {
  if (findProgram("aptly") === undefined) return undefined;
  const version = spawnSync("aptly", ["version"], { encoding: "utf8" })
    .stdout.replace(/^aptly version:\s*/, "")
    .trim();
  const configuration = join(folder, "aptly.json");
  const root = join(folder, "aptly");
  spawnSync("/bin/sh", ["-c", 'printf "%s" "$1" > "$2"', "sh", JSON.stringify({ rootDir: root, architectures: ["amd64"] }), configuration]);
  const aptly = (...args: readonly string[]): Cost => measured(["aptly", `-config=${configuration}`, ...args]);
  const signing = ["-skip-contents", `-gpg-key=${fingerprint}`, "-batch"];
  aptly("repo", "create", "-distribution=stable", "-component=main", "bench");
  aptly("repo", "add", "bench", stock);
  aptly("publish", "repo", ...signing, "bench");
  return {
    name: `aptly ${version}`,
    tree: join(root, "public"),
    step: (file) => sum([aptly("repo", "add", "bench", file), aptly("publish", "update", ...signing, "stable")]),
  };
}

function createrepoPeer(folder: string): Peer | undefined {
  if (findProgram("createrepo_c") === undefined) return undefined;
  const version = /\d+\.\d+\.\d+/.exec(spawnSync("createrepo_c", ["--version"], { encoding: "utf8" }).stdout)?.[0] ?? "?";
  const tree = join(folder, "stock");
  const sign = (): Cost => {
    const repomd = join(tree, "repodata/repomd.xml");
    return measured(["gpg", "--batch", "--yes", "--armor", "--detach-sign", "--output", `${repomd}.asc`, repomd]);
  };
  measured(["createrepo_c", "--quiet", "--no-database", tree]);
  sign();
  return {
    name: `createrepo_c ${version}`,
    tree,
    step: (file) =>
      sum([
        measured(["sh", "-c", 'cp "$1" "$2" && exec createrepo_c --quiet --no-database --update --skip-stat "$3"', "sh", file, join(tree, "pool"), tree]),
        sign(),
      ]),
  };
}

/** A real apt-get, on lists of its own, must accept the signature and see every package. */
async function checkApt(tree: string, expected: number): Promise<void> {
  const place = join(work, "apt");
  await rm(place, { recursive: true, force: true });
  for (const name of ["lists/partial", "cache/archives/partial", "etc"]) await mkdir(join(place, name), { recursive: true });
  await writeFile(join(place, "etc/one.list"), `deb [arch=amd64 signed-by=${join(work, "public.asc")}] file:${tree} stable main\n`);
  const settings = {
    "Dir::Etc::SourceList": join(place, "etc/one.list"),
    "Dir::Etc::SourceParts": "-",
    "Dir::State::Lists": join(place, "lists"),
    "Dir::Cache": join(place, "cache"),
    "Dir::State::Status": "/dev/null",
    "APT::Sandbox::User": "root",
    "APT::Architecture": "amd64",
    "Acquire::Check-Date": "true",
    "Acquire::Check-Valid-Until": "true",
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  measured(["apt-get", ...options, "update", "--error-on=any"]);
  const stats = spawnSync("apt-cache", [...options, "stats"], { env: environment, encoding: "utf8" }).stdout;
  requireCount(tree, Number(/Total distinct versions: (\d+)/.exec(stats)?.[1]), expected);
}

/** The signature of repomd.xml, the digest of each index, and every package in each of them. */
async function checkYum(tree: string, expected: number): Promise<void> {
  const folder = join(tree, "repodata");
  measured(["gpg", "--batch", "--quiet", "--verify", join(folder, "repomd.xml.asc"), join(folder, "repomd.xml")]);
  const repomd = await readFile(join(folder, "repomd.xml"), "utf8");
  for (const name of ["primary", "filelists", "other"]) {
    const [, entry = ""] = new RegExp(`<data type="${name}">([\\s\\S]*?)</data>`).exec(repomd) ?? [];
    const bytes = await readFile(join(tree, /href="([^"]+)"/.exec(entry)?.[1] ?? ""));
    const digest = createHash("sha256").update(bytes).digest("hex");
    if (/<checksum type="sha256">(\w+)</.exec(entry)?.[1] !== digest) throw new Error(`${tree}: repomd.xml gives another digest of ${name}`);
    const xml = gunzipSync(bytes).toString();
    requireCount(tree, xml.split("</package>").length - 1, expected);
    requireCount(tree, Number(/packages="(\d+)"/.exec(xml)?.[1]), expected);
  }
}

function requireCount(tree: string, found: number, expected: number): void {
  if (found !== expected) throw new Error(`${tree} lists ${found} packages; expected ${expected}`);
}

/** What blocks cost in bytes against one gzip member of the same text. */
async function printIndexCost(kind: IndexKind, n: number, tree: string): Promise<void> {
  const folder = join(tree, kind === "apt" ? "dists/stable/main/binary-amd64" : "repodata");
  const repomd = kind === "apt" ? "" : await readFile(join(folder, "repomd.xml"), "utf8");
  const name = (await readdir(folder)).find((entry) =>
    kind === "apt" ? entry === "Packages.gz" : entry.endsWith("-primary.xml.gz") && repomd.includes(entry),
  );
  const bytes = await readFile(join(folder, name ?? ""));
  const single = gzipSync(gunzipSync(bytes), { level: 9 }).length;
  console.log(`${kind} N=${n}: the main index has ${bytes.length} bytes, ${((bytes.length / single - 1) * 100).toFixed(1)} % more than as one gzip member`);
}

/** By nearest rank; NaN of nothing. */
function percentile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((left, right) => left - right);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

function summary(costs: readonly Cost[]) {
  const walls = costs.map((cost) => cost.wallMs);
  const peaks = costs.flatMap((cost) => cost.peakBytes ?? []);
  return {
    p50_ms: percentile(walls, 0.5),
    p95_ms: percentile(walls, 0.95),
    cpu_ms: percentile(
      costs.map((cost) => cost.cpuMs),
      0.5,
    ),
    peak_mib: peaks.length === 0 ? Number.NaN : Math.max(...peaks) / 1024 ** 2,
  };
}

function print(figure: Figure): void {
  const [us, peer] = [summary(figure.us), summary(figure.peers)];
  const cell = (value: number, digits = 1): string => (Number.isNaN(value) ? "-" : value.toFixed(digits)).padStart(9);
  const ours = [us.p50_ms, us.p95_ms, us.cpu_ms].map((value) => cell(value)).join("") + cell(us.peak_mib, 0);
  const theirs = [peer.p50_ms, peer.p95_ms, peer.cpu_ms].map((value) => cell(value)).join("");
  console.log(
    `${figure.kind.padEnd(4)} ${String(figure.n).padStart(7)} ${figure.ours.padEnd(9)}${ours}  ${figure.peer.padEnd(22)}${theirs}${cell(us.p50_ms / peer.p50_ms, 3)}${cell(us.cpu_ms / peer.cpu_ms, 3)}`,
  );
  const line = { bench: `publish-${figure.kind}-${figure.ours}`, n: figure.n, pairs, us, peer: { name: figure.peer, ...peer }, load: loadavg()[0] };
  if (values.json) console.log(JSON.stringify(line));
}

try {
  const fingerprint = await makeKey();
  const figures: Figure[] = [];
  for (const kind of ["apt", "yum"] as const) for (const n of sizes) figures.push(...(await benchOne(kind, n, fingerprint)));
  for (const n of sizes) figures.push(...(await benchServer(n)));
  console.log(`\n+1 release: milliseconds over ${pairs} publications (CPU: median), peak memory in MiB; load ${loadavg()[0]?.toFixed(1)}`);
  console.log("kind       N ours           p50      p95      cpu     peak  peer                        p50      p95      cpu    p50 x    cpu x");
  for (const figure of figures) print(figure);
} finally {
  spawnSync("gpgconf", ["--kill", "all"], { env: environment });
  await rm(work, { recursive: true, force: true });
}
