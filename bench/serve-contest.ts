/** Two servers in turn on one figure: medians, ratios pair by pair, one JSON line per figure and the table of docs/benchmarks.md. */
import { loadavg } from "node:os";
import { readLoad } from "./serve-load.ts";
import { cpuSeconds, program, round, type Side } from "./serve-side.ts";

/** `cpu`: seconds of the server's own processor time while it was measured. */
export type Sample = { readonly requests: number; readonly wall: number; readonly cpu: number; readonly bytes: number; readonly p99Ms?: number };

/** A small document over and over. Throws where any request fails: a rate with refusals in it says nothing. */
export async function measureSmall(
  side: Side,
  load: {
    readonly folder: string;
    readonly url: string;
    readonly size: number;
    readonly connections: number;
    readonly seconds: number;
    readonly accept?: string;
  },
): Promise<Sample> {
  const { size, ...rest } = load;
  const cpu = await cpuSeconds(side.pid);
  const done = await readLoad({ wrk: program("wrk"), authorization: side.authorization, ...rest });
  if (done.failures > 0) throw new Error(`${side.name}: ${done.failures} failed requests`);
  return { requests: done.requests, wall: done.seconds, cpu: (await cpuSeconds(side.pid)) - cpu, p99Ms: done.p99Ms, bytes: done.requests * size };
}

const median = (numbers: readonly number[]): number => numbers.toSorted((left, right) => left - right)[Math.floor(numbers.length / 2)] ?? Number.NaN;

/** `measure` on each side in turn. */
export type Figure<S extends Side> = {
  readonly bench: string;
  readonly unit: "requests/s" | "MB/s";
  readonly rate: (sample: Sample) => number;
  readonly measure: (side: S) => Promise<Sample>;
};

export const requestRate = (sample: Sample): number => sample.requests / sample.wall;
export const byteRate = (sample: Sample): number => sample.bytes / sample.wall / 1e6;

/** Medians of one side. */
type Summary = { readonly rate: number; readonly p99Ms: number | undefined; readonly cpuUsPerRequest: number; readonly cpuMsPerGb: number };

function summarize(figure: Pick<Figure<Side>, "rate">, samples: readonly Sample[]): Summary {
  const p99s = samples.flatMap((sample) => (sample.p99Ms === undefined ? [] : [sample.p99Ms]));
  return {
    rate: round(median(samples.map(figure.rate))),
    p99Ms: p99s.length === 0 ? undefined : round(median(p99s)),
    cpuUsPerRequest: round(median(samples.map((sample) => (sample.cpu * 1e6) / sample.requests))),
    cpuMsPerGb: round(median(samples.map((sample) => (sample.cpu * 1e12) / sample.bytes))),
  };
}

export type Result = {
  readonly figure: Pick<Figure<Side>, "bench" | "unit">;
  readonly peer: string;
  readonly us: Summary;
  readonly them: Summary;
  readonly ratios: readonly number[];
};

/** A B A B …, one JSON line at the end; `answered`: how many requests ours answered, the warm-up included. */
export async function contest<S extends Side>(
  figure: Figure<S>,
  at: { readonly ours: S; readonly peer: S; readonly pairs: number },
): Promise<{ readonly answered: number; readonly result: Result }> {
  const { ours, peer, pairs } = at;
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
  printLine(result, at);
  return { answered, result };
}

function printLine({ figure, us, them, ratios }: Result, at: { readonly ours: Side; readonly peer: Side; readonly pairs: number }): void {
  const line = {
    bench: `serve-${figure.bench}`,
    n: at.pairs,
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
export function printTable(results: readonly Result[]): void {
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
