/**
 * A package index as a list of blocks, each its own gzip member, so that one more release compresses one block whatever the index holds.
 *
 * Parties: whoever publishes (src/releases) keeps two things per channel: a state, a JSON value that goes with the snapshot's row, and
 * the index file that the state describes, a blob. Nothing else: the fragments of other releases are never asked for again. Callers use the
 * state of a whole view, `AptState` with `updateApt` (apt.ts) and `YumState` with `updateYum` (yum.ts); they are made of the index states
 * here and keep to the same contract:
 *
 *   const state = await updateApt(before, { add: [...], remove: [...] }, files);
 *       puts the new index files, copied from the old ones where nothing changes    first the files,
 *   save `state` with the new snapshot                          then the state; a crash between the two leaves only unused blobs
 *   const rendered = await renderApt({ state, now, ... });      what is served: the index files by their digests, the rest as bytes
 *
 * - A fragment is the finished text of one package in one index (aptStanza, yumFragments), made once at upload and kept with the
 *   artifact. The order in the index is the order of adding; adding always appends. Adding the same text twice lists it twice.
 * - `remove` takes the very text that was added; text that is not there throws. A change may do both: removals come first.
 * - The files that the given state describes must be there for as long as the update runs. Every block that is taken over is checked
 *   against its digest. About 1 MiB of an index is in memory at a time, so one of any size costs the same memory.
 * - Every file that a state describes is rendered: what keeps a snapshot's files keeps what the next state grows from.
 * - States are plain JSON: JSON.stringify to store, aptStateSchema / yumStateSchema to load. About 130 bytes per 200 KiB of plain text:
 *   5 KB for 10,000 packages.
 * - To build from nothing, or to import many, add in order, starting without a state, a few thousand fragments at a time.
 *
 * Where blocks end depends on the fragments alone, never on history: an index built at once and one grown step by step and shrunk
 * again are the same bytes when the same fragments stand in the same order. A block ends after a fragment whose CRC-32 says so (on
 * average every `segmentBytes`), or as soon as it holds `blockBytes`. So adding rewrites the open block at the end, and removing
 * rewrites its block and the few up to the next end that the fragments themselves ask for.
 *
 * RFC 1952 2.2: a gzip file is a series of members; apt 2.2 to 3.0 and dnf 4.14 read them. (apt refuses the same of xz.)
 */
