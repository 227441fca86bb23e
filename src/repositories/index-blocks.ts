/**
 * A package index as a list of blocks, each its own gzip member, so that one more release costs one block whatever the index holds.
 *
 * Parties: whoever publishes (src/releases) keeps two things per channel: a state, a JSON value that goes with the snapshot's row, and
 * the blocks, which are blobs named by the SHA-256 of their gzip bytes. Nothing else: the fragments of other releases are never asked
 * for again. Callers use the state of a whole view, `AptState` with `updateApt` (apt.ts) and `YumState` with `updateYum` (yum.ts);
 * they are made of the index states here and keep to the same contract:
 *
 *   const { state, blocks } = await updateApt(before, { add: [...], remove: [...] }, openBlock);
 *   put each of `blocks` as a blob (idempotent, by digest)      first the blobs,
 *   save `state` with the new snapshot                          then the state; a crash between the two leaves only unused blobs
 *   const files = await renderApt({ state, now, ... });         the files, ready to be written or served; opens no block
 *
 * - A fragment is the finished text of one package in one index (aptStanza, yumFragments), made once at upload and kept with the
 *   artifact. The order in the index is the order of adding; adding always appends. Adding the same text twice lists it twice.
 * - `remove` takes the very text that was added; text that is not there throws. A change may do both: removals come first.
 * - `openBlock(digest)` returns the gzip bytes of any block that the given state names. They are checked against the digest. A few blocks
 *   are in memory at a time, so an index of any size costs the same memory.
 * - `blocks` holds exactly the blocks that the old state did not name. A block that no kept state names may be removed
 *   (aptBlocks, yumBlocks list what a state names).
 * - States are plain JSON: JSON.stringify to store, aptStateSchema / yumStateSchema to load. About 130 bytes per 200 KiB of plain text:
 *   5 KB for 10,000 packages.
 * - To build from nothing, or to import many, add in order from the empty state, a few thousand fragments at a time.
 *
 * Where blocks end depends on the fragments alone, never on history: an index built at once and one grown step by step and shrunk
 * again are the same bytes when the same fragments stand in the same order. A block ends after a fragment whose CRC-32 says so (on
 * average every `segmentBytes`), or as soon as it holds `blockBytes`. So adding rewrites the open block at the end, and removing
 * rewrites its block and the few up to the next end that the fragments themselves ask for.
 *
 * RFC 1952 2.2: a gzip file is a series of members; apt 2.2 to 3.0 and dnf 4.14 read them. (apt refuses the same of xz.)
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { crc32, gunzip, gzip } from "node:zlib";
import { z } from "zod";
import { type Digest, digestFromHex, isDigest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { FilePart, OpenBlock } from "./repository-file.ts";
import { ResumableSha256, sha256StateSchema } from "./resumable-sha256.ts";

const compressAsync = promisify(gzip);
const expandAsync = promisify(gunzip);

/** How one kind of index is written. */
export type IndexForm = {
  readonly name: "packages" | "primary" | "filelists" | "other";
  /** Ends every fragment and stands nowhere else in it: how a block is taken apart again. */
  readonly terminator: string;
  /** What surrounds the fragments; where it is there, the digest of the plain text is not kept, since the head changes with the count. */
  readonly frame?: { readonly head: (count: number) => string; readonly foot: string };
  /** A block that holds so many plain bytes is closed: blocks stay below 256 KiB while fragments are below the difference. */
  readonly blockBytes: number;
  /** The average distance of the ends that the fragments ask for. */
  readonly segmentBytes: number;
};

/** A block costs about 1 KB of gzip over one single member, and adding recompresses one: bench/publish.ts prints both. */
export const blockSizes = { blockBytes: 240 * 1024, segmentBytes: 1024 * 1024 } as const;

/** Twice the threads that Node reads files with. */
const blocksAhead = 8;

const digestSchema = z.custom<Digest>(isDigest, "not a digest");
const blockSchema = z.strictObject({
  /** Of the gzip bytes; the blob's name. */
  digest: digestSchema,
  /** Bytes of gzip and of plain text. */
  size: z.int().nonnegative(),
  plainSize: z.int().nonnegative(),
  /** Fragments. */
  count: z.int().positive(),
});

