/** Compression by the `xz` program: Node has no xz of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { SlipwayError } from "../model/errors.ts";
import { cleanEnvironment } from "./command.ts";

/** Where the compressed bytes go: same shape as the formats' ByteSink. */
type Sink = (piece: Uint8Array) => Promise<void> | void;

/** Same shape as the formats' Compressor. */
type XzCompressor = { readonly write: (piece: Uint8Array) => Promise<void>; readonly end: () => Promise<void> };

/** What is written down of the program's complaint, in letters. */
const complaintLimit = 1_000;

/** The programs that one piece of work started: `end` kills those that it left, after a failure of its own, waiting for more. */
export function openXzPrograms(): { readonly makeCompressor: (level: number, sink: Sink) => XzCompressor; readonly end: () => void } {
  const started: ChildProcess[] = [];
  return {
    makeCompressor: (level, sink) => startXz(level, sink, started),
    end: () => {
      for (const child of started) if (child.exitCode === null) child.kill("SIGKILL");
    },
  };
}

/**
 * Starts `xz` at a level from 0 to 9. One thread, because more than one cuts the input into blocks whose number depends on the machine: so the
 * same input gives the same bytes (of one version of xz). A sink that fails, a missing program and one that fails (`command_failed`) fail the
 * next `write` or `end`; the program is ended then.
 */
function startXz(level: number, sink: Sink, started: ChildProcess[]): XzCompressor {
  const child = spawn("xz", ["--compress", "--stdout", "--threads=1", `-${level}`], { env: cleanEnvironment(), stdio: ["pipe", "pipe", "pipe"] });
  started.push(child);
  let failure: unknown;
  const fail = (error: unknown): void => {
    failure ??= error;
    child.kill("SIGKILL");
  };
  child.on("error", (error) => {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const options = isMissing
      ? { cause: error, hint: "install xz-utils (Debian, Ubuntu) or xz (Fedora, Alpine, macOS), or use gzip or zstd" }
      : { cause: error };
    fail(
      new SlipwayError("command_failed", isMissing ? "compression: xz needs the program xz, which is not here" : `cannot run xz: ${error.message}`, options),
    );
  });
  child.stdin.on("error", () => undefined); // the program's own end says more than EPIPE
  let complaint = "";
  child.stderr.on("data", (piece: Buffer) => {
    complaint = (complaint + piece.toString("utf8")).slice(0, complaintLimit);
  });
  const closed = once(child, "close").then(([code, signal]: unknown[]) => {
    if (code !== 0) fail(new SlipwayError("command_failed", `xz: ${complaint.trim() || `exit ${String(code ?? signal)}`}`));
  }, fail);
  const drained = (async () => {
    try {
      for await (const piece of child.stdout) await sink(piece as Buffer);
    } catch (error) {
      fail(error);
    }
  })();
  const finished = Promise.all([closed, drained]);
  const requireNoFailure = (): void => {
    if (failure !== undefined) throw failure;
  };
  return {
    write: async (piece) => {
      requireNoFailure();
      // A copy: the program reads when it likes, and the caller fills its buffer again.
      if (!child.stdin.write(Uint8Array.from(piece))) await Promise.race([once(child.stdin, "drain").catch(() => finished), finished]);
      requireNoFailure();
    },
    end: async () => {
      child.stdin.end();
      await finished;
      requireNoFailure();
    },
  };
}
