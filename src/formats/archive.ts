/** What the archive writers (tar and zip) are given and what they report: plain files for people, without package metadata. */
import { createHash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { hasControlCharacter } from "./entry-path.ts";
import type { ByteSource } from "./package.ts";

export type ArchiveEntry =
  | { readonly kind: "file"; readonly path: string; readonly mode: number; readonly source: ByteSource }
  | { readonly kind: "directory"; readonly path: string; readonly mode: number }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string };

/** One file as the release's manifest lists it. */
export type ArchivedFile = { readonly path: string; readonly sha256: string; readonly mode: number; readonly size: number };

/** Paths are relative and normalised: `jaco/bin/jaco`; each once. Throws `path_unsafe`. */
export function checkArchivePaths(entries: readonly ArchiveEntry[]): void {
  const seen = new Set<string>();
  for (const { path } of entries) {
    const isNormal = path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
    if (!isNormal || hasControlCharacter(path) || path.includes("\\") || /^[A-Za-z]:/.test(path) || seen.has(path)) {
      throw new SlipwayError("path_unsafe", `refusing the archive path ${JSON.stringify(path.slice(0, 200))}`);
    }
    seen.add(path);
  }
}

/** A source whose bytes are hashed while a writer takes them; `sha256` is to be asked afterwards. */
export function hashedSource(source: ByteSource): { readonly source: ByteSource; readonly sha256: () => string } {
  const hash = createHash("sha256");
  const open = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of source.open()) {
      hash.update(piece);
      yield piece;
    }
  };
  return { source: { size: source.size, open }, sha256: () => hash.digest("hex") };
}
