/** A build that fails and is run again: what was finished is used once more, and only where nothing about it has changed. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFile, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { findProgram } from "../support/clients.ts";
import { buildIn, contentsOf, planIn, sampleProduct, sampleRecipe, writeFiles } from "./fixture.ts";

/** A package needs docs/LATE.md, which comes later. */
const failing = sampleRecipe.replace("    /usr/share/acme/tree: tree\n", "    /usr/share/acme/tree: tree\n    /usr/share/acme/late.md: docs/LATE.md\n");
const targets = [{ os: "linux", arch: "amd64" }] as const;
const unfinished = (folder: string): Promise<readonly string[]> => readdir(join(folder, "dist/.1.4.2.unfinished")).catch(() => []);

/** Builds without docs/LATE.md and returns what was kept. */
async function failOnce(folder: string): Promise<readonly string[]> {
  const plan = await planIn(folder, "1.4.2", { targets });
  // Archives first, so that something is finished when the packages fail.
  const ordered = { ...plan, artifacts: plan.artifacts.toSorted((left, right) => Number(right.kind === "archive") - Number(left.kind === "archive")) };
  let kept: readonly string[] = [];
  await assert.rejects(buildIn(folder, ordered, { jobs: 1, isResumable: true, onKept: (names) => (kept = names) }), {
    code: "source_missing",
    message: "packages.files: there is no docs/LATE.md (for acme_1.4.2_amd64.deb)",
  });
  return kept;
}

test("J7 a failing artifact names itself; the finished ones are kept, used by the next build, and gone when it is whole", async (t) => {
  const folder = await sampleProduct(t, failing);
  assert.deepEqual(await failOnce(folder), ["acme-1.4.2-linux-amd64.tar.gz"]);
  assert.deepEqual(await readdir(join(folder, "dist")), [".1.4.2.unfinished"], "nothing that looks like a release");
  const { ino } = await stat(join(folder, "dist/.1.4.2.unfinished/acme-1.4.2-linux-amd64.tar.gz"));
  await writeFiles(folder, { "docs/LATE.md": "late\n" });
  const plan = await planIn(folder, "1.4.2", { targets });
  const result = await buildIn(folder, plan, { isResumable: true });
  assert.deepEqual(result.reused, ["acme-1.4.2-linux-amd64.tar.gz"]);
  assert.equal((await stat(join(result.folder, "acme-1.4.2-linux-amd64.tar.gz"))).ino, ino, "the very file");
  assert.deepEqual(await readdir(join(folder, "dist")), ["1.4.2"]);
  const resumed = await contentsOf(result.folder);
  assert.deepEqual(await contentsOf((await buildIn(folder, plan)).folder), resumed, "as if nothing had happened");
});

test("J7 a disk that is full names the artifact that did not fit, keeps the finished ones, and a larger one goes on with that alone", async (t) => {
  if (process.getuid?.() !== 0 || findProgram("mount") === undefined) {
    if (process.env["CI"] === "true") throw new Error("a small disk for this test needs root");
    t.skip("a small disk for this test needs root");
    return;
  }
  const folder = await sampleProduct(t);
  await writeFile(join(folder, "tree/big"), randomBytes(3_000_000));
  const disk = join(folder, "dist");
  await mkdir(disk);
  const mount = (options: string): Promise<string> => requireCommand(["mount", "-t", "tmpfs", "-o", options, "slipway-test", disk], { timeoutMs: 10_000 });
  await mount("size=8m"); // for a package and what is put aside for it, not for two
  try {
    const plan = await planIn(folder, "1.4.2", { targets });
    const rpm = "acme-1.4.2-1.x86_64.rpm";
    let kept: readonly string[] = [];
    await assert.rejects(buildIn(folder, plan, { jobs: 1, isResumable: true, onKept: (names) => (kept = names) }), (error: unknown) => {
      assert.ok(error instanceof SlipwayError && error.code === "disk_full" && error.message.endsWith(`(for ${rpm})`), String(error));
      return true;
    });
    assert.ok(kept.includes("acme_1.4.2_amd64.deb") && !kept.includes(rpm), kept.join(" "));
    assert.deepEqual(await readdir(disk), [".1.4.2.unfinished"], "nothing that looks like a release, and the space of what failed is free");
    await mount("remount,size=32m");
    const result = await buildIn(folder, plan, { isResumable: true });
    assert.deepEqual([...result.reused].sort(), [...kept].sort());
    const resumed = await contentsOf(result.folder);
    assert.deepEqual(await contentsOf((await buildIn(folder, plan)).folder), resumed, "as if there had always been room");
  } finally {
    await requireCommand(["umount", disk], { timeoutMs: 10_000 });
  }
});

