/** Archives for Windows hold only names that Windows can hold: said with the recipe's line, before anything is built. */
import assert from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { createVendor } from "../support/vendor.ts";

const recipe = `name: acme
summary: Server of the Acme tests
maintainer: Acme Release <release@acme.example>
license: Apache-2.0
targets: [linux/amd64, windows/amd64]
build: { prebuilt: "input/{bin}{exe}", binaries: [acme] }
archives:
  - files: [docs/*]
`;

const cases: readonly (readonly [files: readonly string[], problem: RegExp])[] = [
  [["aux.txt"], /acme-1\.0\.0-windows-amd64\.zip cannot hold "aux\.txt": it has the part aux\.txt, which is a device on Windows/],
  [["why?"], /cannot hold "why\?": it holds "\?", which Windows has in no name/],
  [["notes."], /ends in a dot, which Windows drops/],
  [["Guide.md", "guide.md"], /cannot hold both Guide\.md and guide\.md: on Windows they are one file/],
];

test("85 an archive for Windows holds no name that Windows would lose or take for another file; one for Linux does", async (t) => {
  const vendor = await createVendor(t, recipe);
  await mkdir(join(vendor.folder, "input"));
  for (const name of ["acme", "acme.exe"]) await writeFile(join(vendor.folder, "input", name), "text\n");
  for (const [files, problem] of cases) {
    await rm(join(vendor.folder, "docs"), { recursive: true, force: true });
    await mkdir(join(vendor.folder, "docs"));
    for (const name of files) await writeFile(join(vendor.folder, "docs", name), "text\n");
    const refused = await vendor.run(["build", "--version", "1.0.0", "--target", "windows/amd64"]);
    assert.equal(refused.exitCode, 2, refused.stderr);
    assert.match(refused.stderr, problem);
    assert.match(refused.stderr, /slipway\.yaml:8:13/);
  }
  await vendor.result(["build", "--version", "1.0.0", "--target", "linux/amd64"]);
});
