/** Indexes as blocks: the contract at the top of src/repositories/index-blocks.ts, on small blocks so that many are made. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import * as fc from "fast-check";
import { SlipwayError } from "../../src/model/errors.ts";
import { type IndexChange, type IndexForm, type IndexState, indexStateSchema, updateIndex } from "../../src/repositories/index-blocks.ts";
import { type IndexFiles, memoryIndexFiles } from "../../src/repositories/index-files.ts";

const small = { blockBytes: 300, segmentBytes: 900 };
const packages: IndexForm = { name: "packages", terminator: "\n\n", packageOf: (text) => /Version: (.*)/.exec(text.toString())?.[1] ?? "", ...small };
const primary: IndexForm = {
  name: "primary",
  terminator: "</package>\n",
  packageOf: (text) => /<v>(.*)<\/v>/.exec(text.toString())?.[1] ?? "",
  frame: { head: (count) => `<metadata packages="${count}">\n`, foot: "</metadata>\n" },
  ...small,
};

/** Index files as a caller keeps them, and the state as he stores it; counts the blocks that a change makes anew. */
class Indexes {
  readonly memory = memoryIndexFiles();
  files: IndexFiles = this.memory;

  async change(form: IndexForm, before: IndexState, change: IndexChange): Promise<{ state: IndexState; made: number }> {
    const state = await updateIndex(form, before, change, this.files);
    const known = new Set(before.blocks.map((block) => block.digest));
    const made = state.blocks.filter((block) => !known.has(block.digest)).length;
    return { state: indexStateSchema.parse(JSON.parse(JSON.stringify(state))), made };
  }

  /** Without any fragment. */
  empty(form: IndexForm): Promise<IndexState> {
    return updateIndex(form, undefined, { add: [] }, this.files);
  }
}

const hex = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const stanza = (n: number): string => `Package: coequal\nVersion: 1.${n}.0\nDescription: ${"words ".repeat(n % 13)}\n\n`;
const element = (n: number): string => `<package><name>coequal</name><v>${n}</v>${"<f/>".repeat(n % 9)}</package>\n`;
const range = (from: number, to: number): readonly number[] => Array.from({ length: to - from }, (_, index) => from + index);

function checkFile(indexes: Indexes, form: IndexForm, state: IndexState, fragments: readonly string[]): void {
  const bytes = indexes.memory.bytesOf(state.file.digest);
  const plain = gunzipSync(bytes);
  const expected = form.frame === undefined ? fragments.join("") : form.frame.head(fragments.length) + fragments.join("") + form.frame.foot;
  assert.equal(plain.toString(), expected);
  assert.equal(state.count, fragments.length);
  assert.deepEqual([state.file.size, state.file.digest, state.file.plainSize], [bytes.length, hex(bytes), plain.length], "the state describes the file");
  assert.equal(state.file.plainDigest, form.frame === undefined ? hex(plain) : undefined);
}

test("whatever was added and removed in whatever steps, the index is the one that is built at once from what is left", async () => {
  const steps = fc.array(fc.record({ add: fc.nat(25), removeFrom: fc.nat(1000), remove: fc.nat(12) }), { minLength: 1, maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom("packages", "primary"), async (changes, which) => {
      const [form, text] = which === "packages" ? [packages, stanza] : [primary, element];
      const indexes = new Indexes();
      let state = await indexes.empty(form);
      let present: string[] = [];
      let next = 0;
      for (const { add, removeFrom, remove } of changes) {
        const start = present.length === 0 ? 0 : removeFrom % present.length;
        const leaving = present.slice(start, start + remove);
        const coming = range(next, next + add).map(text);
        next += add;
        state = (await indexes.change(form, state, { add: coming, remove: leaving })).state;
        present = [...present.slice(0, start), ...present.slice(start + remove), ...coming];
        checkFile(indexes, form, state, present);
      }
      const atOnce = await indexes.change(form, await indexes.empty(form), { add: present });
      assert.deepEqual(state, atOnce.state);
    }),
    { numRuns: 60 },
  );
});

test("an index without some packages is the one that is built from the others, but for what it would be grown from", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(fc.nat(199), { minLength: 1, maxLength: 200 }), fc.constantFrom("packages", "primary"), async (leaving, which) => {
      const [form, text] = which === "packages" ? [packages, stanza] : [primary, element];
      const indexes = new Indexes();
      const whole = await indexes.change(form, await indexes.empty(form), { add: range(0, 200).map(text) });
      const gone = new Set(leaving);
      const without = new Set(leaving.map((n) => form.packageOf(Buffer.from(text(n)))));
      const rest = range(0, 200).filter((n) => !gone.has(n));
      const { state } = await indexes.change(form, whole.state, { add: [], without });
      checkFile(indexes, form, state, rest.map(text));
      const { resume, ...built } = (await indexes.change(form, await indexes.empty(form), { add: rest.map(text) })).state;
      assert.deepEqual([state, resume === undefined], [built, which === "primary" || rest.length === 0]);
    }),
    { numRuns: 40 },
  );
});

