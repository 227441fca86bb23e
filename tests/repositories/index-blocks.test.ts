/** Indexes as blocks: the contract at the top of src/repositories/index-blocks.ts, on small blocks so that many are made. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import * as fc from "fast-check";
import type { Digest } from "../../src/model/digest.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import {
  emptyIndex,
  type IndexChange,
  type IndexForm,
  type IndexState,
  indexParts,
  indexStateSchema,
  updateIndex,
} from "../../src/repositories/index-blocks.ts";

const small = { blockBytes: 300, segmentBytes: 900 };
const packages: IndexForm = { name: "packages", terminator: "\n\n", ...small };
const primary: IndexForm = {
  name: "primary",
  terminator: "</package>\n",
  frame: { head: (count) => `<metadata packages="${count}">\n`, foot: "</metadata>\n" },
  ...small,
};

/** Blobs in memory, as a caller keeps them; counts how often each is opened. */
class Blobs {
  readonly blobs = new Map<Digest, Uint8Array>();
  opened: Digest[] = [];
  readonly open = (digest: Digest): Promise<Uint8Array> => {
    this.opened.push(digest);
    const bytes = this.blobs.get(digest);
    return bytes === undefined ? Promise.reject(new Error(`no blob ${digest}`)) : Promise.resolve(bytes);
  };

  async change(form: IndexForm, before: IndexState, change: IndexChange): Promise<{ state: IndexState; made: number }> {
    const { state, blocks } = await updateIndex(form, before, change, this.open);
    for (const block of blocks) {
      assert.ok(!before.blocks.some((old) => old.digest === block.digest), "only blocks that the old state did not name are new");
      this.blobs.set(block.digest, block.bytes);
    }
    return { state: indexStateSchema.parse(JSON.parse(JSON.stringify(state))), made: blocks.length };
  }

  async file(form: IndexForm, state: IndexState): Promise<Buffer> {
    const pieces = (await indexParts(form, state)).map((part) => {
      const bytes = part.kind === "bytes" ? part.bytes : this.blobs.get(part.digest);
      assert.ok(bytes !== undefined);
      return bytes;
    });
    return Buffer.concat(pieces);
  }
}

const hex = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const stanza = (n: number): string => `Package: coequal\nVersion: 1.${n}.0\nDescription: ${"words ".repeat(n % 13)}\n\n`;
const element = (n: number): string => `<package><name>coequal</name><v>${n}</v>${"<f/>".repeat(n % 9)}</package>\n`;
const range = (from: number, to: number): readonly number[] => Array.from({ length: to - from }, (_, index) => from + index);

async function checkFile(blobs: Blobs, form: IndexForm, state: IndexState, fragments: readonly string[]): Promise<void> {
  const bytes = await blobs.file(form, state);
  const plain = gunzipSync(bytes);
  const expected = form.frame === undefined ? fragments.join("") : form.frame.head(fragments.length) + fragments.join("") + form.frame.foot;
  assert.equal(plain.toString(), expected);
  assert.equal(state.count, fragments.length);
  assert.deepEqual(
    [state.file.size, state.file.digest, state.file.plainSize],
    [bytes.length, hex(bytes), plain.length],
    "the state describes the file that its parts make",
  );
  assert.equal(state.file.plainDigest, form.frame === undefined ? hex(plain) : undefined);
}

test("whatever was added and removed in whatever steps, the index is the one that is built at once from what is left", async () => {
  const steps = fc.array(fc.record({ add: fc.nat(25), removeFrom: fc.nat(1000), remove: fc.nat(12) }), { minLength: 1, maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom("packages", "primary"), async (changes, which) => {
      const [form, text] = which === "packages" ? [packages, stanza] : [primary, element];
      const blobs = new Blobs();
      let state = await emptyIndex(form);
      let present: string[] = [];
      let next = 0;
      for (const { add, removeFrom, remove } of changes) {
        const start = present.length === 0 ? 0 : removeFrom % present.length;
        const leaving = present.slice(start, start + remove);
        const coming = range(next, next + add).map(text);
        next += add;
        state = (await blobs.change(form, state, { add: coming, remove: leaving })).state;
        present = [...present.slice(0, start), ...present.slice(start + remove), ...coming];
        await checkFile(blobs, form, state, present);
      }
      const atOnce = await new Blobs().change(form, await emptyIndex(form), { add: present });
      assert.deepEqual(state, atOnce.state);
    }),
    { numRuns: 60 },
  );
});

test("adding to a long index opens and makes only blocks at its end", async () => {
  const blobs = new Blobs();
  let { state } = await blobs.change(packages, await emptyIndex(packages), { add: range(0, 2000).map(stanza) });
  assert.ok(state.blocks.length > 200);
  for (const n of range(2000, 2040)) {
    blobs.opened = [];
    const result = await blobs.change(packages, state, { add: [stanza(n)] });
    state = result.state;
    assert.ok(blobs.opened.length <= 1 && result.made <= 2, `opened ${blobs.opened.length}, made ${result.made}`);
  }
});

test("removing from a long index makes only the blocks up to the next end that the fragments ask for", async () => {
  const blobs = new Blobs();
  let { state } = await blobs.change(packages, await emptyIndex(packages), { add: range(0, 2000).map(stanza) });
  const made: number[] = [];
  for (const n of [0, 500, 999, 1500, 1999]) {
    const result = await blobs.change(packages, state, { add: [], remove: [stanza(n)] });
    state = result.state;
    made.push(result.made);
  }
  assert.ok(Math.max(...made) <= 30, `made ${made.join(", ")} of ${state.blocks.length}`);
});

test("removing what is not there is refused", async () => {
  const blobs = new Blobs();
  const { state } = await blobs.change(packages, await emptyIndex(packages), { add: range(0, 50).map(stanza) });
  await assert.rejects(
    updateIndex(packages, state, { add: [], remove: [stanza(50)] }, blobs.open),
    (error) => error instanceof SlipwayError && error.code === "internal",
  );
  await assert.rejects(updateIndex(packages, state, { add: [], remove: [stanza(1), stanza(1)] }, blobs.open), SlipwayError, "once there, twice asked for");
});

test("a block with a flipped bit is found before anything is made from it", async () => {
  const blobs = new Blobs();
  const { state } = await blobs.change(packages, await emptyIndex(packages), { add: range(0, 5).map(stanza) });
  const last = state.blocks.at(-1);
  assert.ok(last !== undefined);
  const damaged = Uint8Array.from(blobs.blobs.get(last.digest) ?? []);
  damaged[20] = (damaged[20] ?? 0) ^ 1;
  blobs.blobs.set(last.digest, damaged);
  await assert.rejects(updateIndex(packages, state, { add: [stanza(6)] }, blobs.open), /is damaged/);
});

test("a fragment that is no whole fragment, or more than one, is a bug and stops", async () => {
  const state = await emptyIndex(packages);
  for (const text of ["", "Package: a\n", "Package: a\n\nPackage: b\n\n", "Package: a\n\n\n"]) {
    await assert.rejects(updateIndex(packages, state, { add: [text] }, new Blobs().open), /terminator once/);
  }
});

test("every block is a gzip member with nothing of this machine in its header", async () => {
  const { blocks } = await updateIndex(packages, await emptyIndex(packages), { add: range(0, 20).map(stanza) }, new Blobs().open);
  for (const block of blocks) assert.deepEqual([...block.bytes.subarray(0, 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
});
