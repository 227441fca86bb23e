/**
 * Package benchmark: our deb and rpm writers against dpkg-deb and rpmbuild, on 100 MB in four files and 12 MB in 2,000 files.
 *
 * Each figure is a pair: both tools in turn, in the same run, each a fresh process under GNU time (user + system seconds of the process and
 * its children, wall seconds, the largest resident set). Ours pays for starting Node; the stripped TypeScript is kept in Node's compile
 * cache from the first pair on. Before anything is printed both packages are listed by the peer's own tool and must hold every file. `node bench/package.ts [--pairs N] [--only deb|rpm]`
 */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { cleanEnvironment, requireCommand } from "../src/io/command.ts";
import { fileCount, type InputName, inputNames, writeInput } from "./package-input.ts";

type Codec = { readonly codec: "gzip" | "zstd"; readonly level: number };
type Case = { readonly input: InputName; readonly tree: string; readonly folder: string } & Codec;

/** What is compared: how the peer builds its package, and how many files a package has by the peer's own listing. Other formats join here. */
type Contest = {
  readonly format: string;
  readonly peer: string;
  /** Prepares the peer outside the measurement and returns its command and where the package will be. */
  readonly prepare: (one: Case) => Promise<{ readonly argv: readonly string[]; readonly path: string }>;
  readonly countFiles: (path: string) => Promise<number>;
};