test("an index with a frame is not made without a package that it does not hold: its head would count wrongly", async () => {
  const indexes = new Indexes();
  const { state } = await indexes.change(primary, await indexes.empty(primary), { add: range(0, 50).map(element) });
  await assert.rejects(indexes.change(primary, state, { add: [], without: new Set(["1", "50"]) }), SlipwayError);
});

test("adding to a long index makes only blocks at its end, and asks for the old file once, in large pieces", async () => {
  const indexes = new Indexes();
  const start = range(0, 40_000).map((n) => stanza(n));
  let { state } = await indexes.change(packages, await indexes.empty(packages), { add: start });
  assert.ok(state.blocks.length > 2000);
  const pieces: { readonly start: number; readonly size: number }[] = [];
  indexes.files = {
    ...indexes.memory,
    readInto: (file, at, into) => {
      pieces.push({ start: at, size: into.length });
      return indexes.memory.readInto(file, at, into);
    },
  };
  for (const n of range(40_000, 40_010)) {
    pieces.length = 0;
    const before = state.file;
    const result = await indexes.change(packages, state, { add: [stanza(n)] });
    state = result.state;
    assert.ok(result.made <= 2, `made ${result.made}`);
    assert.equal(
      pieces.reduce((sum, piece) => sum + piece.size, 0),
      before.size - before.headSize,
    );
    assert.ok(pieces.length < 5 && pieces.every(({ size }) => size <= 1024 ** 2), JSON.stringify(pieces));
  }
});

test("removing from a long index makes only the blocks up to the next end that the fragments ask for", async () => {
  const indexes = new Indexes();
  let { state } = await indexes.change(packages, await indexes.empty(packages), { add: range(0, 2000).map(stanza) });
  const made: number[] = [];
  for (const n of [0, 500, 999, 1500, 1999]) {
    const result = await indexes.change(packages, state, { add: [], remove: [stanza(n)] });
    state = result.state;
    made.push(result.made);
  }
  assert.ok(Math.max(...made) <= 30, `made ${made.join(", ")} of ${state.blocks.length}`);
});

for (const [form, text] of [
  [packages, stanza],
  [primary, element],
] as const) {
  test(`removing from ${form.name} what is not there is refused, and no file is kept`, async () => {
    const indexes = new Indexes();
    const { state } = await indexes.change(form, await indexes.empty(form), { add: range(0, 50).map(text) });
    let kept = 0;
    const { readInto, put } = indexes.memory;
    indexes.files = {
      readInto,
      put: async (content) => {
        const digest = await put(content);
        kept += 1;
        return digest;
      },
    };
    await assert.rejects(indexes.change(form, state, { add: [], remove: [text(50)] }), (error) => error instanceof SlipwayError && error.code === "internal");
    await assert.rejects(indexes.change(form, state, { add: [], remove: [text(1), text(1)] }), SlipwayError, "once there, twice asked for");
    assert.equal(kept, 0);
  });

  test(`a flipped bit in any block of ${form.name} is found before a new file is made from it`, async () => {
    const indexes = new Indexes();
    const { state } = await indexes.change(form, await indexes.empty(form), { add: range(0, 50).map(text) });
    const good = indexes.memory.bytesOf(state.file.digest);
    assert.ok(state.blocks.length > 2);
    let start = state.file.headSize;
    for (const block of state.blocks) {
      const place = start + 20;
      const damaged = good.with(place, (good[place] ?? 0) ^ 1);
      indexes.files = { ...indexes.memory, readInto: async (_, at, into) => into.set(damaged.subarray(at, at + into.length)) };
      await assert.rejects(indexes.change(form, state, { add: [text(51)] }), /is damaged/);
      start += block.size;
    }
  });
}

test("a fragment that is no whole fragment, or more than one, is a bug and stops", async () => {
  const indexes = new Indexes();
  const state = await indexes.empty(packages);
  for (const text of ["", "Package: a\n", "Package: a\n\nPackage: b\n\n", "Package: a\n\n\n"]) {
    await assert.rejects(indexes.change(packages, state, { add: [text] }), /terminator once/);
  }
});

test("every block is a gzip member with nothing of this machine in its header", async () => {
  const indexes = new Indexes();
  for (const [form, text] of [
    [packages, stanza],
    [primary, element],
  ] as const) {
    const { state } = await indexes.change(form, await indexes.empty(form), { add: range(0, 50).map(text) });
    const bytes = indexes.memory.bytesOf(state.file.digest);
    let start = 0;
    for (const size of [...(state.file.headSize > 0 ? [state.file.headSize] : []), ...state.blocks.map((block) => block.size)]) {
      assert.deepEqual([...bytes.subarray(start, start + 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
      start += size;
    }
  }
});
