/** Names of keys in recipes and flags. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseKeyReference } from "../../src/trust/key-reference.ts";

test("the three forms of a key reference are read", () => {
  assert.deepEqual(parseKeyReference("env:COEQUAL_RELEASE_KEY"), { kind: "env", name: "COEQUAL_RELEASE_KEY" });
  assert.deepEqual(parseKeyReference("file:/run/secrets/release.key"), { kind: "file", path: "/run/secrets/release.key" });
  assert.deepEqual(parseKeyReference("key:release"), { kind: "key", name: "release" });
});

test("anything else is refused, and what may be a pasted key is not repeated", () => {
  const pasted = "-----BEGIN PGP PRIVATE KEY BLOCK-----";
  for (const text of ["", "release", "env:", "env:1BAD", "env:A B", "file:", "file:a\0b", "kms:x", "RWQAAEIy", pasted]) {
    assert.throws(
      () => parseKeyReference(text),
      (error: Error & { code?: string }) => error.code === "key_invalid" && !error.message.includes("PGP PRIVATE"),
    );
  }
  assert.throws(() => parseKeyReference("key:../x"), { code: "name_invalid" });
});