const commandTimeoutMs = 600_000;
const run = (argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> =>
  requireCommand(argv, { timeoutMs: commandTimeoutMs, outputLimit: 16 * 1024 * 1024, env: { ...cleanEnvironment(), ...env } });
const lines = (text: string): readonly string[] => text.split("\n").filter((line) => line !== "");

const contests: readonly Contest[] = [
  {
    format: "deb",
    peer: "md5sum + dpkg-deb",
    prepare: async ({ tree, folder, codec, level }) => {
      await mkdir(join(tree, "DEBIAN"), { recursive: true });
      const control = "Package: bench\nVersion: 1.0.0\nArchitecture: all\nMaintainer: Bench <bench@example.test>\nDescription: Input of a benchmark\n";
      await writeFile(join(tree, "DEBIAN/control"), control);
      const path = join(folder, "peer.deb");
      // A deb has md5sums, which dpkg-deb leaves to its caller (dh_md5sums); without them the peer would build less than we do.
      const script = 'cd "$1" && find opt -type f -exec md5sum {} + > DEBIAN/md5sums && exec dpkg-deb --root-owner-group "$2" "$3" -b . "$4"';
      return { argv: ["sh", "-c", script, "sh", tree, `-Z${codec}`, `-z${level}`, path], path };
    },
    countFiles: async (path) => lines(await run(["dpkg-deb", "-c", path])).filter((line) => line.startsWith("-")).length,
  },
  {
    format: "rpm",
    peer: "rpmbuild",
    prepare: async ({ tree, folder, codec, level }) => {
      // Given the tree as build root and told to leave out every check, so that only packing is measured.
      const spec = ["Name: bench", "Version: 1.0.0", "Release: 1", "Summary: Input of a benchmark", "License: MIT", "BuildArch: noarch", "AutoReqProv: no"];
      await writeFile(join(folder, "bench.spec"), [...spec, "%description", "Text.", "%files", "/opt/bench", ""].join("\n"));
      const payload = codec === "gzip" ? `w${level}.gzdio` : `w${level}.zstdio`;
      const defines = [
        `_topdir ${folder}/top`,
        `_binary_payload ${payload}`,
        "__os_install_post %{nil}",
        "__spec_install_pre %{___build_pre}",
        "_build_id_links none",
      ];
      const argv = [
        "rpmbuild",
        "-bb",
        "--quiet",
        "--noclean",
        "--buildroot",
        tree,
        ...defines.flatMap((define) => ["--define", define]),
        join(folder, "bench.spec"),
      ];
      return { argv, path: join(folder, "top/RPMS/noarch/bench-1.0.0-1.noarch.rpm") };
    },
    countFiles: async (path) =>
      lines(await run(["rpm", "-qp", "--nosignature", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]", path])).filter((line) => line.startsWith("-")).length,
  },
];

const compressions: readonly Codec[] = [
  { codec: "gzip", level: 6 },
  { codec: "zstd", level: 3 },
];
const { values: flags } = parseArgs({ options: { pairs: { type: "string", default: "3" }, only: { type: "string" } } });
const pairs = Number(flags.pairs);
if (!Number.isInteger(pairs) || pairs < 1) throw new Error("--pairs wants a whole number from 1");
const root = await mkdtemp(join(tmpdir(), "slipway-bench-"));

type Figure = { readonly cpuSeconds: number; readonly wallSeconds: number; readonly peakRssBytes: number; readonly sizeBytes: number };

type Result = Figure & { readonly tool: string };

/** Runs a command under GNU time. */
async function measure(argv: readonly string[], path: string, folder: string): Promise<Figure> {
  await rm(path, { force: true });
  const report = join(folder, "time");
  await run(["time", "-o", report, "-f", "%U %S %e %M", "--", ...argv], { NODE_COMPILE_CACHE: join(root, "compile-cache") });
  const [user = 0, system = 0, wallSeconds = 0, kilobytes = 0] = (await readFile(report, "utf8")).trim().split(" ").map(Number);
  return { cpuSeconds: Math.round(100 * (user + system)) / 100, wallSeconds, peakRssBytes: kilobytes * 1024, sizeBytes: (await stat(path)).size };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** All pairs of one case; throws before anything is printed when a package lacks files. */
async function compete(contest: Contest, input: InputName, compression: Codec): Promise<readonly Result[]> {
  const folder = await mkdtemp(join(root, "run-"));
  const tree = join(root, input);
  const own = join(folder, `own.${contest.format}`);
  const writer = resolve(import.meta.dirname, "package-writer.ts");
  const results: Result[] = [];
  for (let pair = 0; pair < pairs; pair += 1) {
    await rm(join(tree, "DEBIAN"), { recursive: true, force: true }); // the peer's control files are no payload of ours
    const ownArgv = [process.execPath, writer, tree, contest.format, compression.codec, String(compression.level), own];
    const ownFigure = await measure(ownArgv, own, folder);
    const peer = await contest.prepare({ input, tree, folder, ...compression });
    const peerFigure = await measure(peer.argv, peer.path, folder);
    for (const built of [own, peer.path]) {
      const count = await contest.countFiles(built);
      if (count !== fileCount(input)) throw new Error(`${built} has ${count} files; expected ${fileCount(input)}`);
    }
    results.push({ tool: "slipway", ...ownFigure }, { tool: contest.peer, ...peerFigure });
  }
  await rm(join(tree, "DEBIAN"), { recursive: true, force: true });
  await rm(folder, { recursive: true, force: true });
  return results;
}

function tableRow(title: string, tool: string, results: readonly Result[]): readonly string[] {
  const middle = (key: keyof Figure): number => median(results.filter((result) => result.tool === tool).map((result) => result[key]));
  const megabytes = (key: keyof Figure, digits: number): string => (middle(key) / 1e6).toFixed(digits);
  return [title, tool, middle("cpuSeconds").toFixed(2), middle("wallSeconds").toFixed(2), megabytes("peakRssBytes", 0), megabytes("sizeBytes", 2)];
}

function printTable(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows) {
    const cells = row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)));
    process.stdout.write(`${cells.join("  ")}\n`);
  }
}

const rows: (readonly string[])[] = [["input", "tool", "CPU s", "wall s", "peak MB", "size MB"]];
try {
  for (const input of inputNames) await writeInput(join(root, input), input);
  for (const contest of contests.filter(({ format }) => flags.only === undefined || flags.only === format)) {
    for (const input of inputNames) {
      for (const compression of compressions) {
        const results = await compete(contest, input, compression);
        for (const result of results) {
          process.stdout.write(`${JSON.stringify({ bench: "package", input, format: contest.format, ...compression, ...result })}\n`);
        }
        const title = `${input} ${contest.format} ${compression.codec} -${compression.level}`;
        rows.push(tableRow(title, "slipway", results), tableRow(title, contest.peer, results));
      }
    }
  }
} finally {
  await rm(root, { recursive: true, force: true });
}
process.stdout.write(`\nmedian of ${pairs} alternating pairs; ${cpus().length} x ${cpus()[0]?.model ?? "unknown processor"}; node ${process.version}\n`);
printTable(rows);
