/** The table "Attacks and faults" of docs/reliability.md: it is complete, and each of its rows has the test that it names. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";

const checkout = resolve(import.meta.dirname, "../..");
/** The numbers of the rows, from-to; those between them belong to no row. */
const required: readonly (readonly [first: number, last: number])[] = [
  [1, 5],
  [7, 9],
  [11, 19],
  [21, 25],
  [27, 36],
  [38, 44],
  [46, 48],
  [50, 61],
  [63, 68],
  [70, 72],
  [74, 85],
];

type Row = { readonly number: number; readonly file: string };

async function readTable(): Promise<readonly Row[]> {
  const page = await readFile(join(checkout, "docs/reliability.md"), "utf8");
  const section = page.split(/^## /m).find((part) => part.startsWith("Attacks and faults")) ?? "";
  return [...section.matchAll(/^\| (\d+) \| [^|]+ \| [^|]+ \| ([^|]+) \|$/gm)].map(([, number, file = ""]) => ({ number: Number(number), file }));
}

/** The numbers that titles begin with, also in tables of titles: `"48 76 package: …"`, `"J10 72 …"`. */
function numbersIn(source: string): ReadonlySet<number> {
  const starts = [...source.matchAll(/["`]((?:[A-Z]{0,2}\d+ )+)(?=[a-zA-Z$_])/g)];
  const ids = starts.flatMap(([, words = ""]) => words.trim().split(" "));
  return new Set(ids.filter((id) => /^\d+$/.test(id)).map(Number));
}

test("every row of the attack table stands in the documentation once", async () => {
  const numbers = (await readTable()).map(({ number }) => number);
  assert.deepEqual(
    numbers,
    required.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, index) => first + index)),
  );
});

test("every row of the attack table has a test whose title begins with its number, in the file that it names", async () => {
  const missing: string[] = [];
  for (const { number, file } of await readTable()) {
    const source = await readFile(join(checkout, "tests", file), "utf8").catch(() => "");
    if (!numbersIn(source).has(number)) missing.push(`${number} in ${file}`);
  }
  assert.deepEqual(missing, []);
});

test("a number inside of a title, or in a string that is none, is not taken for a row", () => {
  assert.deepEqual([...numbersIn('test("X1 72 offered"); test(`48 ${name}`); test("has 12 rows"); "13 = 12 + 1"')], [72, 48]);
});
