/** Cargo.lock, versions 1 to 4 (The Cargo Book, "Cargo.toml vs Cargo.lock"). It does not say what only tests or builds need, so all of it is listed. */
import { z } from "zod";
import type { Component } from "../formats/bill-of-materials.ts";
import { packageUrl, vcsUrl } from "../formats/package-url.ts";
import { type LockFile, type LockReading, readLockToml, sha256Checksum } from "./lock-file-text.ts";

const word = z.string().min(1).max(1_000);
const lock = z.object({ package: z.array(z.object({ name: word, version: word, source: word.optional(), checksum: z.string().optional() })).default([]) });

/** Crates without a source are the project's own and are left out. */
export function readCargoLock(file: LockFile): LockReading {
  const components = readLockToml(file, lock).package.flatMap(({ name, version, source, checksum }): readonly Component[] => {
    if (source === undefined) return [];
    return [{ name, version, purl: cratePurl(name, version, source), checksums: sha256Checksum(checksum), origins: [file.name] }];
  });
  return {
    components,
    warnings: components.length === 0 ? [] : [`${file.name} does not tell build and test crates apart: all are listed; cargo auditable says it exactly`],
  };
}

/** `git+https://host/path?branch=main#<commit>` says where from; registries are named by nobody outside. */
export function cratePurl(name: string, version: string, source: string): string {
  const git = /^git\+([^#?]+)[^#]*#([0-9a-f]+)$/.exec(source);
  const vcs = git?.[1] === undefined ? undefined : vcsUrl(git[1], git[2]);
  return packageUrl({ ecosystem: "cargo", name, version, ...(vcs === undefined ? {} : { qualifiers: { vcs_url: vcs } }) });
}