export const indexStateSchema = z.strictObject({
  form: z.enum(["packages", "primary", "filelists", "other"]),
  blocks: z.array(blockSchema),
  /** The last block goes on growing. */
  isOpen: z.boolean(),
  /** Fragments in all. */
  count: z.int().nonnegative(),
  /** The whole index file: gzip size and digest, plain size and, for an index without a frame, plain digest. */
  file: z.strictObject({ size: z.int(), digest: digestSchema, plainSize: z.int(), plainDigest: digestSchema.optional() }),
  /** Hash states at the start of the last block (an index without a frame): what one more release goes on from. */
  resume: z.strictObject({ plain: sha256StateSchema, gzip: sha256StateSchema }).optional(),
});

type IndexBlock = Readonly<z.infer<typeof blockSchema>>;
/** What is kept of one index between two publications; see the top of this file. */
export type IndexState = Readonly<z.infer<typeof indexStateSchema>>;

/** A block that is new and must be stored before the state that names it. */
export type NewBlock = { readonly digest: Digest; readonly bytes: Uint8Array };

export type IndexChange = { readonly add: readonly string[]; readonly remove?: readonly string[] };
export type IndexUpdate = { readonly state: IndexState; readonly blocks: readonly NewBlock[] };

/** One gzip member with nothing of this machine in it: no name, no time, "unknown" system (RFC 1952 2.3.1), so the bytes are the same everywhere. */
async function gzipMember(plain: Uint8Array): Promise<Uint8Array> {
  const bytes = await compressAsync(plain, { level: 9 });
  bytes[9] = 255;
  return bytes;
}

const sha256 = (bytes: Uint8Array): Digest => digestFromHex(createHash("sha256").update(bytes).digest("hex"));

/** The index without any fragment. */
export async function emptyIndex(form: IndexForm): Promise<IndexState> {
  const nothing = { form: form.name, blocks: [], isOpen: false, count: 0 };
  const neverAsked: OpenBlock = (digest) => Promise.reject(new SlipwayError("internal", `an empty index names no block, not even ${digest}`));
  return { ...nothing, file: await describeFile(form, nothing, undefined, neverAsked) };
}

/**
 * The index after a change, by the contract at the top of this file. Throws `internal` where a block is damaged or a text to remove is
 * not there; then nothing has changed anywhere.
 */
export async function updateIndex(form: IndexForm, before: IndexState, change: IndexChange, openBlock: OpenBlock): Promise<IndexUpdate> {
  assert.equal(before.form, form.name, "a state belongs to one form");
  const wanted = new Wanted(change.remove ?? []);
  const writer = new IndexWriter(form);
  const last = before.blocks.length - 1;
  for (const [position, block] of before.blocks.entries()) {
    const isOpenTail = position === last && before.isOpen;
    const mustBeHashed = form.frame === undefined && (position === last || wanted.isAnyAtAll);
    if (writer.isBetweenBlocks && wanted.isDone && !isOpenTail && !mustBeHashed) {
      writer.keepUnread(block);
      continue;
    }
    if (position === last && before.resume !== undefined && !wanted.isAnyAtAll) writer.resume(before.resume);
    const bytes = await readBlock(block.digest, openBlock);
    const plain = await expandAsync(bytes, { maxOutputLength: block.plainSize });
    const fragments = splitFragments(plain, form.terminator);
    const survivors = wanted.isDone ? fragments : fragments.filter((fragment) => !wanted.take(fragment));
    if (writer.isBetweenBlocks && survivors.length === fragments.length && !isOpenTail) writer.keep(block, bytes, plain);
    else for (const fragment of survivors) await writer.push(fragment);
  }
  if (!wanted.isDone) throw new SlipwayError("internal", `the ${form.name} index does not hold a package that is to leave it`);
  for (const text of change.add) await writer.push(checkFragment(text, form.terminator));
  const isOpen = await writer.flush();
  const named = new Set(before.blocks.map((block) => block.digest));
  const shape = { form: form.name, blocks: writer.blocks, isOpen, count: writer.blocks.reduce((sum, block) => sum + block.count, 0) };
  const openAny: OpenBlock = async (digest) => writer.made.get(digest) ?? (await readBlock(digest, openBlock));
  return {
    state: {
      ...shape,
      file: await describeFile(form, shape, writer.digests(), openAny),
      ...(writer.resumeState === undefined ? {} : { resume: writer.resumeState }),
    },
    blocks: [...writer.made].filter(([digest]) => !named.has(digest)).map(([digest, bytes]) => ({ digest, bytes })),
  };
}

