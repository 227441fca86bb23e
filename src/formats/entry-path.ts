/** The order and the parents of package entries: byte order of the path, which puts every folder before its contents. */
import assert from "node:assert/strict";
import { SlipwayError } from "../model/errors.ts";
import type { PackageEntry } from "./package.ts";

/** Surrogates stand before U+E000 and their UTF-8 form behind it: below them, the order of code units is the order of bytes. */
const unlikeBytes = /[\uD800-\uFFFF]/;

/** Byte order of the UTF-8 form; the only order used in packages (a locale's order differs from machine to machine). */
export function comparePaths(left: string, right: string): number {
  if (unlikeBytes.test(left) || unlikeBytes.test(right)) return Buffer.compare(Buffer.from(left), Buffer.from(right));
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/** `/usr/bin/jaco` -> `/usr`, `/usr/bin`. */
export function parentsOf(path: string): readonly string[] {
  const parents: string[] = [];
  for (let slash = path.indexOf("/", 1); slash !== -1; slash = path.indexOf("/", slash + 1)) parents.push(path.slice(0, slash));
  return parents;
}

/** `/usr/bin/jaco` -> `/usr/bin`; empty at the top. */
function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

/**
 * Asserts what the recipe resolver promised: sorted, each path once, nothing below a path that is not a folder.
 * Throws `path_unsafe` for a path that is not absolute and normalised.
 */
export function checkEntries(entries: readonly PackageEntry[]): void {
  const kinds = new Map<string, PackageEntry["kind"]>();
  let previous = "";
  let folder = "";
  for (const { path, kind } of entries) {
    if (!isPackagePath(path)) throw new SlipwayError("path_unsafe", `refusing the package path ${JSON.stringify(path.slice(0, 200))}`);
    if (previous !== "" && comparePaths(previous, path) >= 0) assert.fail(`entries must be sorted and unique: ${path} after ${previous}`);
    if (folderOf(path) !== folder) {
      for (const parent of parentsOf(path)) {
        const above = kinds.get(parent) ?? "directory";
        if (above !== "directory") assert.fail(`${path} lies below ${parent}, which is a ${above}`);
      }
      folder = folderOf(path);
    }
    kinds.set(path, kind);
    previous = path;
  }
}

/** Parents that no entry declares, each once and sorted: deb and apk carry them, rpm must not own them. */
export function undeclaredParents(entries: readonly PackageEntry[]): readonly string[] {
  const declared = new Set(entries.map((entry) => entry.path));
  const missing = new Set<string>();
  for (const folder of new Set(entries.map((entry) => folderOf(entry.path)))) {
    for (const parent of [...parentsOf(folder), folder]) if (parent !== "" && !declared.has(parent)) missing.add(parent);
  }
  return [...missing].sort(comparePaths);
}

/** Line feeds and the like: no path or single-line field of a package may have them. */
export function hasControlCharacter(text: string): boolean {
  for (let place = 0; place < text.length; place += 1) {
    const code = text.charCodeAt(place);
    if (code < 32 || code === 127) return true;
  }
  return false;
}

function isPackagePath(path: string): boolean {
  if (!path.startsWith("/") || path.length > 4096) return false;
  return (
    !hasControlCharacter(path) &&
    path.isWellFormed() &&
    path
      .slice(1)
      .split("/")
      .every((part) => part !== "" && part !== "." && part !== "..")
  );
}
