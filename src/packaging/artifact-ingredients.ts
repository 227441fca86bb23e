/** What the bytes of an artifact depend on, as one digest: two attempts with the same one would write the same bytes. */
import { createHash, hash } from "node:crypto";
import type { ArchiveEntry } from "../formats/archive.ts";
import { pourHashed } from "../formats/byte-source.ts";
import type { ByteSource, PackageEntry } from "../formats/package.ts";

type Entry = PackageEntry | ArchiveEntry;

export type Ingredients = {
  /** Of the artifact. */
  readonly name: string;
  readonly entries: readonly Entry[];
  /** Everything else, as JSON can say it. */
  readonly facts: unknown;
};

/** SHA-256 in hex of each file's content, by its path. */
export type ContentDigests = ReadonlyMap<string, string>;

/** The entries with sources that are hashed while a writer reads them: what was written is what is digested, whatever the disk says later. */
export function recordContents<E extends Entry>(entries: readonly E[]): { readonly entries: readonly E[]; readonly digests: ContentDigests } {
  const digests = new Map<string, string>();
  const recorded = (path: string, { size, open, lend }: ByteSource): ByteSource => ({
    size,
    ...(lend === undefined
      ? {}
      : {
          lend: () => {
            const lent = lend();
            digests.set(path, hash("sha256", lent.bytes));
            return lent;
          },
        }),
    open: async function* () {
      const running = createHash("sha256");
      for await (const piece of open()) {
        running.update(piece);
        yield piece;
      }
      digests.set(path, running.digest("hex"));
    },
  });
  return { entries: entries.map((entry) => (entry.kind === "file" ? { ...entry, source: recorded(entry.path, entry.source) } : entry)), digests };
}

/** The same of files that nobody writes now. Throws `source_unusable` for one that changes meanwhile. */
export async function readContents(entries: readonly Entry[]): Promise<ContentDigests> {
  const digests = new Map<string, string>();
  for (const entry of entries) {
    if (entry.kind !== "file") continue;
    digests.set(entry.path, await pourHashed(entry.source, () => undefined, { name: entry.path, algorithm: "sha256" }));
  }
  return digests;
}

/** 64 hex digits. */
export function ingredientsDigest({ name, entries, facts }: Ingredients, contents: ContentDigests): string {
  const files = entries.map((entry) => ({
    ...entry,
    source: entry.kind === "file" ? { size: entry.source.size, sha256: contents.get(entry.path) } : undefined,
  }));
  return createHash("sha256")
    .update(JSON.stringify([name, facts, files]))
    .digest("hex");
}
