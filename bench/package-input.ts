/** The input of the package benchmark: seeded, so that every run and every machine packs the same bytes. */
import { mkdir, open, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

export const inputNames = ["big", "small"] as const;
export type InputName = (typeof inputNames)[number];

/** 100 MB in four files, and 12 MB in 2,000 files over 40 folders. */
const shapes = {
  big: { files: 4, sizeBytes: 25 * 1024 * 1024, folder: () => "" },
  small: { files: 2_000, sizeBytes: 6 * 1024, folder: (place: number) => `d${String(place % 40).padStart(2, "0")}/` },
} as const;

export function fileCount(name: InputName): number {
  return shapes[name].files;
}

/** xorshift32: good enough for test bytes, the same everywhere. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Bytes that compress about as programs do (gzip -6 to some 40 %): repeated words of a changing dictionary with noise between. */
function fill(piece: Buffer, random: () => number, words: readonly Buffer[]): void {
  for (let at = 0; at < piece.length; ) {
    const word = words[random() % words.length] ?? Buffer.alloc(1);
    if (random() % 3 === 0) {
      piece[at] = random() & 0xff;
      at += 1;
    } else {
      at += word.copy(piece, at);
    }
  }
}

/** Writes the tree below `root`, which then is what a package's files are: `root/opt/bench/…`. */
export async function writeInput(root: string, name: InputName): Promise<void> {
  const random = randomFrom(name === "big" ? 0x51a7 : 0xbeef);
  const shape = shapes[name];
  const words = Array.from({ length: 4_096 }, () => Buffer.from(Array.from({ length: 2 + (random() % 14) }, () => random() & 0xff)));
  const piece = Buffer.alloc(Math.min(shape.sizeBytes, 1024 * 1024));
  for (let place = 0; place < shape.files; place += 1) {
    const path = join(root, "opt/bench", `${shape.folder(place)}f${String(place).padStart(4, "0")}`);
    await mkdir(dirname(path), { recursive: true });
    if (piece.length === shape.sizeBytes) {
      fill(piece, random, words);
      await writeFile(path, piece, { mode: 0o644 });
      continue;
    }
    const handle = await open(path, "w", 0o644);
    for (let written = 0; written < shape.sizeBytes; written += piece.length) {
      fill(piece, random, words);
      await handle.write(piece);
    }
    await handle.close();
  }
}
