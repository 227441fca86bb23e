/** A write that takes less than it was given. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { writeAll } from "../../src/io/write-all.ts";

test("a piece is written completely where each write takes only some of it, and the error of a full disk comes through", async () => {
  const seen: { readonly text: string; readonly position: number | undefined }[] = [];
  const handle = {
    write: (piece: Uint8Array, offset: number, length: number, position?: number) => {
      if (seen.length === 3) throw Object.assign(new Error("full"), { code: "ENOSPC" });
      const bytesWritten = Math.min(2, length);
      seen.push({ text: Buffer.from(piece).toString("latin1", offset, offset + bytesWritten), position });
      return Promise.resolve({ bytesWritten });
    },
  };
  await writeAll(handle, Buffer.from("slipw"), 100);
  assert.deepEqual(seen, [
    { text: "sl", position: 100 },
    { text: "ip", position: 102 },
    { text: "w", position: 104 },
  ]);
  await assert.rejects(writeAll(handle, Buffer.from("ay")), { code: "ENOSPC" });
  seen.length = 1;
  await writeAll(handle, Buffer.from("ay"));
  assert.deepEqual(seen[1], { text: "ay", position: undefined }, "without a position it goes on behind what was written last");
});