/** Every block that these indexes name, each once: what a snapshot keeps alive. */
export function namedBlocks(indexes: Iterable<IndexState>): readonly Digest[] {
  return [...new Set([...indexes].flatMap((index) => index.blocks.map((block) => block.digest)))];
}

/** The parts of the index's gzip file, in order: the head and foot as small members of their own, the blocks by digest. */
export async function indexParts(form: IndexForm, state: Pick<IndexState, "blocks" | "count">): Promise<readonly FilePart[]> {
  const blocks = state.blocks.map(({ digest, size }): FilePart => ({ kind: "block", digest, size }));
  const member = async (text: string): Promise<FilePart> => ({ kind: "bytes", bytes: await gzipMember(Buffer.from(text)) });
  if (form.frame === undefined) return blocks.length === 0 ? [await member("")] : blocks;
  return [await member(form.frame.head(state.count)), ...blocks, await member(form.frame.foot)];
}

type RunningDigests = { readonly digest: Digest; readonly plainDigest: Digest };

/** Sizes and digests of the whole file: from the running hashes without a frame; else, since the head comes first, over the gzip bytes. */
async function describeFile(
  form: IndexForm,
  index: Pick<IndexState, "blocks" | "count">,
  running: RunningDigests | undefined,
  openBlock: OpenBlock,
): Promise<IndexState["file"]> {
  const parts = await indexParts(form, index);
  const frameSize = form.frame === undefined ? 0 : Buffer.byteLength(form.frame.head(index.count) + form.frame.foot);
  const sizes = {
    size: parts.reduce((sum, part) => sum + (part.kind === "bytes" ? part.bytes.length : part.size), 0),
    plainSize: index.blocks.reduce((sum, block) => sum + block.plainSize, frameSize),
  };
  if (running !== undefined && index.blocks.length > 0) return { ...sizes, ...running };
  const hash = createHash("sha256");
  for await (const bytes of readAhead(parts, openBlock)) hash.update(bytes);
  const digest = digestFromHex(hash.digest("hex"));
  return { ...sizes, digest, ...(form.frame === undefined ? { plainDigest: sha256(new Uint8Array()) } : {}) };
}

/** The parts' bytes in order. Blocks are asked for before their turn: reading hundreds of small files one by one is mostly waiting. */
async function* readAhead(parts: readonly FilePart[], openBlock: OpenBlock): AsyncGenerator<Uint8Array> {
  const underWay: Promise<Uint8Array>[] = [];
  const next = parts.values();
  const ask = (): void => {
    const { value: part } = next.next();
    if (part === undefined) return;
    const bytes = part.kind === "bytes" ? Promise.resolve(part.bytes) : openBlock(part.digest);
    bytes.catch(() => undefined); // thrown below, in its turn
    underWay.push(bytes);
  };
  while (underWay.length < blocksAhead && underWay.length < parts.length) ask();
  for (let first = underWay.shift(); first !== undefined; first = underWay.shift()) {
    ask();
    yield await first;
  }
}

/** Cuts fragments into blocks and keeps the running hashes. */
class IndexWriter {
  readonly blocks: IndexBlock[] = [];
  /** Every block compressed in this change. */
  readonly made = new Map<Digest, Uint8Array>();
  resumeState: IndexState["resume"];
  private readonly form: IndexForm;
  private pending: Uint8Array[] = [];
  private pendingSize = 0;
  private plainHash = new ResumableSha256();
  private gzipHash = new ResumableSha256();

