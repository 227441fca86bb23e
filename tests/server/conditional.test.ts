/** The table of conditional and ranged requests against one file of 1,000 bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Answer, answerFor, type ConditionalHeaders } from "../../src/server/conditional.ts";

const tag = `"${"a".repeat(64)}"`;
const file = { entityTag: tag, lastModified: new Date("2026-05-04T10:00:00.900Z"), size: 1000 };
const date = "Mon, 04 May 2026 10:00:00 GMT";
const earlier = "Mon, 04 May 2026 09:59:59 GMT";
const later = "Mon, 04 May 2026 10:00:01 GMT";
const whole: Answer = { kind: "whole" };
const part = (first: number, last: number): Answer => ({ kind: "part", first, last });

const rows: readonly (readonly [string, ConditionalHeaders, Answer])[] = [
  ["no condition", {}, whole],
  ["If-Modified-Since the very date, as apt sends it", { "if-modified-since": date }, { kind: "not-modified" }],
  ["If-Modified-Since a later date", { "if-modified-since": later }, { kind: "not-modified" }],
  ["If-Modified-Since an earlier date", { "if-modified-since": earlier }, whole],
  ["If-Modified-Since no date", { "if-modified-since": "yesterday" }, whole],
  ["If-None-Match the tag", { "if-none-match": tag }, { kind: "not-modified" }],
  ["If-None-Match the weak tag in a list", { "if-none-match": `"x", W/${tag}` }, { kind: "not-modified" }],
  ["If-None-Match star", { "if-none-match": "*" }, { kind: "not-modified" }],
  ["If-None-Match another tag wins over the date", { "if-none-match": '"x"', "if-modified-since": date }, whole],
  ["If-Match another tag, as aws sends it after a change", { "if-match": '"x"' }, { kind: "precondition-failed" }],
  ["If-Match the tag", { "if-match": tag, range: "bytes=0-9" }, part(0, 9)],
  ["If-Match the weak tag", { "if-match": `W/${tag}` }, { kind: "precondition-failed" }],
  ["If-Unmodified-Since an earlier date", { "if-unmodified-since": earlier }, { kind: "precondition-failed" }],
  ["If-Unmodified-Since the date", { "if-unmodified-since": date }, whole],
  ["first ten bytes", { range: "bytes=0-9" }, part(0, 9)],
  ["from the middle to the end, as apt resumes", { range: "bytes=500-" }, part(500, 999)],
  ["the last ten", { range: "bytes=-10" }, part(990, 999)],
  ["more than there is from the end", { range: "bytes=-5000" }, part(0, 999)],
  ["an end past the end", { range: "bytes=990-5000" }, part(990, 999)],
  ["the last byte", { range: "bytes=999-999" }, part(999, 999)],
  ["a start past the end", { range: "bytes=1000-" }, { kind: "range-not-satisfiable" }],
  ["no bytes from the end", { range: "bytes=-0" }, { kind: "range-not-satisfiable" }],
  ["backwards", { range: "bytes=9-0" }, whole],
  ["two ranges", { range: "bytes=0-1,5-6" }, whole],
  ["another unit", { range: "lines=0-1" }, whole],
  ["no numbers", { range: "bytes=-" }, whole],
  ["absurdly long numbers", { range: `bytes=${"9".repeat(400)}-` }, whole],
  ["If-Range the date", { range: "bytes=500-", "if-range": date }, part(500, 999)],
  ["If-Range another date", { range: "bytes=500-", "if-range": earlier }, whole],
  ["If-Range a later date", { range: "bytes=500-", "if-range": later }, whole],
  ["If-Range the tag", { range: "bytes=500-", "if-range": tag }, part(500, 999)],
  ["If-Range a weak tag", { range: "bytes=500-", "if-range": `W/${tag}` }, whole],
  ["If-Range another tag", { range: "bytes=500-", "if-range": '"x"' }, whole],
  ["not modified wins over the range", { range: "bytes=500-", "if-none-match": tag }, { kind: "not-modified" }],
];
for (const [name, headers, answer] of rows) {
  test(`a GET with ${name} is answered by ${answer.kind}`, () => assert.deepEqual(answerFor("GET", headers, file), answer));
}

test("a HEAD ignores the range", () => assert.deepEqual(answerFor("HEAD", { range: "bytes=0-9" }, file), whole));
test("an empty file has no range", () => {
  assert.deepEqual(answerFor("GET", { range: "bytes=0-" }, { ...file, size: 0 }), { kind: "range-not-satisfiable" });
});
