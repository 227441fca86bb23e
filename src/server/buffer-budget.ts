/**
 * How large the buffers of a download may be: 1 MiB while few run, less when many do, so that all of them together stay within a budget.
 *
 * Measured (docs/benchmarks.md): 1 MiB buffers move a third more bytes per second than 64 KiB ones, but 1,000 slow readers of 1 MiB hold 2 GiB.
 */

export type BufferBudget = {
  /** Call once per download; the returned function gives the share back and may be called twice. */
  readonly join: () => () => void;
  /** Bytes for one buffer of a download right now; each download holds two. */
  readonly bufferSize: () => number;
  readonly running: () => number;
};

export const smallestBuffer = 64 * 1024;
export const largestBuffer = 1024 * 1024;
const buffersPerDownload = 2;

export function createBufferBudget(totalBytes: number): BufferBudget {
  let running = 0;
  return {
    join: () => {
      running += 1;
      let isJoined = true;
      return () => {
        if (isJoined) running -= 1;
        isJoined = false;
      };
    },
    bufferSize: () => {
      const share = totalBytes / buffersPerDownload / Math.max(1, running);
      const power = 2 ** Math.floor(Math.log2(Math.max(1, share)));
      return Math.min(largestBuffer, Math.max(smallestBuffer, power));
    },
    running: () => running,
  };
}