  constructor(form: IndexForm) {
    this.form = form;
  }

  get isBetweenBlocks(): boolean {
    return this.pending.length === 0;
  }

  /** A block that stays as it is and whose bytes are not needed: the hashes go on from `resume`, or nobody asks for them. */
  keepUnread(block: IndexBlock): void {
    this.blocks.push(block);
  }

  resume(state: NonNullable<IndexState["resume"]>): void {
    this.plainHash = ResumableSha256.resume(state.plain);
    this.gzipHash = ResumableSha256.resume(state.gzip);
  }

  keep(block: IndexBlock, bytes: Uint8Array, plain: Uint8Array): void {
    this.blocks.push(block);
    if (this.form.frame !== undefined) return;
    this.resumeState = { plain: this.plainHash.state(), gzip: this.gzipHash.state() };
    this.plainHash.update(plain);
    this.gzipHash.update(bytes);
  }

  async push(fragment: Uint8Array): Promise<void> {
    this.pending.push(fragment);
    this.pendingSize += fragment.length;
    // The fragment's own checksum decides, scaled by its length: the ends stay where they are whatever is added or removed before them.
    const endsSegment = crc32(fragment) < (fragment.length / this.form.segmentBytes) * 2 ** 32;
    if (endsSegment || this.pendingSize >= this.form.blockBytes) await this.flush();
  }

  /** Closes the block under way; false where there is none. */
  async flush(): Promise<boolean> {
    if (this.pending.length === 0) return false;
    const plain = Buffer.concat(this.pending);
    const count = this.pending.length;
    this.pending = [];
    this.pendingSize = 0;
    const bytes = await gzipMember(plain);
    const digest = sha256(bytes);
    this.made.set(digest, bytes);
    this.keep({ digest, size: bytes.length, plainSize: plain.length, count }, bytes, plain);
    return true;
  }

  /** Of the whole index so far; undefined for an index with a frame. */
  digests(): RunningDigests | undefined {
    if (this.form.frame !== undefined) return undefined;
    return { digest: digestFromHex(this.gzipHash.digestHex()), plainDigest: digestFromHex(this.plainHash.digestHex()) };
  }
}

/** The fragments that are to leave, each as often as it was named. */
class Wanted {
  readonly isAnyAtAll: boolean;
  private readonly counts = new Map<string, number>();

  constructor(texts: readonly string[]) {
    this.isAnyAtAll = texts.length > 0;
    for (const text of texts) this.counts.set(text, (this.counts.get(text) ?? 0) + 1);
  }

  get isDone(): boolean {
    return this.counts.size === 0;
  }

  /** True, once per time named, where this fragment is wanted. */
  take(fragment: Buffer): boolean {
    const text = fragment.toString("utf8");
    const count = this.counts.get(text);
    if (count === undefined) return false;
    if (count === 1) this.counts.delete(text);
    else this.counts.set(text, count - 1);
    return true;
  }
}

/** A damaged block must not be signed again under a fresh date. */
async function readBlock(digest: Digest, openBlock: OpenBlock): Promise<Uint8Array> {
  const bytes = await openBlock(digest);
  const found = sha256(bytes);
  if (found !== digest) throw new SlipwayError("internal", `index block ${digest} is damaged: its bytes have ${found}`);
  return bytes;
}

function splitFragments(plain: Buffer, terminator: string): readonly Buffer[] {
  const fragments: Buffer[] = [];
  for (let start = 0; start < plain.length; ) {
    const end = plain.indexOf(terminator, start) + terminator.length;
    assert.ok(end > start, "a block ends with a whole fragment");
    fragments.push(plain.subarray(start, end));
    start = end;
  }
  return fragments;
}

function checkFragment(text: string, terminator: string): Uint8Array {
  assert.equal(text.indexOf(terminator), text.length - terminator.length, "a fragment holds its terminator once, at its end");
  return Buffer.from(text);
}
