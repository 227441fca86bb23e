/** What tags mean: a table of tags and releases. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { OciDigest } from "../../src/formats/oci-digest.ts";
import { parseVersion } from "../../src/model/version.ts";
import { repositoryOfArchive } from "../../src/formats/oci-reference.ts";
import { attachedTo, isClosedTag, type TaggedRelease, tagMeaning } from "../../src/releases/oci-tags.ts";
import type { ReleaseState } from "../../src/store/schema.ts";

const digest = (letter: string): OciDigest => `sha256:${letter.repeat(64)}` as OciDigest;
const tags = (map: Readonly<Record<string, string>>): ReadonlyMap<string, OciDigest> =>
  new Map(Object.entries(map).map(([tag, letter]) => [tag, digest(letter)]));
const releases = (map: Readonly<Record<string, ReleaseState>>): readonly TaggedRelease[] =>
  Object.entries(map).map(([version, state]) => ({ version: parseVersion(version), state, replacement: undefined }));

type Row = {
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly releases: Readonly<Record<string, ReleaseState>>;
  readonly published: Readonly<Record<string, string>>;
};

const rows: readonly Row[] = [
  { name: "nothing is published", tags: { "1.0.0": "a", latest: "a" }, releases: { "1.0.0": "draft" }, published: {} },
  { name: "no release at all", tags: { "1.0.0": "a" }, releases: {}, published: {} },
  { name: "a published release, and latest by itself", tags: { "1.0.0": "a" }, releases: { "1.0.0": "published" }, published: { "1.0.0": "a", latest: "a" } },
  {
    name: "both spellings of a version",
    tags: { "1.0.0": "a", "v1.0.0": "a" },
    releases: { "1.0.0": "published" },
    published: { "1.0.0": "a", "v1.0.0": "a", latest: "a" },
  },
  {
    name: "latest is the newest by version, not the last one pushed, and never a preview",
    tags: { "1.10.0": "a", "1.9.0": "b", "2.0.0-rc.1": "c", latest: "b" },
    releases: { "1.10.0": "published", "1.9.0": "published", "2.0.0-rc.1": "published" },
    published: { "1.10.0": "a", "1.9.0": "b", "2.0.0-rc.1": "c", latest: "a" },
  },
  {
    name: "a newer release without an image here leaves latest where it is",
    tags: { "1.0.0": "a" },
    releases: { "1.0.0": "published", "1.1.0": "published" },
    published: { "1.0.0": "a", latest: "a" },
  },
  {
    name: "previews alone make no latest, also where the vendor pushed one",
    tags: { "1.0.0-rc.1": "a", latest: "b" },
    releases: { "1.0.0-rc.1": "published" },
    published: { "1.0.0-rc.1": "a" },
  },
  {
    name: "the vendor's own tags where they name a published image",
    tags: { "1.0.0": "a", "1.0": "a", edge: "b" },
    releases: { "1.0.0": "published" },
    published: { "1.0.0": "a", "1.0": "a", latest: "a" },
  },
  {
    name: "a draft's tag does not show the draft, whatever it names",
    tags: { "1.0.0": "a", "1.1.0": "a" },
    releases: { "1.0.0": "published", "1.1.0": "draft" },
    published: { "1.0.0": "a", latest: "a" },
  },
  {
    name: "withdrawn and retired releases take their tags with them",
    tags: { "1.0.0": "a", "1.1.0": "b", "1.2.0": "c" },
    releases: { "1.0.0": "published", "1.1.0": "withdrawn", "1.2.0": "retired" },
    published: { "1.0.0": "a", latest: "a" },
  },
  {
    name: "build metadata is written with a dash, as tags have no plus",
    tags: { "1.0.0-b.5": "a" },
    releases: { "1.0.0+b.5": "published" },
    published: { "1.0.0-b.5": "a", latest: "a" },
  },
];

for (const row of rows) {
  test(`customers see: ${row.name}`, () => {
    const meaning = tagMeaning(tags(row.tags), releases(row.releases));
    assert.deepEqual(Object.fromEntries(meaning.published), Object.fromEntries(tags(row.published)));
  });
}

test("a release's tags are closed from its publication on, for ever", () => {
  const known = releases({ "1.0.0": "draft", "1.1.0": "published", "1.2.0": "withdrawn", "1.3.0": "retired" });
  const closed = ["1.0.0", "v1.0.0", "1.1.0", "v1.1.0", "1.2.0", "1.3.0", "1.4.0", "edge"].filter((tag) => isClosedTag(known, tag));
  assert.deepEqual(closed, ["1.1.0", "v1.1.0", "1.2.0", "1.3.0"]);
});

test("tags that say what they are about", () => {
  const base = `sha256-${"a".repeat(64)}`;
  assert.deepEqual([base, `${base}.sig`, `${base}.att`, `${base}x`, "1.0.0"].map(attachedTo), [base, base, base, undefined, undefined]);
});

test("the repository of an archive is its product's, or one below it", () => {
  const version = parseVersion("1.4.0");
  assert.equal(repositoryOfArchive("coequal", version, "coequal-1.4.0-oci.tar"), "coequal");
  assert.equal(repositoryOfArchive("coequal", version, "worker-1.4.0-oci.tar"), "coequal/worker");
  assert.equal(repositoryOfArchive("coequal", version, "worker.oci.tar"), "coequal/worker");
  assert.equal(repositoryOfArchive("coequal", parseVersion("1.4.0+b"), "coequal-1.4.0-b.tar"), "coequal");
  assert.throws(() => repositoryOfArchive("coequal", version, "-1.4.0-oci.tar"), { code: "name_invalid" });
});
