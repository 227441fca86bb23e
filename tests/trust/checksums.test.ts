/** SHA256SUMS: what sha256sum of coreutils and of busybox read alike, and nothing else. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { formatChecksums, parseChecksums } from "../../src/trust/checksums.ts";
import { needClient } from "../support/clients.ts";
import { gpgFolder } from "../support/gpg.ts";

const hex = (text: string): string => createHash("sha256").update(text).digest("hex");
const a = hex("a");
const b = hex("b");

test("C14 J2 sha256sum -c of coreutils and of busybox accept the sums, and coreutils writes the same ones", async (t) => {
  if (!needClient(t, "sha256sum", "busybox")) return;
  const folder = await gpgFolder(t);
  const names = ["release.json", "coequal-1.4.2-1.x86_64.rpm", "coequal_1.4.2_amd64.deb", "Z.tar.gz"];
  for (const name of names) await folder.write(name, name);
  const sums = formatChecksums(names.map((name) => [name, hex(name)]));
  await folder.write("SHA256SUMS", sums);
  for (const argv of [
    ["sha256sum", "-c", "--strict", "SHA256SUMS"],
    ["sha256sum", "-c", "SHA256SUMS", "--ignore-missing"],
    ["busybox", "sha256sum", "-c", "SHA256SUMS"],
  ]) {
    const checked = await folder.run(argv);
    assert.equal(checked.exitCode, 0, `${argv.join(" ")}: ${checked.stderr}`);
    assert.equal(checked.stdout.match(/: OK/g)?.length, names.length);
  }
  const peer = await folder.run(["sha256sum", "Z.tar.gz", "coequal-1.4.2-1.x86_64.rpm", "coequal_1.4.2_amd64.deb", "release.json"]);
  assert.equal(sums, peer.stdout);
});

test("sums are sorted by bytes, whatever the order of the files, and read back as they were written", () => {
  const sums = formatChecksums([
    ["b", b],
    ["a", a],
    ["C", b],
  ]);
  assert.equal(sums, `${b}  C\n${a}  a\n${b}  b\n`);
  assert.deepEqual(
    [...parseChecksums(Buffer.from(sums))],
    [
      ["C", b],
      ["a", a],
      ["b", b],
    ],
  );
});

test("any set of artifact names survives writing and reading", () => {
  const name = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_+-]{0,30}$/);
  fc.assert(
    fc.property(fc.uniqueArray(name, { minLength: 1, maxLength: 30 }), (names) => {
      const entries = names.map((each): [string, string] => [each, hex(each)]);
      assert.deepEqual(new Map(parseChecksums(Buffer.from(formatChecksums(entries)))), new Map(entries));
    }),
    { numRuns: 100 },
  );
});

const refusals: readonly (readonly [title: string, content: string, line: number, detail: string])[] = [
  ["CRLF line ends", `${a}  a\r\n`, 1, "sums_malformed"],
  ["upper-case hex", `${a.toUpperCase()}  a\n`, 1, "sums_malformed"],
  ["the binary marker", `${a} *a\n`, 1, "sums_malformed"],
  ["an escaped name", `\\${a}  a\\nb\n`, 1, "sums_malformed"],
  ["a comment", `${a}  a\n# b\n`, 2, "sums_malformed"],
  ["a blank line", `${a}  a\n\n${b}  b\n`, 2, "sums_malformed"],
  ["a missing last line feed", `${a}  a\n${b}  b`, 2, "sums_malformed"],
  ["lines out of order", `${b}  b\n${a}  a\n`, 2, "sums_malformed"],
  ["one space", `${a} a\n`, 1, "sums_malformed"],
  ["three spaces", `${a}   a\n`, 1, "sums_malformed"],
  ["a path", `${a}  ../a\n`, 1, "sums_malformed"],
  ["a folder", `${a}  x/a\n`, 1, "sums_malformed"],
  ["a leading dot", `${a}  .a\n`, 1, "sums_malformed"],
  ["a name beyond ASCII", `${a}  ä\n`, 1, "sums_malformed"],
  ["a NUL", `${a}  a\0b\n`, 1, "sums_malformed"],
  ["a byte order mark", `\ufeff${a}  a\n`, 1, "sums_malformed"],
  ["a short digest", `${a.slice(1)}  a\n`, 1, "sums_malformed"],
  ["nothing", "", 1, "sums_malformed"],
  ["a name twice with the same digest", `${a}  a\n${a}  a\n`, 2, "sums_entry_duplicate"],
  ["a name twice with another digest", `${a}  a\n${b}  a\n`, 2, "sums_entry_duplicate"],
];

for (const [title, content, line, detail] of refusals) {
  test(`attack 11: sums with ${title} are refused with the line's number`, () => {
    assert.throws(() => parseChecksums(Buffer.from(content)), { code: "sums_invalid", detail, place: `SHA256SUMS:${line}` });
  });
}

test("sums beyond the limits are refused", () => {
  assert.throws(() => parseChecksums(Buffer.alloc(3 * 1024 * 1024, 0x61)), { code: "sums_invalid", message: /3145728 bytes; the limit is 2097152/ });
  const many = formatChecksums(Array.from({ length: 5_001 }, (_, index): [string, string] => [`f${String(index).padStart(5, "0")}`, a]));
  assert.throws(() => parseChecksums(Buffer.from(many)), { code: "sums_invalid", place: "SHA256SUMS:5001" });
});

test("sums cannot be written with a name twice, a path, or another digest", () => {
  assert.throws(
    () =>
      formatChecksums([
        ["a", a],
        ["a", b],
      ]),
    { code: "sums_invalid", detail: "sums_entry_duplicate" },
  );
  assert.throws(() => formatChecksums([["../a", a]]), { code: "name_invalid" });
  assert.throws(() => formatChecksums([["a", a.toUpperCase()]]), { code: "sums_invalid" });
});
