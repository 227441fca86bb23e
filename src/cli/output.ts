/** What a command prints: text, tables and progress for people, or JSON lines with --json; data on stdout, everything else on stderr. */
import colors from "picocolors";

export type Progress = { readonly update: (done: number, note?: string) => void; readonly end: (note?: string) => void };

export type Output = {
  readonly isJson: boolean;
  /** A line for people; nothing with --json. */
  readonly line: (text?: string) => void;
  /** A line on stderr for people: what is being done, warnings. Nothing with --json. */
  readonly note: (text: string) => void;
  /** An event of a long command: one JSON line with --json, nothing otherwise. */
  readonly event: (event: Readonly<Record<string, unknown>>) => void;
  /** The command's result: one JSON document on one line with --json, nothing otherwise. */
  readonly result: (value: unknown) => void;
  /** Columns for people; nothing with --json. */
  readonly table: (header: readonly string[], rows: readonly (readonly string[])[]) => void;
  /** A progress bar on a terminal, events with --json, one line at the end otherwise. `total` in any unit. */
  readonly progress: (label: string, total: number) => Progress;
  readonly colors: typeof colors;
};

type Streams = { readonly stdout: NodeJS.WriteStream; readonly stderr: NodeJS.WriteStream };

const barCells = 24;

function writeLine(stream: NodeJS.WriteStream, text: string): void {
  stream.write(`${text}\n`);
}

export function createOutput(isJson: boolean, streams: Streams = process): Output {
  const isTerminal = streams.stderr.isTTY && !isJson;
  return {
    isJson,
    colors,
    line: (text = "") => {
      if (!isJson) writeLine(streams.stdout, text);
    },
    note: (text) => {
      if (!isJson) writeLine(streams.stderr, text);
    },
    event: (event) => {
      if (isJson) writeLine(streams.stdout, JSON.stringify(event));
    },
    result: (value) => {
      if (isJson) writeLine(streams.stdout, JSON.stringify(value));
    },
    table: (header, rows) => {
      if (isJson) return;
      for (const line of formatTable(header, rows)) writeLine(streams.stdout, line);
    },
    progress: (label, total) => createProgress({ label, total, isTerminal, isJson, streams }),
  };
}

/** Columns padded to their widest cell, with two spaces between; the header in bold. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const widths = header.map((cell, column) => Math.max(cell.length, ...rows.map((row) => (row[column] ?? "").length)));
  const pad = (row: readonly string[]): string =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join("  ")
      .trimEnd();
  return [colors.bold(pad(header)), ...rows.map(pad)];
}

function createProgress(options: { label: string; total: number; isTerminal: boolean; isJson: boolean; streams: Streams }): Progress {
  const { label, total, isTerminal, isJson, streams } = options;
  let shown = 0;
  const draw = (done: number, note: string): void => {
    const share = total === 0 ? 1 : Math.min(1, done / total);
    const cells = Math.round(share * barCells);
    const bar = `${"█".repeat(cells)}${"░".repeat(barCells - cells)}`;
    streams.stderr.write(`\r\u001b[K${label} ${bar} ${String(Math.floor(share * 100)).padStart(3)} % ${note}`);
  };
  return {
    update: (done, note = "") => {
      const now = performance.now();
      if (now - shown < 80 && done < total) return; // 12 frames a second are enough for an eye
      shown = now;
      if (isTerminal) draw(done, note);
      else if (isJson) streams.stdout.write(`${JSON.stringify({ event: "progress", label, done, total, ...(note === "" ? {} : { note }) })}\n`);
    },
    end: (note = "") => {
      if (isTerminal) streams.stderr.write("\r\u001b[K");
      if (!isJson) streams.stderr.write(`${label}${note === "" ? "" : ` ${note}`}\n`);
    },
  };
}

/** `12.3 MB`: decimal units, as disks and download pages use them. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? "B"}`;
}
