/** The golden vectors and the JSON Schemas say what our own code does. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { type VectorFile } from "../../docs/generate-vectors.ts";
import { createTrustPolicy, digestOf, parseVersion, requireArtifact, SlipwayError, verifyRelease } from "../../src/trust/embedding.ts";
import { readStatus } from "../../src/updater/status-schema.ts";
import { makeSite, noSignal, readJson, startVendor } from "../updater/support.ts";
import { parse } from "yaml";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const read = (path: string): unknown => JSON.parse(readFileSync(new URL(`../../docs/reference/${path}`, import.meta.url), "utf8"));

test("J9 every golden vector gets its verdict from our own verifier", async () => {
  const { trust, vectors } = read("vectors/releases.json") as VectorFile;
  const policy = await createTrustPolicy({ minisign: [...trust.minisign], require: ["minisign"] });
  for (const { name, files, expected, artifact, verdict } of vectors) {
    const file = (path: string): Buffer => Buffer.from(files[path] ?? "", "base64");
    const signature = files["SHA256SUMS.minisig"] === undefined ? undefined : file("SHA256SUMS.minisig");
    const verify = async (): Promise<true> => {
      const release = await verifyRelease({
        sums: file("SHA256SUMS"),
        signatures: { minisign: signature },
        manifest: file("release.json"),
        expected: { product: expected.product, version: parseVersion(expected.version) },
        policy,
        now: new Date("2026-06-01T00:00:00Z"),
      });
      const bytes = file(artifact);
      requireArtifact(release, { name: artifact, digest: digestOf(bytes), size: bytes.length });
      return true;
    };
    const seen = await verify().then(
      () => ({ ok: true }),
      (error: unknown) => (error instanceof SlipwayError ? { ok: false, code: error.code, detail: error.detail } : { ok: false, error: String(error) }),
    );
    assert.deepEqual(seen, verdict, name);
  }
  assert.ok(vectors.some(({ verdict }) => verdict.ok) && vectors.filter(({ verdict }) => !verdict.ok).length > 10);
});

test("J9 what the updater writes and prints fits the JSON Schemas, and a field of the wrong kind does not", async (t) => {
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  const validate = (name: string, value: unknown): string => {
    const check = ajv.getSchema(name) ?? ajv.compile({ ...(read(`schemas/${name}.json`) as object), $id: name });
    return check(JSON.parse(JSON.stringify(value))) === true ? "" : `${name}: ${ajv.errorsText(check.errors)}`;
  };
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const release = await vendor.release("1.4.2");
  const updater = await site.updater();
  await updater.install({ signal: noSignal });
  const journal = await readJson(join(site.updates, "transaction.json"));
  assert.equal(validate("transaction", journal), "");
  assert.notEqual(validate("transaction", { ...journal, phase: "dreaming" }), "");
  assert.equal(validate("status", await updater.status()), "");
  assert.equal(readStatus(await updater.status()).installed, "1.4.2");
  assert.notEqual(validate("status", { ...(await updater.status()), previous: "1.4.1" }), "");
  for (const event of site.events) assert.equal(validate("event", event), "");
  assert.notEqual(validate("event", { event: "download", done: "many", total: 1 }), "");
  assert.equal(validate("release", JSON.parse(release.get("release.json")?.toString("utf8") ?? "")), "");
  const installation: unknown = parse(await readFile(site.file, "utf8"));
  assert.equal(validate("installation", installation), "");
  assert.notEqual(validate("installation", { ...(installation as object), health: {} }), "");
  assert.equal(validate("error", { error: new SlipwayError("lock_held", "x").toJSON() }), "");
});
