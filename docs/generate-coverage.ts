/** The page docs/reference/coverage.md: every promise by its id, with the tests whose titles carry it. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

const root = join(import.meta.dirname, "..");
const titlePattern = /\btest(?:\.[a-z]+)?\(\s*(?:"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g;
/** Several ids may lead a title: `C3 C9 apt of bookworm …`. */
const idsPattern = /^((?:[CJK]\d+ )+)/;

export type CoverageRow = { readonly id: string; readonly title: string; readonly file: string };

function order(id: string): number {
  return "CJK".indexOf(id.charAt(0)) * 1000 + Number(id.slice(1));
}

/** One row per id and test, sorted by id, then file. */
export function readCoverage(): readonly CoverageRow[] {
  const files = readdirSync(join(root, "tests"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(test|slow)\.ts$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const rows = files.flatMap((file) =>
    [...readFileSync(file, "utf8").matchAll(titlePattern)].flatMap((match) => {
      const title = match[1] ?? match[2] ?? "";
      const ids = idsPattern.exec(title)?.[1]?.trim().split(" ") ?? [];
      return ids.map((id) => ({ id, title: title.replace(idsPattern, ""), file: relative(root, file) }));
    }),
  );
  return rows.sort((a, b) => order(a.id) - order(b.id) || (a.file < b.file ? -1 : a.file > b.file ? 1 : 0));
}
