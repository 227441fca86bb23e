/** The map in src/README.md is true: its table is what the import rules enforce, and every file has a place in it. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { importRules, readLayers, readLintConfig } from "./layers.ts";

const source = new URL("../src/", import.meta.url);
const layers = readLayers(readFileSync(new URL("README.md", source), "utf8"));

test("the import rules in .oxlintrc.json are those of the map (run `node tests/layers.ts` after editing it)", () => {
  assert.deepEqual(readLintConfig().overrides, importRules(layers));
});

test("every folder of src/ is a row of the map, and areas import only rows above their own", () => {
  const folders = readdirSync(source, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  assert.deepEqual(folders.map((entry) => entry.name).sort(), layers.map((layer) => layer.area).sort());
  for (const [index, layer] of layers.entries()) {
    const above = layers.slice(0, index).map((other) => other.area);
    for (const area of layer.mayImport) assert.ok(above.includes(area), `${layer.area} imports ${area}, which does not stand above it`);
  }
});

test("source files lie two levels deep, carry a first-line comment and stay below 400 lines", () => {
  for (const entry of readdirSync(source, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    const path = `${entry.parentPath}/${entry.name}`;
    const relative = path.slice(source.pathname.length);
    assert.ok(relative.split("/").length === 2 || relative === "main.ts", `${relative} is not src/<area>/<file>.ts`);
    const text = readFileSync(path, "utf8");
    assert.match(text, /^\/\*\*/, `${relative} starts without a comment that says what it is`);
    assert.ok(text.split("\n").length <= 401, `${relative} has more than 400 lines: two concepts in one?`);
  }
});
