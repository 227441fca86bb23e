/** SBOMs, provenance and its envelope from the recipe to a customer: built with keys, published as plain files, and fetched. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { createVendor, demoRecipe } from "../support/vendor.ts";

const cargoLock = `version = 3

[[package]]
name = "itoa"
version = "1.0.18"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "${"8f".repeat(32)}"
`;
const builder = "https://ci.example/acme/release.yml@refs/tags/v1.0.0";

test("plan shows SBOMs and provenance, build says what they cannot say, and customers fetch what the sums list", async (t) => {
  const vendor = await createVendor(t, `sbom: true\nprovenance: true\n${demoRecipe}`);
  await vendor.makeKeys();
  await vendor.writeInput("1.0.0");
  await writeFile(join(vendor.folder, "Cargo.lock"), cargoLock);
  const shown = await vendor.run(["plan", "--version", "1.0.0"]);
  assert.match(shown.stdout, /^acme_1\.0\.0_amd64\.deb\.spdx\.json +sbom +acme_1\.0\.0_amd64\.deb$/m);
  assert.match(shown.stdout, /^acme-1\.0\.0\.intoto\.jsonl +provenance *$/m);
  const wrong = await vendor.run(["build", "--version", "1.0.0", "--builder", "my laptop"]);
  assert.equal(wrong.exitCode, 2);
  assert.match(wrong.stderr, /--builder my laptop is not a URI/);
  const built = await vendor.run(["build", "--version", "1.0.0", "--builder", builder]);
  assert.equal(built.exitCode, 0, built.stderr);
  assert.match(built.stderr, /^warning: Cargo\.lock does not tell build and test crates apart/m);
  const dist = join(vendor.folder, "dist/1.0.0");
  const statement = JSON.parse(await readFile(join(dist, "acme-1.0.0.provenance.json"), "utf8")) as { predicate: { runDetails: { builder: { id: string } } } };
  assert.equal(statement.predicate.runDetails.builder.id, builder);

  await vendor.serve();
  await vendor.result(["publish", dist]);
  await vendor.result(["release", "publish", "v1.0.0", "--product", "acme"]);
  const { authorization } = await vendor.pair("globex");
  const fetched = join(vendor.folder, "fetched");
  await mkdir(fetched);
  const sums = (await readFile(join(dist, "SHA256SUMS"), "utf8")).trimEnd().split("\n");
  const described = sums.flatMap((line) => (/\.(?:cdx\.json|spdx\.json|provenance\.json|intoto\.jsonl)$/.test(line) ? [line.slice(66)] : []));
  assert.equal(described.length, 2 * 5 + 2, described.join(" "));
  for (const name of [...described, "SHA256SUMS", "SHA256SUMS.minisig"]) {
    const address = `${vendor.url}/releases/acme/1.0.0/${name}`;
    assert.equal((await fetch(address)).status, 401, "without a pair");
    const answer = await fetch(address, { headers: { authorization } });
    assert.equal(answer.status, 200, name);
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (!name.startsWith("SHA256SUMS")) assert.ok(sums.includes(`${createHash("sha256").update(bytes).digest("hex")}  ${name}`), name);
    await writeFile(join(fetched, name), bytes);
  }
  const latest = await fetch(`${vendor.url}/releases/acme/latest/acme-latest.provenance.json`, { headers: { authorization } });
  assert.equal(latest.status, 200, "latest stands for the version in their names too");
});
