/** bench/upgrade.ts, deltas: ours, made and applied, against bsdiff and zstd on the same pair of files. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { applyDelta, type PositionedBytes } from "../src/formats/delta.ts";
import { runCommand } from "../src/io/command.ts";
import { hasProgram, measured, megabytes, mib, report, seconds, timed } from "./upgrade-measure.ts";

const deltaProgram = join(import.meta.dirname, "../tests/support/delta.ts");

/** Bytes that do not compress, the same for a seed. */
export function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed;
  for (let at = 0; at + 4 <= size; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}

/** Neighbouring builds of one program: code moved by an insertion, and addresses that shift with it. Real ones are given with --old FILE --new FILE. */
async function writePair(oldFile: string, newFile: string, isQuick: boolean): Promise<void> {
  const whole = await readFile(process.execPath);
  const old = whole.subarray(0, isQuick ? 4 * mib : 60 * mib);
  const at = Math.floor(old.length / 3);
  const fresh = Buffer.concat([old.subarray(0, at), noise(40_000, 9), old.subarray(at)]);
  for (let place = 64; place + 4 < fresh.length; place += 149) fresh.writeUInt32LE((fresh.readUInt32LE(place) + 40_000) >>> 0, place);
  await writeFile(oldFile, old);
  await writeFile(newFile, fresh);
}

async function readPositioned(path: string): Promise<PositionedBytes & { readonly close: () => Promise<void> }> {
  const handle = await open(path);
  const { size } = await handle.stat();
  return {
    size,
    read: async (from, length) => {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, from);
      assert.equal(bytesRead, length);
      return buffer;
    },
    close: () => handle.close(),
  };
}

export type DeltaBench = {
  readonly isQuick: boolean;
  /** Real neighbours, instead of a pair made here. */
  readonly old?: string | undefined;
  readonly new?: string | undefined;
};

export async function benchDeltas(folder: string, options: DeltaBench): Promise<void> {
  const [oldFile, newFile] = [options.old ?? join(folder, "old"), options.new ?? join(folder, "new")];
  const [delta, patch] = [join(folder, "delta"), join(folder, "patch")];
  if (options.old === undefined || options.new === undefined) await writePair(oldFile, newFile, options.isQuick);
  const full = await runCommand(["sh", "-c", 'gzip -6 < "$1" > "$2"', "sh", newFile, join(folder, "full.gz")], { timeoutMs: 600_000 });
  assert.equal(full.exitCode, 0);
  const fullBytes = (await stat(join(folder, "full.gz"))).size;
  const made = await measured([process.execPath, deltaProgram, oldFile, newFile, delta]);
  assert.equal(made.result.exitCode, 0, made.result.stderr);
  const hash = createHash("sha256");
  const [old, packed] = [await readPositioned(oldFile), await readPositioned(delta)];
  const applied = await timed(() => applyDelta({ delta: packed, old, limitBytes: 2 ** 40, sink: (piece) => void hash.update(piece) }));
  await old.close();
  const expected = createHash("sha256");
  for await (const piece of createReadStream(newFile) as AsyncIterable<Buffer>) expected.update(piece);
  assert.equal(hash.digest("hex"), expected.digest("hex"));
  const share = packed.size / fullBytes;
  await packed.close();
  report(
    "delta",
    `${(share * 100).toFixed(1)} % of gzip, made in ${seconds(made.cpuMs)} of CPU and ${megabytes(made.rssBytes)}, applied in ${seconds(applied.ms)}`,
    "20 %, memory bounded",
    { share, bytes: packed.size, fullBytes, makeMs: made.wallMs, makeCpuMs: made.cpuMs, makeRssBytes: made.rssBytes, applyMs: applied.ms },
  );
  const peers = { bsdiff: ["bsdiff", oldFile, newFile, patch], zstd: ["zstd", "-q", "-f", "-19", "--long=27", "--patch-from", oldFile, newFile, "-o", patch] };
  for (const [name, argv] of Object.entries(peers)) {
    if (!(await hasProgram(name))) {
      process.stderr.write(`${name} is not here: no figure of it\n`);
      continue;
    }
    const peer = await measured(argv);
    assert.equal(peer.result.exitCode, 0, peer.result.stderr);
    const bytes = (await stat(patch)).size;
    const ratio = packed.size / bytes;
    const [time, memory] = [made.cpuMs / peer.cpuMs, made.rssBytes / peer.rssBytes];
    report(
      `delta vs ${name}`,
      `${ratio.toFixed(2)} of its size, ${time.toFixed(2)} of its CPU time, ${memory.toFixed(2)} of its memory`,
      "1.10 (bsdiff), 0.75 (zstd)",
      {
        ratio,
        bytes,
        cpuMs: peer.cpuMs,
        rssBytes: peer.rssBytes,
      },
    );
  }
}
