/** Stanzas and release files as text. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { SlipwayError } from "../../src/model/errors.ts";
import { type AptEntry, type AptState, aptStanza, emptyApt, renderApt, updateApt } from "../../src/repositories/apt.ts";
import { memoryIndexFiles } from "../../src/repositories/index-files.ts";
import type { RepositoryFile } from "../../src/repositories/repository-file.ts";

const location = { filename: "pool/main/c/coequal/coequal_1.4.2_amd64.deb", sha256: "a".repeat(64) };
const control = [
  { name: "Package", value: "coequal" },
  { name: "Version", value: "1.4.2" },
  { name: "Architecture", value: "amd64" },
  { name: "Description", value: "Jobs\n First paragraph.\n .\n Second." },
];
const deb = (fields: readonly { name: string; value: string }[]) => ({ fields, sizes: { packageBytes: 1234, installedBytes: 0 } });

test("a stanza is the control file as it stands, then place, size and digest", () => {
  const expected = `Package: coequal
Version: 1.4.2
Architecture: amd64
Description: Jobs
 First paragraph.
 .
 Second.
Filename: pool/main/c/coequal/coequal_1.4.2_amd64.deb
Size: 1234
MD5sum: ${"b".repeat(32)}
SHA256: ${"a".repeat(64)}

`;
  assert.equal(aptStanza(deb(control), { ...location, md5: "b".repeat(32) }), expected);
});

const crooked = [
  { title: "an empty line, which would end the stanza", field: { name: "Description", value: "x\n\nPackage: sudo" } },
  { title: "a line of blanks, which some parsers take for an end", field: { name: "Description", value: "x\n \nPackage: sudo" } },
  { title: "a further line that starts a field", field: { name: "Description", value: "x\nFilename: elsewhere" } },
  { title: "a Filename of its own", field: { name: "Filename", value: "elsewhere.deb" } },
  { title: "a digest of its own", field: { name: "sha256", value: "0".repeat(64) } },
  { title: "a field twice", field: { name: "VERSION", value: "9" } },
  { title: "a carriage return", field: { name: "Homepage", value: "x\rPackage: sudo" } },
  { title: "a NUL", field: { name: "Homepage", value: "x\0" } },
];
for (const { title, field } of crooked) {
  test(`a control file with ${title} is refused`, () => {
    const fields = field.name === "Description" ? [...control.slice(0, 3), field] : [...control, field];
    assert.throws(
      () => aptStanza(deb(fields), location),
      (error) => error instanceof SlipwayError && error.code === "format_invalid",
    );
  });
}

const sign = { clearsign: (release: string) => Promise.resolve(`signed\n${release}`), detach: () => Promise.resolve("signature\n") };

async function render(state: AptState, now: string, previousDate?: string): Promise<Map<string, RepositoryFile>> {
  const view = { state, product: "coequal", channel: "stable", now: new Date(now), validUntilDays: 7, sign };
  const files = await renderApt({ ...view, ...(previousDate === undefined ? {} : { previousDate: new Date(previousDate) }) });
  return new Map(files.map((file) => [file.path, file]));
}

function text(file: RepositoryFile | undefined): string {
  assert.ok(file?.bytes !== undefined);
  return Buffer.from(file.bytes).toString();
}

test("the release file has every field that apt looks at, and lists Packages plain and packed", async () => {
  const stanza = aptStanza(deb(control), location);
  const indexes = memoryIndexFiles();
  const state = await updateApt(await emptyApt(indexes, ["arm64"]), { add: [{ arch: "amd64", stanza }] }, indexes);
  const files = await render(state, "2026-11-20T08:00:00Z");
  const packed = indexes.bytesOf(state.indexes["amd64"]?.file.digest ?? assert.fail());
  const hex = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
  assert.equal(gunzipSync(packed).toString(), stanza);
  const empty = files.get("dists/stable/main/binary-arm64/Packages.gz");
  const expected = `Origin: coequal
Label: coequal
Suite: stable
Codename: stable
Date: Fri, 20 Nov 2026 08:00:00 UTC
Valid-Until: Fri, 27 Nov 2026 08:00:00 UTC
Acquire-By-Hash: yes
Architectures: amd64 arm64
Components: main
Description: coequal packages, channel stable
SHA256:
 ${hex(stanza)} ${stanza.length} main/binary-amd64/Packages
 ${hex(packed)} ${packed.length} main/binary-amd64/Packages.gz
 ${hex("")} 0 main/binary-arm64/Packages
 ${empty?.digest.slice(7)} ${empty?.size} main/binary-arm64/Packages.gz
`;
  assert.equal(text(files.get("dists/stable/Release")), expected);
  assert.equal(text(files.get("dists/stable/InRelease")), `signed\n${expected}`);
  assert.deepEqual(
    [...files.values()].filter((file) => file.isImmutable).map((file) => file.path),
    [`dists/stable/main/binary-amd64/by-hash/SHA256/${hex(packed)}`, `dists/stable/main/binary-arm64/by-hash/SHA256/${empty?.digest.slice(7)}`],
  );
});

test("renewing Valid-Until changes the release files only, and Date never goes back", async () => {
  const indexes = memoryIndexFiles();
  const state = await updateApt(undefined, { add: [{ arch: "amd64", stanza: aptStanza(deb(control), location) }] }, indexes);
  const [first, later, wrongClock] = [
    await render(state, "2026-11-20T08:00:00Z"),
    await render(state, "2026-11-25T08:00:00Z"),
    await render(state, "2026-11-19T08:00:00Z", "2026-11-20T08:00:00Z"),
  ];
  const changed = [...first].filter(([path, file]) => later.get(path)?.digest !== file.digest).map(([path]) => path);
  assert.deepEqual(changed.sort(), ["dists/stable/InRelease", "dists/stable/Release"]);
  assert.match(text(wrongClock.get("dists/stable/Release")), /^Date: Fri, 20 Nov 2026 08:00:00 UTC$/m);
});

test("a package for all architectures is listed in each, also in one that joins later, and by itself while there is no other", async () => {
  const docs = { arch: "all", stanza: "Package: coequal-docs\n\n" };
  const indexes = memoryIndexFiles();
  const grow = (state: AptState | undefined, entry: AptEntry): Promise<AptState> => updateApt(state, { add: [entry] }, indexes);
  const packages = async (state: AptState): Promise<Record<string, string>> => {
    const files = await render(state, "2026-11-20T08:00:00Z");
    const found = [...files].flatMap(([path, file]) => {
      const [, arch] = /binary-([a-z0-9]+)\/Packages\.gz$/.exec(path) ?? [];
      return arch === undefined ? [] : [[arch, gunzipSync(indexes.bytesOf(file.digest)).toString()] as const];
    });
    const listed = /^Architectures: (.*)$/m.exec(text(files.get("dists/stable/Release")))?.[1];
    assert.equal(listed, found.map(([arch]) => arch).join(" "));
    for (const { file } of Object.values(state.indexes))
      assert.ok(
        [...files.values()].some(({ digest }) => digest === file.digest),
        "the next state grows from a file that the snapshot keeps",
      );
    return Object.fromEntries(found);
  };
  const first = await grow(undefined, docs);
  assert.deepEqual(await packages(first), { all: docs.stanza });
  const joined = await grow(first, { arch: "arm64", stanza: "Package: coequal\n\n" });
  assert.deepEqual(await packages(joined), { arm64: `${docs.stanza}Package: coequal\n\n` });
  const both = await grow(joined, { arch: "amd64", stanza: "Package: coequal\n\n" });
  assert.deepEqual(Object.keys(await packages(both)), ["amd64", "arm64"]);
  assert.equal((await packages(both))["amd64"], `${docs.stanza}Package: coequal\n\n`);
});

test("the channel without one package is the channel of the others, in each architecture that holds it", async () => {
  const indexes = memoryIndexFiles();
  const sha256 = (n: number): string => createHash("sha256").update(String(n)).digest("hex");
  const entries = Array.from({ length: 30 }, (_, n): AptEntry => {
    const arch = ["amd64", "arm64", "all"][n % 3] ?? "";
    return { arch, stanza: aptStanza(deb([{ name: "Package", value: `coequal-${n}` }]), { ...location, sha256: sha256(n) }) };
  });
  const all = await updateApt(undefined, { add: entries }, indexes);
  for (const n of [6, 7, 8]) {
    const others = await updateApt(undefined, { add: entries.toSpliced(n, 1) }, indexes);
    const fileDigests = (state: AptState): unknown => Object.entries(state.indexes).map(([arch, { file, count }]) => [arch, count, file]);
    assert.deepEqual(fileDigests(await updateApt(all, { add: [], without: new Set([sha256(n)]) }, indexes)), fileDigests(others));
  }
});
