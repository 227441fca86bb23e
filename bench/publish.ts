/**
 * Adding one release to a repository that holds N packages: ours against aptly (APT) and createrepo_c --update (YUM), in one run.
 *
 *   node bench/publish.ts [--n 1000,10000] [--pairs 5]
 *
 * One step takes a package file and ends with new signed indexes on disk. Ours is measured twice: as a whole process that starts, loads
 * its state, key and libraries and ends ("process"), and inside a process that is already there, as the server is ("resident"). Both read
 * and check the package, hash it, sign with the same RSA-4096 key as the peer's gpg, and fsync every file. The peer's step is `aptly repo
 * add` + `aptly publish update`, or `createrepo_c --update` + `gpg --detach-sign`. Left out on our side: receiving the upload and the
 * database commit. Steps alternate, each pair with a package of its own, after one warm-up pair. CPU is user + system, of children too.
 *
 * Then apt-get and rpm-md's own digests say whether the results are right, and only then numbers are printed: a table, and one JSON line
 * per figure. aptly is in no list of packages that the tests install: `apt-get install aptly`.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gunzipSync, gzipSync } from "node:zlib";
import { parseVersion } from "../src/model/version.ts";
import { generateOpenpgpKey } from "../src/trust/openpgp.ts";
import { findProgram } from "../tests/support/clients.ts";
import { printingPackage, writeTestDeb, writeTestRpm } from "../tests/support/test-packages.ts";
import { type IndexKind, publishOne } from "./publish-one.ts";

type Cost = { readonly wallMs: number; readonly cpuMs: number };
type Figure = {
  readonly kind: IndexKind;
  readonly n: number;
  readonly ours: string;
  readonly us: readonly Cost[];
  readonly peer: string;
  readonly peers: readonly Cost[];
};

const { values } = parseArgs({ options: { n: { type: "string", default: "1000,10000" }, pairs: { type: "string", default: "5" } } });
const sizes = values.n.split(",").map(Number);
const pairs = Number(values.pairs);
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

async function measuredHere(step: () => Promise<void>): Promise<Cost> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await step();
  const wallMs = performance.now() - start;
  const used = process.cpuUsage(cpu);
  return { wallMs, cpuMs: (used.user + used.system) / 1000 };
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
  const packages = await writePackages(kind, stock, 0, n);
  const steps = pairs + 1;
  const news = await writePackages(kind, join(folder, "new"), n, n + steps);
  const resident = join(folder, "resident");
  const whole = join(folder, "process");
  for (const place of [resident, whole]) await publishOne({ kind, folder: place, packages, keyFile: join(work, "key.asc") });
  const peer = kind === "apt" ? aptlyPeer(folder, stock, fingerprint) : createrepoPeer(folder);
  if (peer === undefined)
    console.log(
      `${kind}: ${kind === "apt" ? "aptly" : "createrepo_c"} is not installed: no pair (apt-get install ${kind === "apt" ? "aptly" : "createrepo-c"})`,
    );
  const costs = { resident: [] as Cost[], process: [] as Cost[], peer: [] as Cost[] };
  for (const [step, file] of news.entries()) {
    const options = { kind, packages: [file], keyFile: join(work, "key.asc") };
    const here = await measuredHere(() => publishOne({ ...options, folder: resident }));
    const there = measured([process.execPath, join(import.meta.dirname, "publish-one.ts"), JSON.stringify({ ...options, folder: whole })]);
    const theirs = peer?.step(file);
    if (step === 0) continue; // warm-up
    costs.resident.push(here);
    costs.process.push(there);
    if (theirs !== undefined) costs.peer.push(theirs);
  }
  const trees = [join(resident, "tree"), join(whole, "tree"), ...(peer === undefined ? [] : [peer.tree])];
  for (const tree of trees) await (kind === "apt" ? checkApt : checkYum)(tree, n + steps);
  await printIndexCost(kind, n, join(resident, "tree"));
  const common = { kind, n, peer: peer?.name ?? "none", peers: costs.peer };
  await rm(folder, { recursive: true });
  return [
    { ...common, ours: "process", us: costs.process },
    { ...common, ours: "resident", us: costs.resident },
  ];
}

type Peer = { readonly name: string; readonly tree: string; readonly step: (file: string) => Cost };

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

const median = (numbers: readonly number[]): number => numbers.toSorted((left, right) => left - right)[Math.floor(numbers.length / 2)] ?? Number.NaN;

function print(figure: Figure): void {
  const [us, peer] = [figure.us, figure.peers].map((costs) => ({
    wall: median(costs.map((cost) => cost.wallMs)),
    cpu: median(costs.map((cost) => cost.cpuMs)),
  }));
  if (us === undefined || peer === undefined) return;
  const ratios = figure.peers.map((cost, index) => (figure.us[index]?.wallMs ?? Number.NaN) / cost.wallMs);
  const ms = (value: number): string => (Number.isNaN(value) ? "-" : value.toFixed(1)).padStart(9);
  const ratio = (value: number): string => (Number.isNaN(value) ? "-" : value.toFixed(3)).padStart(8);
  console.log(
    `${figure.kind.padEnd(4)} ${String(figure.n).padStart(7)} ${figure.ours.padEnd(9)}${ms(us.wall)}${ms(us.cpu)}  ${figure.peer.padEnd(22)}${ms(peer.wall)}${ms(peer.cpu)} ${ratio(us.wall / peer.wall)}${ratio(us.cpu / peer.cpu)}`,
  );
  const line = {
    bench: `publish-${figure.kind}-${figure.ours}`,
    n: figure.n,
    pairs,
    us: { wall_ms: us.wall, cpu_ms: us.cpu },
    peer: { name: figure.peer, wall_ms: peer.wall, cpu_ms: peer.cpu },
    ratio_wall: us.wall / peer.wall,
    ratio_cpu: us.cpu / peer.cpu,
    ratio_wall_min: Math.min(...ratios),
    ratio_wall_max: Math.max(...ratios),
    load: loadavg()[0],
  };
  console.log(JSON.stringify(line));
}

try {
  const fingerprint = await makeKey();
  const figures: Figure[] = [];
  for (const kind of ["apt", "yum"] as const) for (const n of sizes) figures.push(...(await benchOne(kind, n, fingerprint)));
  console.log("\n+1 release: milliseconds, median");
  console.log("kind       N ours          wall      cpu  peer                       wall      cpu   wall x   cpu x");
  for (const figure of figures) print(figure);
} finally {
  spawnSync("gpgconf", ["--kill", "all"], { env: environment });
  await rm(work, { recursive: true, force: true });
}
