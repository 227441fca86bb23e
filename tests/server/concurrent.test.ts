/** Publications that happen at the same moment over HTTP: two products, one version twice, releases of one product beside each other. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { after, before, test } from "node:test";
import { get, hexOf, issuePair, makeDraft, type RunningServer, startServer } from "./running-server.ts";

let running: RunningServer;
before(async () => {
  running = await startServer();
});
after(() => running.stop());

async function draft(product: string, version: string): Promise<{ readonly product: string; readonly version: string; readonly sums: string }> {
  const files = await makeDraft(running, product, version);
  const sums = files.find(({ name }) => name === "SHA256SUMS");
  assert.ok(sums);
  return { product, version, sums: `sha256:${hexOf(sums.content)}` };
}

async function publishedVersions(product: string): Promise<readonly string[]> {
  const pair = await issuePair(running, `reader-of-${product}`, product);
  const index = (await (await get(running, `/releases/${product}/index.json`, pair)).json()) as { releases: { version: string }[] };
  const packages = await get(running, `/apt/${product}/dists/stable/main/binary-amd64/Packages.gz`, pair);
  const text = gunzipSync(Buffer.from(await packages.arrayBuffer())).toString();
  const versions = index.releases.map(({ version }) => version);
  const listed = [...text.matchAll(/^Version: (.*)$/gm)].map((match) => match[1]);
  assert.deepEqual(new Set(listed), new Set(versions), "the APT index lists the same");
  assert.equal(listed.length, versions.length);
  for (const path of [...text.matchAll(/^Filename: (.*)$/gm)].map((match) => match[1])) {
    assert.equal((await get(running, `/apt/${product}/${path}`, pair)).status, 200, path);
  }
  return versions;
}

test("two products published at once, two releases of each, and one version twice: all are there, each is new once", async () => {
  const drafts = [];
  for (const product of ["left", "right"]) for (const version of ["1.0.0", "1.0.1"]) drafts.push(await draft(product, version));
  const [first] = drafts;
  assert.ok(first);
  const answers = await Promise.all(
    [...drafts, first].map(({ product, version, sums }) => running.admin("POST", `/products/${product}/releases/${version}/publish`, { sums })),
  );
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200, 200, 200],
  );
  assert.equal(answers.filter(({ body }) => body["isNew"] === true).length, 4);
  for (const product of ["left", "right"]) assert.deepEqual(await publishedVersions(product), ["1.0.1", "1.0.0"]);
  const events = (await running.admin("GET", "/audit?action=release.publish")).body["events"] as unknown[];
  assert.equal(events.length, 4, "one audit event for each");
});

test("the same version as two drafts' worth of bytes at once: one wins whole, nothing is mixed", async () => {
  const made = await draft("contested", "1.0.0");
  const stowaway = await running.upload(Buffer.from("came too late"));
  const [published, attached] = await Promise.all([
    running.admin("POST", "/products/contested/releases/1.0.0/publish", { sums: made.sums }),
    running.admin("PUT", "/products/contested/releases/1.0.0/artifacts/stowaway", { digest: stowaway, size: 13 }),
  ]);
  const { body } = await running.admin("GET", "/products/contested/releases/1.0.0");
  const names = (body["artifacts"] as { name: string }[]).map(({ name }) => name);
  if (published.status === 200) {
    assert.equal(attached.status, 409);
    assert.ok(!names.includes("stowaway"));
  } else {
    assert.equal(attached.status, 200);
    assert.equal(body["state"], "draft");
  }
});
