/** The xz program as a compressor: streams, gives the same bytes however the input is cut, and fails with words. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { openXzPrograms } from "../../src/io/xz-program.ts";
import { needClient } from "../support/clients.ts";

async function compressed(input: Uint8Array, pieceSize: number): Promise<Buffer> {
  const programs = openXzPrograms();
  const pieces: Uint8Array[] = [];
  const compressor = programs.makeCompressor(1, (piece) => void pieces.push(Uint8Array.from(piece)));
  const block = Buffer.alloc(pieceSize);
  for (let at = 0; at < input.length; at += pieceSize) {
    // The same buffer again and again, as the writers do.
    const size = Math.min(pieceSize, input.length - at);
    block.set(input.subarray(at, at + size));
    await compressor.write(block.subarray(0, size));
  }
  await compressor.end();
  programs.end();
  return Buffer.concat(pieces);
}

test("what xz packed unpacks to the input, and any cut of it gives the same bytes", async (t) => {
  if (!needClient(t, "xz")) return;
  const input = Buffer.from("0123456789abcdef and more".repeat(200_000));
  const whole = await compressed(input, input.length);
  assert.deepEqual(execFileSync("xz", ["-dc"], { input: whole, maxBuffer: 2 * input.length }), input);
  for (const size of [1_000, 65_537]) assert.deepEqual(await compressed(input, size), whole);
  assert.deepEqual(execFileSync("xz", ["-dc"], { input: await compressed(Buffer.alloc(0), 1) }), Buffer.alloc(0));
});

test("a sink that fails ends the program with its own error, and a program that nobody ends is ended", async (t) => {
  if (!needClient(t, "xz")) return;
  const programs = openXzPrograms();
  t.after(programs.end);
  const failing = programs.makeCompressor(0, () => {
    throw new Error("no space");
  });
  await assert.rejects(async () => {
    for (let count = 0; count < 10_000; count += 1) await failing.write(Buffer.alloc(65_536, count));
    await failing.end();
  }, /no space/);
  const abandoned = programs.makeCompressor(0, () => undefined);
  await abandoned.write(Buffer.from("x"));
  programs.end();
  await assert.rejects(abandoned.end(), { code: "command_failed", message: "xz: exit SIGKILL" });
});
