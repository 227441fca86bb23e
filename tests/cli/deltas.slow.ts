/** A release with deltas is built again, and rebuilt from its tag: what hangs on an earlier release is neither missed nor in the way. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { acmeBinaries, acmeProduct, createVendor } from "../support/vendor.ts";

test("J7 a release with deltas is built again without a loss, and rebuilt from its tag byte for byte", async (t) => {
  if (!needClient(t, "git")) return;
  const vendor = await createVendor(t, `${acmeProduct}${acmeBinaries}deltas: 1\nprovenance: true\n`);
  const git = (...words: readonly string[]): Promise<string> =>
    requireCommand(["git", "-C", vendor.folder, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false", ...words], {
      timeoutMs: 120_000,
    });
  delete vendor.env["SOURCE_DATE_EPOCH"];
  await git("init", "--quiet");
  await writeFile(join(vendor.folder, ".gitignore"), "dist/\n");
  for (const version of ["1.0.0", "1.1.0"]) {
    await vendor.writeInput(version);
    let state = 1;
    const ballast = Array.from({ length: 5_000 }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0).toString(36)).join("\n#");
    for (const name of ["acme", "acmed"]) await writeFile(join(vendor.folder, "input", version, name), `#!/bin/sh\n#${ballast}\necho "${version}"\n`);
    await git("add", "--all");
    await git("commit", "--quiet", "-m", version);
    await git("tag", `v${version}`);
    await vendor.result(["build"]);
  }
  const sums = (): Promise<string> => readFile(join(vendor.folder, "dist/1.1.0/SHA256SUMS"), "utf8");
  const before = await sums();
  assert.equal(before.match(/\.from-1\.0\.0\.delta$/gm)?.length, 2);
  await vendor.result(["build"]);
  assert.equal(await sums(), before);
  const { files } = (await vendor.result(["rebuild", "--verify", "v1.1.0"])) as { files: readonly { readonly name: string; readonly result: string }[] };
  for (const { name, result } of files) assert.equal(result, name.endsWith(".delta") ? "uncompared" : "identical", name);
});
