/** Names from outside: what is refused, and the nearest known word. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { asSlipwayError, SlipwayError } from "../../src/model/errors.ts";
import { nearestWord, parseFileName, parseProductName, parseWord } from "../../src/model/names.ts";
import { formatTarget, parseTarget } from "../../src/model/target.ts";

const refusedWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.code === code;

test("artifact names are one plain path segment", () => {
  for (const good of ["acme_1.2.3_amd64.deb", "acme-1.2.3-1.x86_64.rpm", "SHA256SUMS", "g++"]) assert.equal(parseFileName(good), good);
  for (const bad of ["", ".", "..", "a/b", "../x", "a\\b", ".hidden", "-rf", "a\u0000b", "a\nb", "a b", "a~b", "x..y", "ä", "%2e%2e", "x".repeat(201)]) {
    assert.throws(() => parseFileName(bad), refusedWith("name_invalid"), JSON.stringify(bad));
  }
});

test("product names follow dpkg's rule and stay off the server's own paths", () => {
  for (const good of ["acme", "g++", "lib-x.y"]) assert.equal(parseProductName(good), good);
  for (const bad of ["a", "Acme", "-acme", "acme/x", "v2", "api", "keys", "a".repeat(64)])
    assert.throws(() => parseProductName(bad), refusedWith("name_invalid"), bad);
  for (const bad of ["", "Stable", "a.b", "a/b"]) assert.throws(() => parseWord("channel", bad), refusedWith("name_invalid"));
});

test("targets accept uname's words and print ours", () => {
  assert.equal(formatTarget(parseTarget("linux/x86_64")), "linux/amd64");
  assert.equal(formatTarget(parseTarget("darwin/aarch64")), "darwin/arm64");
  for (const bad of ["linux", "linux/", "beos/amd64", "linux/amd64/v2", "linux/z80", "linux/constructor"])
    assert.throws(() => parseTarget(bad), refusedWith("target_invalid"));
});

test("the nearest word is offered only when it is near", () => {
  assert.equal(nearestWord("depend", ["depends", "description"]), "depends");
  assert.equal(nearestWord("comandline", ["depends", "description"]), undefined);
});

test("full disks and missing rights get their codes, anything else is a bug", () => {
  assert.equal(asSlipwayError(Object.assign(new Error("x"), { code: "ENOSPC" })).code, "disk_full");
  assert.equal(asSlipwayError(Object.assign(new Error("x"), { code: "EACCES" })).code, "permission_denied");
  assert.equal(asSlipwayError(new TypeError("x")).code, "internal");
  assert.equal(asSlipwayError("x").exitCode, 1);
});
