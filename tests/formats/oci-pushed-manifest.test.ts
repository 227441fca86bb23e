/** What a registry reads out of the manifests that it is given. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dockerMediaTypes, ociMediaTypes } from "../../src/formats/oci-descriptor.ts";
import { algorithmOf, isOciDigest, parseOciDigest, referrersTag } from "../../src/formats/oci-digest.ts";
import { readPushedManifest } from "../../src/formats/oci-pushed-manifest.ts";

const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;
const long = `sha512:${"e".repeat(128)}`;
const part = (letter: string, more: object = {}): object => ({ mediaType: "application/octet-stream", digest: digest(letter), size: 1, ...more });
const image = { schemaVersion: 2, mediaType: ociMediaTypes.manifest, config: part("a"), layers: [part("b"), part("b"), part("c")] };
const index = { schemaVersion: 2, mediaType: ociMediaTypes.index, manifests: [part("d")] };
const read = (document: unknown, type?: string) => readPushedManifest(Buffer.from(JSON.stringify(document)), type);

test("children once each, with what they are and whether they must be there", () => {
  const foreign = part("f", { mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" });
  const linked = part("9", { urls: ["https://elsewhere.example/layer"] });
  const { children } = read({ ...image, layers: [...image.layers, foreign, linked, { ...part("e"), digest: long }] });
  assert.deepEqual(
    children.map((child) => [child.digest.slice(7, 8), child.kind, child.isRequired]),
    [
      ["a", "blob", true],
      ["b", "blob", true],
      ["c", "blob", true],
      ["f", "blob", false],
      ["9", "blob", false],
      ["e", "blob", true],
    ],
  );
  assert.deepEqual(read(index).children, [{ digest: digest("d"), kind: "manifest", isRequired: true }]);
});

test("a referrer's type is its own, else its configuration's; an index has only its own", () => {
  assert.equal(read(image).artifactType, "application/octet-stream");
  assert.equal(read({ ...image, artifactType: "application/x.sbom" }).artifactType, "application/x.sbom");
  assert.equal(read({ ...image, artifactType: "" }).artifactType, "application/octet-stream");
  assert.equal(read(index).artifactType, undefined);
  assert.equal(read({ ...index, artifactType: "application/x.list" }).artifactType, "application/x.list");
});

test("subject and annotations are kept, unknown keys do no harm", () => {
  const pushed = read({ ...image, subject: part("d"), annotations: { note: "x" }, future: { key: [1] } });
  assert.deepEqual([pushed.subject, pushed.annotations], [digest("d"), { note: "x" }]);
  assert.deepEqual([read(image).subject, read({ ...image, annotations: null, subject: null }).annotations], [undefined, {}]);
});

test("the announced type decides; without one, the document's own; docker's types are read alike", () => {
  const { mediaType: _, ...silent } = image;
  assert.equal(read(silent).mediaType, ociMediaTypes.manifest);
  assert.equal(read(index).mediaType, ociMediaTypes.index);
  assert.equal(read(silent, dockerMediaTypes.manifest).mediaType, dockerMediaTypes.manifest);
  assert.throws(() => read(image, ociMediaTypes.index), { code: "format_invalid" });
  assert.throws(() => read(image, dockerMediaTypes.manifest), { code: "format_invalid" });
});

test("what two readers would read in two ways, and what is no manifest, is refused", () => {
  for (const bad of [
    { ...image, manifests: [] },
    { ...index, layers: [] },
    { ...index, config: part("a") },
    { ...image, schemaVersion: 1 },
    { ...image, config: undefined },
    { ...image, subject: { digest: "x" } },
    { ...image, annotations: { note: 1 } },
    { ...image, mediaType: "application/json" },
    [],
    "text",
  ]) {
    assert.throws(() => read(bad), { code: "format_invalid" }, JSON.stringify(bad).slice(0, 80));
  }
  assert.throws(() => readPushedManifest(Buffer.from([0xff, 0xfe]), undefined), { code: "format_invalid" });
  assert.throws(() => readPushedManifest(Buffer.alloc(4 * 1024 * 1024 + 1, 0x20), undefined), { code: "format_limit" });
});

test("digests of both algorithms, and the tag that stands for the referrers API", () => {
  assert.equal(algorithmOf(parseOciDigest(long)), "sha512");
  assert.equal(referrersTag(parseOciDigest(digest("a"))), `sha256-${"a".repeat(64)}`);
  assert.equal(referrersTag(parseOciDigest(long)), `sha512-${"e".repeat(64)}`);
  for (const bad of ["", "sha256:", digest("A"), `${digest("a")}0`, "md5:00", `sha512:${"e".repeat(64)}`, "../../etc/passwd"])
    assert.equal(isOciDigest(bad), false, bad);
});
