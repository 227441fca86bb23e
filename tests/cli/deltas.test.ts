/** `deltas: N` in the recipe: from which releases deltas are made, that they are published like any file, and what a customer gets. */
import assert from "node:assert/strict";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createVendor, demoRecipe, type Vendor } from "../support/vendor.ts";

const archive = (version: string): string => `acme-v${version}-linux-amd64.tar.gz`;
const recipe = demoRecipe
  .replace('-{arch}.tar.gz"\n', '-{arch}.tar.gz"\n    files: [table.txt]\n')
  .replace("formats: [deb, rpm]", "formats: [deb]")
  .replace("checksums:", "deltas: 2\nchecksums:")
  .replace(/sign:[^]*/, "");

/** Most of the archive is the same in every version, and hardly compresses. */
async function start(t: TestContext): Promise<Vendor> {
  const vendor = await createVendor(t, recipe);
  let state = 1;
  const words = Array.from({ length: 6_000 }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0).toString(36));
  await writeFile(join(vendor.folder, "table.txt"), words.join("\n"));
  return vendor;
}

type Built = { readonly manifest: { readonly artifacts: readonly { readonly name: string; readonly kind: string }[] } };
type Planned = { readonly deltas: readonly { readonly name: string; readonly from: string; readonly source: string }[] };

async function deltasOf(vendor: Vendor, version: string): Promise<readonly string[]> {
  const { manifest } = (await vendor.result(["build", "--version", version])) as unknown as Built;
  return manifest.artifacts.filter(({ kind }) => kind === "delta").map(({ name }) => name);
}

test("deltas come from the newest earlier releases, of the server where they are not here; and a customer fetches them like any file", async (t) => {
  const vendor = await start(t);
  await vendor.serve();
  for (const version of ["1.0.0", "1.1.0"]) await vendor.release(version);
  const unpublished = join(vendor.folder, "dist/1.1.1"); // nobody has it
  await mkdir(unpublished);
  const description = await readFile(join(vendor.folder, "dist/1.1.0/release.json"), "utf8");
  await writeFile(join(unpublished, "release.json"), description.replace('"version": "1.1.0"', '"version": "1.1.1"'));
  await rm(join(vendor.folder, "dist/1.0.0"), { recursive: true });
  await vendor.writeInput("1.2.0");
  const { deltas } = (await vendor.result(["plan", "--version", "1.2.0"])) as unknown as Planned;
  assert.deepEqual(
    deltas.filter(({ name }) => name.startsWith(archive("1.2.0"))).map(({ from, source }) => [from, source]),
    [
      ["1.1.0", join(vendor.folder, "dist/1.1.0")],
      ["1.0.0", vendor.url],
    ],
  );
  const names = ["1.0.0", "1.1.0"].map((from) => `${archive("1.2.0")}.from-${from}.delta`);
  assert.deepEqual(await deltasOf(vendor, "1.2.0"), names, "the programs themselves are too small to be worth one");
  const [name = ""] = names;
  const sums = await readFile(join(vendor.folder, "dist/1.2.0/SHA256SUMS"), "utf8");
  assert.ok(sums.includes(`  ${name}\n`));
  await vendor.result(["publish", join(vendor.folder, "dist/1.2.0")]);
  await vendor.result(["release", "publish", "v1.2.0", "--product", "acme"]);
  const { authorization } = await vendor.pair("initech");
  const url = `${vendor.url}/releases/acme/1.2.0/${name}`;
  assert.equal((await fetch(url)).status, 401);
  const bytes = Buffer.from(await (await fetch(url, { headers: { authorization } })).arrayBuffer());
  assert.ok(bytes.equals(await readFile(join(vendor.folder, "dist/1.2.0", name))));
  assert.ok(bytes.length * 5 < (await readFile(join(vendor.folder, "dist/1.2.0", archive("1.2.0")))).length);
  const isAudited = async (): Promise<boolean> => {
    const headers = { authorization: `Bearer ${vendor.env["SLIPWAY_TOKEN"] ?? ""}` };
    return (await (await fetch(`${vendor.url}/api/v1/audit?product=acme`, { headers })).text()).includes(name);
  };
  for (let tries = 0; !(await isAudited()) && tries < 1_000; tries += 1) await sleep(100); // the trail is written behind the answer
  assert.ok(await isAudited(), "the download stands in the audit trail");

  const away = await vendor.run(["build", "--version", "1.2.0", "--dry-run"], { SLIPWAY_TOKEN: "" });
  assert.equal(away.exitCode, 0, away.stderr);
  assert.match(away.stderr, /deltas are made from what lies in .*dist alone: there is no admin token/);
  assert.match(away.stdout, /acme-v1\.2\.0-linux-amd64\.tar\.gz\.from-1\.1\.1\.delta, where it is small enough/);
});
