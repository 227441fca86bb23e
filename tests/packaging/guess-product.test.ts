/** Drafts for folders of each kind: whatever lies there, the draft is a recipe that loads and plans. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { guessProduct } from "../../src/packaging/guess-product.ts";
import { planRelease } from "../../src/packaging/plan.ts";
import { loadRecipe } from "../../src/packaging/recipe.ts";
import { draftRecipe } from "../../src/packaging/recipe-draft.ts";
import { epochSeconds, temporaryFolder, writeFiles } from "./fixture.ts";

const folders: readonly { readonly name: string; readonly files: Readonly<Record<string, string>>; readonly expected: Readonly<Record<string, unknown>> }[] = [
  {
    name: "a Go module with two commands",
    files: {
      "go.mod": "module example.com/org/jaco/v2\n\ngo 1.24\n",
      "cmd/jaco/main.go": "",
      "cmd/jacod/main.go": "",
      LICENSE: "Apache License\n   Version 2.0, January 2004\n",
    },
    expected: { kind: "go", name: "jaco", binaries: ["jaco", "jacod"], license: "Apache-2.0", documents: ["LICENSE"] },
  },
  {
    name: "a Cargo package",
    files: {
      "Cargo.toml":
        '[package]\nname = "carapace"\ndescription = "Personal: AI \\"gateway\\" # x"\nlicense = "MIT"\nauthors = ["Pure <security@pure.example>"]\nrepository = "https://example.com/r"\n\n[[bin]]\nname = "cara"\npath = "src/main.rs"\n\n[dependencies]\nname = "no"\n',
    },
    expected: {
      kind: "rust",
      name: "carapace",
      binaries: ["cara"],
      license: "MIT",
      maintainer: "Pure <security@pure.example>",
      homepage: "https://example.com/r",
    },
  },
  {
    name: "an npm package with a scope",
    files: {
      "package.json": JSON.stringify({
        name: "@Org/My_Tool",
        description: "a: b\n{c}",
        license: "MIT",
        author: { name: "Jo", email: "jo@example.com" },
        bin: { tool: "x.js", "../evil": "y.js" },
      }),
    },
    expected: { kind: "node", name: "my-tool", summary: "a: b {c}", maintainer: "Jo <jo@example.com>", binaries: ["tool"] },
  },
  { name: "a broken package.json", files: { "package.json": "{" }, expected: { kind: "node", license: "Proprietary" } },
  { name: "an empty folder", files: {}, expected: { kind: "other" } },
];

for (const { name, files, expected } of folders) {
  test(`the draft for ${name} has the right guesses, loads and plans`, async (t) => {
    const folder = await temporaryFolder(t);
    await writeFiles(folder, files);
    const product = await guessProduct(folder, runCommand);
    assert.deepEqual(Object.fromEntries(Object.keys(expected).map((key) => [key, product[key as keyof typeof product]])), expected);
    const recipe = loadRecipe(draftRecipe(product), "slipway.yaml");
    assert.equal(recipe.summary, product.summary);
    const plan = planRelease({ recipe, version: parseVersion("1.0.0"), epochSeconds });
    assert.ok(plan.artifacts.some((artifact) => artifact.kind === "deb"));
  });
}