const changes: readonly { readonly what: string; readonly change: (folder: string) => Promise<unknown> }[] = [
  { what: "a source of it has changed", change: (folder) => appendFile(join(folder, "LICENSE"), "more\n") },
  { what: "a binary comes out otherwise", change: (folder) => appendFile(join(folder, "make.sh"), 'echo "# more" >> "$4"\n') },
  {
    what: "the recipe puts another file into it",
    change: async (folder) => {
      const recipe = await readFile(join(folder, "slipway.yaml"), "utf8");
      await writeFile(join(folder, "slipway.yaml"), recipe.replace("[LICENSE, docs/GUIDE.md]", "[LICENSE, docs/OTHER.md]"));
    },
  },
  { what: "the kept file was damaged", change: (folder) => appendFile(join(folder, "dist/.1.4.2.unfinished/acme-1.4.2-linux-amd64.tar.gz"), "x") },
  { what: "the record is of another program", change: (folder) => writeFile(join(folder, "dist/.1.4.2.unfinished/finished.json"), '{"schema":2}') },
  { what: "the record is no JSON", change: (folder) => writeFile(join(folder, "dist/.1.4.2.unfinished/finished.json"), "{") },
];
for (const { what, change } of changes) {
  test(`a finished artifact is built again where ${what}`, async (t) => {
    const folder = await sampleProduct(t, failing);
    await failOnce(folder);
    await writeFiles(folder, { "docs/LATE.md": "late\n" });
    await change(folder);
    const plan = await planIn(folder, "1.4.2", { targets });
    const result = await buildIn(folder, plan, { isResumable: true });
    assert.deepEqual(result.reused, []);
    assert.deepEqual(await unfinished(folder), []);
    const resumed = await contentsOf(result.folder);
    assert.deepEqual(await contentsOf((await buildIn(folder, plan)).folder), resumed);
  });
}

test("a second failure keeps what the first one had finished", async (t) => {
  const folder = await sampleProduct(t, failing);
  await failOnce(folder);
  assert.deepEqual(await failOnce(folder), ["acme-1.4.2-linux-amd64.tar.gz"]);
  assert.deepEqual([...(await unfinished(folder))].sort(), ["acme-1.4.2-linux-amd64.tar.gz", "finished.json"]);
});

test("packages are kept as archives are; another folder and another program build for themselves", async (t) => {
  const folder = await sampleProduct(t, `notes: { file: notes/NOTES.md }\n${sampleRecipe}`);
  const plan = await planIn(folder, "1.4.2", { targets });
  const failToCopyNotes = (): Promise<void> =>
    assert.rejects(buildIn(folder, plan, { jobs: 1, isResumable: true }), {
      code: "source_missing",
      message: "there is no notes/NOTES.md (for RELEASE-NOTES.md)",
    });
  const finished = ["acme-1.4.2-1.x86_64.rpm", "acme-1.4.2-linux-amd64.tar.gz", "acme_1.4.2_amd64.deb"];
  await failToCopyNotes();
  assert.deepEqual([...(await unfinished(folder))].sort(), [...finished, "finished.json"]);
  await failToCopyNotes(); // all taken, all kept again
  assert.deepEqual([...(await unfinished(folder))].sort(), [...finished, "finished.json"]);
  await writeFiles(folder, { "notes/NOTES.md": "Nothing much.\n" });
  const other = await buildIn(folder, plan, { isResumable: true, outFolder: join(folder, "elsewhere") });
  assert.deepEqual(other.reused, []);
  const result = await buildIn(folder, plan, { isResumable: true });
  assert.deepEqual([...result.reused].sort(), finished);
  assert.deepEqual(await contentsOf(result.folder), await contentsOf(other.folder));
  await rm(join(folder, "notes"), { recursive: true });
  await failToCopyNotes();
  await writeFiles(folder, { "notes/NOTES.md": "Nothing much.\n" });
  assert.deepEqual((await buildIn(folder, plan, { isResumable: true, tool: { name: "slipway", version: "9.9.9" } })).reused, []);
});
