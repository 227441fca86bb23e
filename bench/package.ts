/**
 * Package benchmark: our writers against dpkg-deb, rpmbuild, nfpm and umoci on 100 MB in seven files and 12 MB in 2,000 files, and a release of
 * twelve artifacts against GoReleaser. `node bench/package.ts [--rounds N] [--only deb,rpm,apk,oci,release] [--nfpm PATH] [--goreleaser PATH]`
 *
 * In each round every tool has its turn, as a fresh process under GNU time: user and system seconds of it and its children, wall seconds, the
 * largest resident set. Ours pays for starting Node; the stripped TypeScript is kept in Node's compile cache, which one run before the first
 * round fills. Every result is counted by an independent tool before a number counts. A missing peer is named and left out.
 */
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { fileCount, type InputName, inputNames, releaseTargets, writeInput } from "./package-input.ts";
import { type Codec, type Contest, contests, findProgram, type Prepared, run } from "./package-peers.ts";
import { checkRelease, prepareRelease, releaseContestants } from "./package-release.ts";

const compressions: readonly Codec[] = [
  { codec: "gzip", level: 6 },
  { codec: "zstd", level: 3 },
];
const { values: flags } = parseArgs({
  options: { rounds: { type: "string", default: "3" }, only: { type: "string" }, nfpm: { type: "string" }, goreleaser: { type: "string" } },
});
const rounds = Number(flags.rounds);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds wants a whole number from 1");
const only = flags.only?.split(",");
const given = { nfpm: flags.nfpm, goreleaser: flags.goreleaser };
const root = await mkdtemp(join(tmpdir(), "slipway-bench-"));

type Figure = { readonly cpuSeconds: number; readonly wallSeconds: number; readonly peakRssBytes: number; readonly sizeBytes: number };
type Result = Figure & { readonly tool: string };

/** Runs a command under GNU time. */
async function measure({ argv, path }: Prepared, place: { readonly folder: string; readonly env?: Readonly<Record<string, string>> }): Promise<Figure> {
  const report = join(root, "time");
  const env = { NODE_COMPILE_CACHE: join(root, "compile-cache"), ...place.env };
  // From the folder of the case: GoReleaser and we look for the settings there.
  await run(["env", "-C", place.folder, "time", "-o", report, "-f", "%U %S %e %M", "--", ...argv], env);
  const [user = 0, system = 0, wallSeconds = 0, kilobytes = 0] = (await readFile(report, "utf8")).trim().split(" ").map(Number);
  return { cpuSeconds: Math.round(100 * (user + system)) / 100, wallSeconds, peakRssBytes: kilobytes * 1024, sizeBytes: await sizeOf(path) };
}

/** Of a file, of the blobs of an image layout, or of the files at the top of a release's folder. */
async function sizeOf(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  const names = await readdir(path);
  const folder = names.includes("blobs") ? join(path, "blobs/sha256") : path;
  const entries = await Promise.all((await readdir(folder)).map((name) => stat(join(folder, name))));
  return entries.reduce((sum, entry) => sum + (entry.isFile() ? entry.size : 0), 0);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Those whose programs are here; the others are named with how to get them, once each. */
const told = new Set<string>();
function present<One extends { readonly name: string; readonly programs?: readonly string[]; readonly howToGet: string }>(
  contestants: readonly One[],
): readonly One[] {
  return contestants.filter(({ name, programs = [name.split(" ")[0] ?? name], howToGet }) => {
    const isHere = programs.every((program) => findProgram(program, given) !== undefined);
    if (!isHere && !told.has(name)) process.stdout.write(`without ${name}, which is not here: ${howToGet}\n`);
    told.add(name);
    return isHere;
  });
}

/** All rounds of one case; throws before anything is printed when a package lacks files. */
async function compete(contest: Contest, input: InputName, compression: Codec): Promise<readonly Result[]> {
  const folder = await mkdtemp(join(root, "run-"));
  const able = present(contest.contestants.filter(({ codecs }) => codecs.includes(compression.codec)));
  const results: Result[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const contestant of able) {
      const prepared = await contestant.prepare({ tree: join(root, input), folder, ...compression });
      const figure = await measure(prepared, { folder });
      const count = await contest.countFiles(prepared.path);
      if (count !== fileCount(input)) throw new Error(`${prepared.path} has ${count} files; expected ${fileCount(input)}`);
      results.push({ tool: contestant.name, ...figure });
    }
  }
  await rm(folder, { recursive: true, force: true });
  return results;
}

async function competeInRelease(): Promise<readonly Result[]> {
  const folder = await mkdtemp(join(root, "release-"));
  const env = await prepareRelease(folder);
  const able = present(releaseContestants(folder, given));
  const results: Result[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const paths = new Map<string, string>();
    for (const contestant of able) {
      const prepared = await contestant.prepare();
      results.push({ tool: contestant.name, ...(await measure(prepared, { folder, env })) });
      paths.set(contestant.name, prepared.path);
    }
    await checkRelease(paths);
  }
  await rm(folder, { recursive: true, force: true });
  return results;
}

const rows: (readonly string[])[] = [["input", "tool", "CPU s", "of ours", "wall s", "peak MB", "size MB"]];

function addRows(title: string, results: readonly Result[]): void {
  const tools = [...new Set(results.map(({ tool }) => tool))];
  const middle = (tool: string | undefined, key: keyof Figure): number => median(results.filter((result) => result.tool === tool).map((result) => result[key]));
  for (const tool of tools) {
    const ratio = middle(tool, "cpuSeconds") / middle(tools[0], "cpuSeconds");
    const megabytes = (key: keyof Figure, digits: number): string => (middle(tool, key) / 1e6).toFixed(digits);
    const seconds = [middle(tool, "cpuSeconds").toFixed(2), ratio.toFixed(2), middle(tool, "wallSeconds").toFixed(2)];
    rows.push([title, tool, ...seconds, megabytes("peakRssBytes", 0), megabytes("sizeBytes", 2)]);
  }
}

function printTable(): void {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows) {
    const cells = row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)));
    process.stdout.write(`${cells.join("  ")}\n`);
  }
}

const loadBefore = loadavg();
try {
  for (const input of inputNames) await writeInput(join(root, input), input);
  for (const contest of contests(given).filter(({ format }) => only === undefined || only.includes(format))) {
    const [warmUp] = contest.contestants;
    const first = await warmUp?.prepare({ tree: join(root, "small"), folder: root, codec: "gzip", level: 6 });
    if (first !== undefined) await measure(first, { folder: root });
    for (const input of inputNames) {
      for (const compression of compressions) {
        if (!contest.contestants.some(({ codecs }) => codecs.includes(compression.codec))) continue;
        const results = await compete(contest, input, compression);
        for (const result of results) {
          process.stdout.write(`${JSON.stringify({ bench: "package", input, format: contest.format, ...compression, ...result })}\n`);
        }
        addRows(`${input} ${contest.format} ${compression.codec} -${compression.level}`, results);
      }
    }
  }
  if (only === undefined || only.includes("release")) {
    const results = await competeInRelease();
    for (const result of results) process.stdout.write(`${JSON.stringify({ bench: "package", format: "release", ...result })}\n`);
    addRows(`release of ${releaseTargets.length} targets`, results);
  }
} finally {
  await rm(root, { recursive: true, force: true });
}
const load = [loadBefore, loadavg()].map(([minute = 0]) => minute.toFixed(1)).join(" before and ");
process.stdout.write(
  `\nmedian of ${rounds} rounds; ${cpus().length} x ${cpus()[0]?.model ?? "unknown processor"}; node ${process.version}; load ${load} after\n`,
);
printTable();