import assert from "node:assert/strict";
import { createHash, hash } from "node:crypto";
import { promisify } from "node:util";
import { crc32, gunzip, gzip } from "node:zlib";
import { z } from "zod";
import { type Digest, digestFromHex, isDigest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { IndexFiles } from "./index-files.ts";
import { ResumableSha256, sha256StateSchema } from "./resumable-sha256.ts";

/** zlib comes back to the main thread for every so many bytes of output; most blocks are smaller when packed. */
const outputBytes = 64 * 1024;
/** zlib takes no less. */
const smallestChunk = 64;
const compressAsync = promisify(gzip);
const expandAsync = promisify(gunzip);

/** How one kind of index is written. */
export type IndexForm = {
  readonly name: "packages" | "primary" | "filelists" | "other";
  /** Ends every fragment and stands nowhere else in it: how a block is taken apart again. */
  readonly terminator: string;
  /** The SHA-256 (hex) of the package that a fragment describes. */
  readonly packageOf: (fragment: Buffer) => string;
  /** What surrounds the fragments; where it is there, the digest of the plain text is not kept, since the head changes with the count. */
  readonly frame?: { readonly head: (count: number) => string; readonly foot: string };
  /** A block that holds so many plain bytes is closed: blocks stay below 256 KiB while fragments are below the difference. */
  readonly blockBytes: number;
  /** The average distance of the ends that the fragments ask for. */
  readonly segmentBytes: number;
};

/** A block costs about 1 KB of gzip over one single member, and adding recompresses one: bench/publish.ts prints both. */
export const blockSizes = { blockBytes: 240 * 1024, segmentBytes: 1024 * 1024 } as const;

/** Blocks are read in pieces of at most this size: hundreds of reads, each of a few KB, would cost more than the hashing. */
const pieceBytes = 512 * 1024;

const digestSchema = z.custom<Digest>(isDigest, "not a digest");
const blockSchema = z.strictObject({
  /** Of the gzip bytes. */
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
  /** The whole index file: gzip size and digest, where its blocks begin, plain size and, for an index without a frame, plain digest. */
  file: z.strictObject({
    size: z.int().nonnegative(),
    digest: digestSchema,
    headSize: z.int().nonnegative(),
    plainSize: z.int().nonnegative(),
    plainDigest: digestSchema.optional(),
  }),
  /** The state of the plain digest at the start of the last block (an index without a frame): what one more release goes on from. */
  resume: sha256StateSchema.optional(),
});

type IndexBlock = Readonly<z.infer<typeof blockSchema>>;
/** What is kept of one index between two publications; see the top of this file. */
export type IndexState = Readonly<z.infer<typeof indexStateSchema>>;

export type IndexChange = {
  readonly add: readonly string[];
  readonly remove?: readonly string[];
  /**
   * Packages that leave, by the SHA-256 (hex) of their files: for an index that some readers get instead of the whole one. It is not grown
   * from, so its state has no `resume`. An index with a frame holds each of them once; another may hold some of them.
   */
  readonly without?: ReadonlySet<string> | undefined;
};

/** One gzip member with nothing of this machine in it: no name, no time, "unknown" system (RFC 1952 2.3.1), so the bytes are the same everywhere. */
async function gzipMember(plain: Uint8Array): Promise<Uint8Array> {
  const bytes = await compressAsync(plain, { level: 9, chunkSize: outputBytes });
  bytes[9] = 255;
  return bytes;
}

const sha256 = (bytes: Uint8Array): Digest => digestFromHex(hash("sha256", bytes));

/**
 * The index after a change, by the contract at the top of this file; `before` is undefined for one that there was not. Throws `internal`
 * where a block is damaged or a text to remove is not there; then nothing has changed anywhere.
 */
export async function updateIndex(form: IndexForm, before: IndexState | undefined, change: IndexChange, files: IndexFiles): Promise<IndexState> {
  assert.equal(before?.form ?? form.name, form.name, "a state belongs to one form");
  const writer = new IndexWriter(form, (change.without?.size ?? 0) === 0);
  const digest = await files.put(writer.write(before, change, files));
  return writer.state(digest);
}

/** Writes one index file: takes blocks over, cuts fragments into new ones, and keeps what the state will say of them. */
class IndexWriter {
  private readonly form: IndexForm;
  private readonly blocks: IndexBlock[] = [];
  private isOpen = false;
  private size = 0;
  private headSize = 0;
  private pending: Uint8Array[] = [];
  private pendingSize = 0;
  /** What goes on from one state to the next costs ten times the other. */
  private plainHash: ResumableSha256 | undefined;
  private readonly lastHash = createHash("sha256");
  private resume: IndexState["resume"];

  constructor(form: IndexForm, isGrownFrom: boolean) {
    this.form = form;
    if (isGrownFrom) this.plainHash = new ResumableSha256();
  }

  /** The bytes of the file, once; `state` holds when they have all been taken. */
  async *write(before: IndexState | undefined, change: IndexChange, files: IndexFiles): AsyncGenerator<Uint8Array> {
    const { frame } = this.form;
    // The head comes first and says how many follow. Whether that is true shows further down, before the file is kept.
    const count = (before?.count ?? 0) - (change.remove?.length ?? 0) - (change.without?.size ?? 0) + change.add.length;
    if (frame !== undefined) yield this.sized(await gzipMember(Buffer.from(frame.head(count))));
    this.headSize = this.size;
    for await (const bytes of this.writeBlocks(before, change, files)) yield this.sized(bytes);
    if (frame !== undefined) assert.equal(this.count, count, "the head says how many fragments there are");
    if (frame !== undefined) yield this.sized(await gzipMember(Buffer.from(frame.foot)));
    else if (this.blocks.length === 0) yield this.sized(await gzipMember(new Uint8Array()));
  }

  state(digest: Digest): IndexState {
    const { form, blocks, isOpen, count, size, headSize } = this;
    const frameSize = form.frame === undefined ? 0 : Buffer.byteLength(form.frame.head(count) + form.frame.foot);
    const plainSize = blocks.reduce((sum, block) => sum + block.plainSize, frameSize);
    const plainHex = (): string => this.plainHash?.digestHex() ?? this.lastHash.copy().digest("hex");
    const plain = form.frame === undefined ? { plainDigest: digestFromHex(plainHex()) } : {};
    const resume = this.resume === undefined ? {} : { resume: this.resume };
    return { form: form.name, blocks, isOpen, count, file: { size, digest, headSize, plainSize, ...plain }, ...resume };
  }

  private get count(): number {
    return this.blocks.reduce((sum, block) => sum + block.count, 0);
  }

  private sized(bytes: Uint8Array): Uint8Array {
    this.size += bytes.length;
    return bytes;
  }

  private async *writeBlocks(before: IndexState | undefined, change: IndexChange, files: IndexFiles): AsyncGenerator<Uint8Array> {
    const { frame, terminator } = this.form;
    const wanted = new Wanted(this.form, change);
    const last = (before?.blocks.length ?? 0) - 1;
    let position = 0;
    for await (const { block, bytes } of before === undefined ? [] : readBlocks(before, files)) {
      const isLast = position === last;
      position += 1;
      const isOpenTail = isLast && before?.isOpen === true;
      // The plain digest goes on from `resume` at the last block; where something leaves before it, it covers everything anew.
      const isPlainHashed = frame === undefined && (isLast || wanted.isAnyAtAll);
      if (this.pending.length === 0 && wanted.isDone && !isOpenTail && !isPlainHashed) {
        this.blocks.push(block);
        yield bytes;
        continue;
      }
      if (isLast && before?.resume !== undefined && !wanted.isAnyAtAll) this.plainHash = ResumableSha256.resume(before.resume);
      const plain = await expandAsync(bytes, { maxOutputLength: block.plainSize, chunkSize: Math.max(block.plainSize, smallestChunk) });
      const fragments = splitFragments(plain, terminator);
      const survivors = wanted.isDone ? fragments : fragments.filter((fragment) => !wanted.take(fragment));
      if (this.pending.length === 0 && survivors.length === fragments.length && !isOpenTail) {
        this.add(block, plain);
        yield bytes;
      } else for (const fragment of survivors) if (this.fill(fragment)) yield await this.closeBlock();
    }
    if (wanted.isMissing) throw new SlipwayError("internal", `the ${this.form.name} index does not hold a package that is to leave it`);
    for (const text of change.add) if (this.fill(checkFragment(text, terminator))) yield await this.closeBlock();
    this.isOpen = this.pending.length > 0;
    if (this.isOpen) yield await this.closeBlock();
  }

  private add(block: IndexBlock, plain: Uint8Array): void {
    this.blocks.push(block);
    if (this.form.frame !== undefined) return;
    if (this.plainHash === undefined) {
      this.lastHash.update(plain);
      return;
    }
    this.resume = this.plainHash.state();
    this.plainHash.update(plain);
  }

  /** True where the block under way ends with this fragment. */
  private fill(fragment: Uint8Array): boolean {
    this.pending.push(fragment);
    this.pendingSize += fragment.length;
    // The fragment's own checksum decides, scaled by its length: the ends stay where they are whatever is added or removed before them.
    const endsSegment = crc32(fragment) < (fragment.length / this.form.segmentBytes) * 2 ** 32;
    return endsSegment || this.pendingSize >= this.form.blockBytes;
  }

  private async closeBlock(): Promise<Uint8Array> {
    const plain = Buffer.concat(this.pending);
    const count = this.pending.length;
    this.pending = [];
    this.pendingSize = 0;
    const bytes = await gzipMember(plain);
    this.add({ digest: sha256(bytes), size: bytes.length, plainSize: plain.length, count }, plain);
    return bytes;
  }
}

/** What is to leave: fragments, each as often as it was named, and packages. */
class Wanted {
  readonly isAnyAtAll: boolean;
  private readonly form: IndexForm;
  private readonly counts = new Map<string, number>();
  private readonly packages: Set<string>;

  constructor(form: IndexForm, change: IndexChange) {
    this.form = form;
    const texts = change.remove ?? [];
    for (const text of texts) this.counts.set(text, (this.counts.get(text) ?? 0) + 1);
    this.packages = new Set(change.without);
    this.isAnyAtAll = texts.length + this.packages.size > 0;
  }

  get isDone(): boolean {
    return this.counts.size + this.packages.size === 0;
  }

  /** At the end: something that had to be there was not. */
  get isMissing(): boolean {
    return this.form.frame === undefined ? this.counts.size > 0 : !this.isDone;
  }

  /** True, once per time named, where this fragment is wanted. */
  take(fragment: Buffer): boolean {
    if (this.packages.size > 0 && this.packages.delete(this.form.packageOf(fragment))) return true;
    if (this.counts.size === 0) return false;
    const text = fragment.toString("utf8");
    const count = this.counts.get(text);
    if (count === undefined) return false;
    if (count === 1) this.counts.delete(text);
    else this.counts.set(text, count - 1);
    return true;
  }
}

/** The blocks of an index in order, each checked: a damaged one must not be signed again under a fresh date. Bytes last until the next is asked for. */
async function* readBlocks(index: IndexState, files: IndexFiles): AsyncGenerator<{ readonly block: IndexBlock; readonly bytes: Uint8Array }> {
  let start = index.file.headSize;
  // One for all runs: megabytes of short-lived buffers would cost more to collect than to read.
  let buffer = new Uint8Array(0);
  for (const run of runsOf(index.blocks)) {
    const size = run.reduce((sum, block) => sum + block.size, 0);
    if (size > buffer.length) buffer = new Uint8Array(Math.max(size, Math.min(pieceBytes, index.file.size)));
    const piece = buffer.subarray(0, size);
    await files.readInto(index.file.digest, start, piece);
    let offset = 0;
    for (const block of run) {
      const bytes = piece.subarray(offset, offset + block.size);
      const found = sha256(bytes);
      if (found !== block.digest) throw new SlipwayError("internal", `index block ${block.digest} is damaged: its bytes have ${found}`);
      yield { block, bytes };
      offset += block.size;
    }
    start += size;
  }
}

/** Blocks that are read at once. */
function* runsOf(blocks: readonly IndexBlock[]): Generator<readonly IndexBlock[]> {
  let run: IndexBlock[] = [];
  let size = 0;
  for (const block of blocks) {
    if (size + block.size > pieceBytes && run.length > 0) {
      yield run;
      run = [];
      size = 0;
    }
    run.push(block);
    size += block.size;
  }
  if (run.length > 0) yield run;
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
