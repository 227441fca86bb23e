/** How bench/upgrade.ts measures: whole processes by CPU, wall time and memory, medians of runs, one JSON line per figure and a table in the end. */
import { loadavg } from "node:os";
import { performance } from "node:perf_hooks";
import { type CommandResult, cleanEnvironment, runCommand } from "../src/io/command.ts";

export const mib = 1024 * 1024;
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
export const megabytes = (bytes: number): string => `${(bytes / mib).toFixed(1)} MiB`;

export async function timed<T>(work: () => Promise<T>): Promise<{ readonly ms: number; readonly result: T }> {
  const from = performance.now();
  const result = await work();
  return { ms: performance.now() - from, result };
}

export const hasProgram = async (name: string): Promise<boolean> => (await runCommand(["sh", "-c", `command -v ${name}`], { timeoutMs: 5_000 })).exitCode === 0;

export type Measured = { readonly wallMs: number; readonly cpuMs: number; readonly rssBytes: number; readonly result: CommandResult };

/** bash counts user and system time in milliseconds, where GNU time has hundredths of a second; that one knows the largest resident size. */
const stopwatch = ["/usr/bin/time", "-f", "MEMORY %M", "bash", "-c", `TIMEFORMAT='TIMES %3R %3U %3S'; time "$@"`, "bash"];

/** A whole process, started anew. Look at `result.exitCode`. */
export async function measured(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Measured> {
  const result = await runCommand([...stopwatch, ...argv], { timeoutMs: 900_000, env: { ...cleanEnvironment(), ...env } });
  const [, wall, user, system] = /^TIMES ([\d.]+) ([\d.]+) ([\d.]+)$/m.exec(result.stderr) ?? [];
  const [, kib] = /^MEMORY (\d+)$/m.exec(result.stderr) ?? [];
  if (wall === undefined || kib === undefined) throw new Error(`${argv.join(" ")}: bash and GNU time said nothing: ${result.stderr}`);
  return { wallMs: Number(wall) * 1000, cpuMs: (Number(user) + Number(system)) * 1000, rssBytes: Number(kib) * 1024, result };
}

export const median = (values: readonly number[]): number => values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Several commands in turn, so that what else the machine does falls on all of them; a first round warms caches and does not count. */
export async function inTurn(
  commands: readonly (readonly string[])[],
  rounds: number,
): Promise<readonly { readonly cpuMs: number; readonly wallMs: number }[]> {
  const runs = commands.map((): Measured[] => []);
  for (let round = 0; round <= rounds; round += 1) {
    for (const [index, argv] of commands.entries()) {
      const one = await measured(argv);
      if (one.result.exitCode !== 0) throw new Error(`${argv.join(" ")} ended with ${one.result.exitCode}: ${one.result.stderr}`);
      if (round > 0) runs[index]?.push(one);
    }
  }
  return runs.map((list) => ({ cpuMs: median(list.map(({ cpuMs }) => cpuMs)), wallMs: median(list.map(({ wallMs }) => wallMs)) }));
}

const rows: { readonly what: string; readonly value: string; readonly goal: string }[] = [];

export function report(what: string, value: string, goal: string, data: Readonly<Record<string, number>>): void {
  rows.push({ what, value, goal });
  process.stdout.write(`${JSON.stringify({ bench: what, ...data, load: loadavg()[0] })}\n`);
}

export function printTable(): void {
  const widths = [Math.max(...rows.map(({ what }) => what.length)), Math.max(...rows.map(({ value }) => value.length))] as const;
  for (const { what, value, goal } of rows) process.stdout.write(`${what.padEnd(widths[0])}  ${value.padEnd(widths[1])}  goal: ${goal}\n`);
}
