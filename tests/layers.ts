/** Writes the import rules of .oxlintrc.json from the table in src/README.md: `node tests/layers.ts`. */
import { readFileSync, writeFileSync } from "node:fs";

export type Layer = { readonly area: string; readonly mayImport: readonly string[]; readonly isPure: boolean };

/** The rows of the map's table. */
export function readLayers(markdown: string): readonly Layer[] {
  return [...markdown.matchAll(/^\| `([a-z]+)` \| [^|]+ \| ([^|]+) \| (yes|no) \|$/gm)].map((row) => ({
    area: row[1] ?? "",
    mayImport: row[2] === "-" ? [] : (row[2] ?? "").split(",").map((word) => word.trim()),
    isPure: row[3] === "yes",
  }));
}

const effects = [
  "node:fs",
  "node:fs/promises",
  "node:child_process",
  "node:net",
  "node:http",
  "node:https",
  "node:dns",
  "node:os",
  "node:sqlite",
  "node:worker_threads",
];

/** One oxlint override per area: every area that is not in its row is forbidden, and effects in pure areas. */
export function importRules(layers: readonly Layer[]): readonly unknown[] {
  return layers.map((layer) => {
    const forbidden = layers.map((other) => other.area).filter((area) => area !== layer.area && !layer.mayImport.includes(area));
    return {
      files: [`src/${layer.area}/**`],
      rules: {
        "no-restricted-imports": [
          "error",
          {
            patterns: [
              ...(forbidden.length === 0
                ? []
                : [{ group: forbidden.map((area) => `../${area}/**`), message: `src/README.md: ${layer.area} may not import this area` }]),
              { group: ["../main.ts", "../../*"], message: "nothing imports the entry or leaves src/" },
            ],
            ...(layer.isPure ? { paths: effects.map((name) => ({ name, message: `${layer.area} is pure: effects live in io` })) } : {}),
          },
        ],
      },
    };
  });
}

const configPath = new URL("../.oxlintrc.json", import.meta.url);

export function readLintConfig(): { overrides?: readonly unknown[] } {
  return JSON.parse(readFileSync(configPath, "utf8")) as { overrides?: readonly unknown[] };
}

if (process.argv[1] === import.meta.filename) {
  const layers = readLayers(readFileSync(new URL("../src/README.md", import.meta.url), "utf8"));
  writeFileSync(configPath, `${JSON.stringify({ ...readLintConfig(), overrides: importRules(layers) }, undefined, 2)}\n`);
}
