/** Listing as S3 lists: pages, delimiters and tokens against a plain reading of the rules, and the forms of the answer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { readQuery } from "../../src/access/signature-v4.ts";
import { digestFromHex } from "../../src/model/digest.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import type { BucketTree } from "../../src/releases/bucket-tree.ts";
import { bucketsXml, listPage, listXml, readBucketPath, readListRequest } from "../../src/server/s3-list.ts";

const keys = ["SHA256SUMS", "deb/dists/stable/InRelease", "deb/dists/stable/Release", "deb/pool/a.deb", "deb/pool/b.deb", "rpm/repodata/repomd.xml", "z+1.gpg"];

const refuses =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.detail === code;

test("a delimiter folds what lies below it into common prefixes, counted as one", () => {
  const root = listPage(keys, { prefix: "", delimiter: "/", after: "", maxKeys: 1000 });
  assert.deepEqual(root, { keys: ["SHA256SUMS", "z+1.gpg"], prefixes: ["deb/", "rpm/"], next: undefined });
  const deb = listPage(keys, { prefix: "deb/", delimiter: "/", after: "", maxKeys: 1 });
  assert.deepEqual(deb, { keys: [], prefixes: ["deb/dists/"], next: "deb/dists/" });
  assert.deepEqual(listPage(keys, { prefix: "deb/", delimiter: "/", after: "deb/dists/", maxKeys: 1 }), { keys: [], prefixes: ["deb/pool/"], next: undefined });
  assert.deepEqual(listPage(keys, { prefix: "deb/d", delimiter: "", after: "deb/dists/stable/InRelease", maxKeys: 9 }).keys, ["deb/dists/stable/Release"]);
  assert.deepEqual(listPage(keys, { prefix: "nothing", delimiter: "", after: "", maxKeys: 9 }), { keys: [], prefixes: [], next: undefined });
  assert.deepEqual(listPage(keys, { prefix: "", delimiter: "", after: "", maxKeys: 0 }), { keys: [], prefixes: [], next: undefined });
});

/** What a reader of the manual would write, without any cleverness. */
function plainListing(all: readonly string[], prefix: string, delimiter: string): readonly string[] {
  const entries = all
    .filter((key) => key.startsWith(prefix))
    .map((key) => {
      const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
      return at < 0 ? `key ${key}` : `prefix ${key.slice(0, at + delimiter.length)}`;
    });
  return [...new Set(entries)];
}

test("page by page, of any size, a listing is the whole listing", () => {
  const key = fc.array(fc.constantFrom("a", "b", "/", "-"), { minLength: 1, maxLength: 6 }).map((letters) => letters.join(""));
  const property = fc.property(
    fc.uniqueArray(key, { maxLength: 30 }),
    fc.constantFrom("", "a", "a/", "b-"),
    fc.constantFrom("", "/", "-", "a/"),
    fc.integer({ min: 1, max: 5 }),
    (all, prefix, delimiter, maxKeys) => {
      const sorted = [...all].sort();
      const seen: string[] = [];
      let after = "";
      for (let page = 0; page < 100; page += 1) {
        const { keys: found, prefixes, next } = listPage(sorted, { prefix, delimiter, after, maxKeys });
        assert.ok(found.length + prefixes.length <= maxKeys);
        seen.push(...found.map((one) => `key ${one}`), ...prefixes.map((one) => `prefix ${one}`));
        if (next === undefined) break;
        assert.equal(found.length + prefixes.length, maxKeys, "a page that has a next one is full");
        after = next;
      }
      assert.deepEqual(seen.toSorted(), [...plainListing(sorted, prefix, delimiter)].sort());
    },
  );
  fc.assert(property, { numRuns: 500 });
});

const tree: BucketTree = {
  product: "coequal",
  createdAt: new Date("2026-01-01T00:00:00Z"),
  snapshotId: "S1",
  keys,
  files: new Map(
    keys.map((key) => [
      key,
      { key, digest: digestFromHex("ab".repeat(32)), size: 7, modifiedAt: new Date("2026-02-03T04:05:06Z"), mediaType: "text/plain", isImmutable: true },
    ]),
  ),
};

test("the answer has what clients read, keys encoded where they ask for it", () => {
  const request = readListRequest(readQuery("list-type=2&prefix=&delimiter=%2F&encoding-type=url"));
  const xml = listXml("coequal", tree, request, listPage(keys, request));
  assert.match(
    xml,
    /<Name>coequal<\/Name><Prefix><\/Prefix><Delimiter>\/<\/Delimiter><MaxKeys>1000<\/MaxKeys><EncodingType>url<\/EncodingType><KeyCount>4<\/KeyCount>/,
  );
  assert.match(xml, /<Contents><Key>z%2B1\.gpg<\/Key><LastModified>2026-02-03T04:05:06\.000Z<\/LastModified><ETag>"(ab){32}"<\/ETag><Size>7<\/Size>/);
  assert.match(xml, /<IsTruncated>false<\/IsTruncated>.*<CommonPrefixes><Prefix>deb\/<\/Prefix><\/CommonPrefixes>/);
});

test("a token leads on from where the page ended, in its own snapshot", () => {
  const first = readListRequest(readQuery("list-type=2&max-keys=2"));
  const xml = listXml("coequal", tree, first, listPage(keys, first));
  assert.match(xml, /<IsTruncated>true<\/IsTruncated>/);
  const token = /<NextContinuationToken>([^<]+)</.exec(xml)?.[1] ?? "";
  const second = readListRequest([
    ["list-type", "2"],
    ["max-keys", "2"],
    ["continuation-token", token],
    ["start-after", "zzz"],
  ]);
  assert.equal(second.token?.snapshotId, "S1");
  assert.deepEqual(listPage(keys, second).keys, keys.slice(2, 4));
  const old = readListRequest(readQuery("max-keys=2&marker=SHA256SUMS"));
  assert.match(listXml("coequal", tree, old, listPage(keys, old)), /<Marker>SHA256SUMS<\/Marker><NextMarker>deb\/dists\/stable\/Release<\/NextMarker>/);
});

test("parameters that are none are refused", () => {
  for (const query of [
    "max-keys=-1",
    "max-keys=many",
    "encoding-type=xml",
    "list-type=2&continuation-token=abc",
    "list-type=2&continuation-token=",
    "prefix=%00",
    `prefix=${"a".repeat(1025)}`,
  ]) {
    assert.throws(() => readListRequest(readQuery(query)), refuses("InvalidArgument"), query);
  }
  assert.equal(readListRequest(readQuery("max-keys=100000")).maxKeys, 1000);
  assert.throws(() => readBucketPath("/b/%ff"), refuses("InvalidURI"));
  assert.deepEqual(readBucketPath("/b/a%2Bb/c"), { bucket: "b", key: "a+b/c" });
  assert.deepEqual(readBucketPath("/"), { bucket: "", key: "" });
});

test("buckets are listed with their owner", () => {
  assert.match(bucketsXml("acme & sons", [{ name: "coequal", createdAt: new Date(0) }]), /<DisplayName>acme &amp; sons<\/DisplayName>.*<Name>coequal<\/Name>/);
});
