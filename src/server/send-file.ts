/**
 * Sends part of a file as a response body: one file handle, two buffers that take turns (one is read into while the other is written out).
 *
 * Not `createReadStream().pipe()`: that moves half the bytes per second at three times the processor time (docs/benchmarks.md).
 * A slow reader is waited for, because the next write starts only when the kernel has taken the one before.
 */
import { type FileHandle, open } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import type { BufferBudget } from "./buffer-budget.ts";

export type SendFileOptions = {
  readonly path: string;
  /** First and last byte, both inclusive; `last` is inside the file. */
  readonly first: number;
  readonly last: number;
  /** Its head is written already, with the exact Content-Length. */
  readonly response: ServerResponse;
  readonly budget: BufferBudget;
  /** Awaited when everything but the last piece is out: the audit event is durable before the download is complete. */
  readonly beforeLast: () => Promise<void>;
  /** Asked before each piece; where it says no, the connection ends there. */
  readonly mayGoOn: () => Promise<boolean>;
};

export type Sent = { readonly bytes: number; readonly isComplete: boolean };

/**
 * Resolves with what the kernel took, also when the reader went away or may not go on. Rejects where the file cannot be read, is shorter than it was, or
 * `beforeLast` fails; the response is then destroyed, so that the reader cannot take a part for the whole.
 */
export async function sendFile(options: SendFileOptions): Promise<Sent> {
  const { response, budget } = options;
  const leave = budget.join();
  const gone = { isGone: response.destroyed };
  const onClose = (): void => {
    gone.isGone = true;
  };
  response.once("close", onClose);
  try {
    const handle = await open(options.path, "r");
    try {
      return await sendPieces(options, { handle, gone });
    } finally {
      await handle.close();
    }
  } catch (error) {
    response.destroy();
    throw error;
  } finally {
    response.removeListener("close", onClose);
    leave();
  }
}

async function sendPieces(options: SendFileOptions, at: { readonly handle: FileHandle; readonly gone: { readonly isGone: boolean } }): Promise<Sent> {
  const { response, budget, last } = options;
  const buffers: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)];
  let turn: 0 | 1 = 0;
  let position = options.first;
  let bytes = 0;
  let running: Promise<number> = Promise.resolve(0);
  while (position <= last && !at.gone.isGone) {
    const wanted = budget.bufferSize();
    if (buffers[turn].length !== wanted) buffers[turn] = Buffer.allocUnsafeSlow(wanted);
    const { bytesRead } = await at.handle.read(buffers[turn], 0, Math.min(wanted, last - position + 1), position);
    if (bytesRead === 0) throw new Error(`${options.path} ends at byte ${position}, before byte ${last}`);
    position += bytesRead;
    bytes += await running;
    if (!(await options.mayGoOn())) {
      response.destroy();
      return { bytes, isComplete: false };
    }
    if (position > last) await options.beforeLast();
    running = writePiece(response, buffers[turn].subarray(0, bytesRead));
    turn = turn === 0 ? 1 : 0;
  }
  bytes += await running;
  const isComplete = bytes === last - options.first + 1;
  if (isComplete) response.end();
  return { bytes, isComplete };
}

/** The bytes that the kernel took: all of them, or 0 where the connection broke. */
function writePiece(response: ServerResponse, piece: Buffer): Promise<number> {
  return new Promise((resolve) => {
    if (response.destroyed) {
      resolve(0);
      return;
    }
    // Node does not call back for a write that was waiting when the connection closed.
    const onClose = (): void => resolve(0);
    response.once("close", onClose);
    response.write(piece, (error) => {
      response.removeListener("close", onClose);
      resolve(error === undefined || error === null ? piece.length : 0);
    });
  });
}
