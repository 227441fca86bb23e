/** The resumable hash against OpenSSL's. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { ResumableSha256 } from "../../src/repositories/resumable-sha256.ts";

const reference = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

test("the resumable SHA-256 agrees with OpenSSL at every length around its block size", () => {
  const bytes = randomBytes(400);
  for (let length = 0; length <= bytes.length; length += 1) {
    assert.equal(new ResumableSha256().update(bytes.subarray(0, length)).digestHex(), reference(bytes.subarray(0, length)), `length ${length}`);
  }
});

test("a state that went through JSON goes on where it stopped, wherever it was cut", () => {
  const bytes = randomBytes(70_000);
  for (const cut of [0, 1, 55, 56, 63, 64, 65, 127, 128, 4096, 69_999, 70_000]) {
    const first = new ResumableSha256().update(bytes.subarray(0, cut));
    const second = ResumableSha256.resume(JSON.parse(JSON.stringify(first.state())));
    assert.equal(second.update(bytes.subarray(cut)).digestHex(), reference(bytes), `cut at ${cut}`);
  }
});

test("asking for the digest does not end the hash", () => {
  const hash = new ResumableSha256().update(Buffer.from("one "));
  assert.equal(hash.digestHex(), reference(Buffer.from("one ")));
  assert.equal(hash.update(Buffer.from("two")).digestHex(), reference(Buffer.from("one two")));
});
