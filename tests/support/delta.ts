/** Deltas for tests and benchmarks: of bytes in memory, and, run as a program, of two files: `node delta.ts OLD NEW OUT`. */
import { createReadStream, createWriteStream, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { deltaHeaderBytes } from "../../src/formats/delta.ts";
import { makeDelta } from "../../src/formats/delta-make.ts";
import type { SteadyBytes } from "../../src/formats/delta-pages.ts";
import { writeFileAtomic } from "../../src/io/atomic-file.ts";
import { openSegments } from "../../src/io/segments.ts";
import { createSpool } from "../../src/io/spool.ts";

const steady = (bytes: Uint8Array): SteadyBytes => ({ size: bytes.length, readInto: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)) });

export async function deltaOf({ old, new: fresh, level }: { readonly old: Uint8Array; readonly new: Uint8Array; readonly level?: number }): Promise<Buffer> {
  const streams: Buffer[][] = [[], [], []];
  const sink = (index: number) => (piece: Uint8Array) => void streams[index]?.push(Buffer.from(piece));
  const header = await makeDelta({
    old: steady(old),
    new: steady(fresh),
    streams: { control: sink(0), differences: sink(1), extra: sink(2) },
    ...(level === undefined ? {} : { level }),
  });
  return Buffer.concat([header, ...streams.flat()]);
}

/** Writes the delta beside nothing that is held in memory. */
async function deltaFile(oldPath: string, newPath: string, out: string): Promise<void> {
  const open = (path: string) => openSegments(path, [{ offset: 0, size: statSync(path).size }]);
  const [old, fresh] = [open(oldPath), open(newPath)];
  const parts = ["control", "differences", "extra"].map((name) => `${out}.${name}`);
  const [control, differences, extra] = await Promise.all(parts.map(createSpool));
  if (control === undefined || differences === undefined || extra === undefined) throw new Error("three streams");
  const header = await makeDelta({ old, new: fresh, streams: { control: control.write, differences: differences.write, extra: extra.write } });
  await writeFileAtomic(out, header);
  for (const [index, spool] of [control, differences, extra].entries()) {
    await spool.finish();
    await pipeline(createReadStream(parts[index] ?? ""), createWriteStream(out, { flags: "a" }));
    await rm(parts[index] ?? "");
  }
  if (statSync(out).size < deltaHeaderBytes) throw new Error("no delta");
  old.close();
  fresh.close();
}

if (import.meta.main) await deltaFile(process.argv[2] ?? "", process.argv[3] ?? "", process.argv[4] ?? "");
