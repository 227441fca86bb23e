/** Deltas of large files are made and applied in memory that does not grow with them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test, type TestContext } from "node:test";
import { applyDelta, type PositionedBytes } from "../../src/formats/delta.ts";
import { runCommand } from "../../src/io/command.ts";

const mib = 1024 * 1024;
const program = join(import.meta.dirname, "../support/delta.ts");

/** A program of that many bytes, made of this very Node; `isNew`: compiled again, with something inserted and every address moved. */
async function* programBytes(size: number, isNew: boolean): AsyncGenerator<Buffer> {
  let done = 0;
  for (let copy = 0; done < size; copy += 1) {
    for await (const read of createReadStream(process.execPath, { highWaterMark: mib }) as AsyncIterable<Buffer>) {
      const piece = Buffer.from(read.subarray(0, Math.min(read.length, size - done)));
      if (piece.length === 0) break;
      for (let at = 0; at < piece.length; at += 509) piece[at] = (piece[at] ?? 0) ^ copy; // a second copy is another program
      if (isNew && done === 0) yield Buffer.alloc(4_000, "inserted");
      if (isNew) for (let at = 64; at + 4 < piece.length; at += 997) piece.writeUInt32LE((piece.readUInt32LE(at) + 4_000) >>> 0, at);
      yield piece;
      done += piece.length;
    }
  }
}

async function positioned(t: TestContext, path: string): Promise<PositionedBytes> {
  const handle = await open(path);
  t.after(() => handle.close());
  return {
    size: (await handle.stat()).size,
    read: async (offset, length) => (await handle.read(Buffer.alloc(length), 0, length, offset)).buffer,
  };
}

test("a delta of 320 MiB is made in the memory that one of 64 MiB takes, at most a fifth of the compressed size, and applied in less", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "slipway-delta-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const [old, fresh, delta] = [join(folder, "old"), join(folder, "new"), join(folder, "delta")];
  const peaks: number[] = [];
  for (const size of [64 * mib, 320 * mib]) {
    for (const [path, isNew] of [
      [old, false],
      [fresh, true],
    ] as const)
      await pipeline(Readable.from(programBytes(size, isNew)), createWriteStream(path));
    const made = await runCommand(["/usr/bin/time", "-f", "KIB %M", process.execPath, "--disable-warning=ExperimentalWarning", program, old, fresh, delta], {
      timeoutMs: 1_500_000,
    });
    assert.equal(made.exitCode, 0, made.stderr);
    peaks.push(Number(/KIB (\d+)/.exec(made.stderr)?.[1]) * 1024);
    const packed = await runCommand(["sh", "-c", 'gzip -1 < "$1" | wc -c', "sh", fresh], { timeoutMs: 600_000 });
    const share = (await stat(delta)).size / Number(packed.stdout);
    t.diagnostic(`${size / mib} MiB: ${(share * 100).toFixed(1)} % of gzip -1, peak ${((peaks.at(-1) ?? 0) / mib).toFixed(0)} MiB`);
    assert.ok(share <= 0.2, `${share}`);
  }
  const [small = 0, large = 0] = peaks;
  assert.ok(large < 400 * mib, `${large / mib} MiB`);
  assert.ok(large < small * 1.25, `${small / mib} and ${large / mib} MiB`);
  const [made, wanted] = [createHash("sha256"), createHash("sha256")];
  const before = process.memoryUsage.rss();
  let peak = 0;
  await applyDelta({
    delta: await positioned(t, delta),
    old: await positioned(t, old),
    limitBytes: 2 ** 40,
    sink: (piece) => {
      made.update(piece);
      peak = Math.max(peak, process.memoryUsage.rss());
    },
  });
  for await (const piece of createReadStream(fresh) as AsyncIterable<Buffer>) wanted.update(piece);
  assert.equal(made.digest("hex"), wanted.digest("hex"));
  assert.ok(peak - before < 150 * mib, `applying took ${(peak - before) / mib} MiB more`);
});
