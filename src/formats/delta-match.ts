/**
 * Finds what a new file has of an old one, of any size, in bounded memory. Every few bytes of the old file a block goes into a table by its hash; each
 * place of the new file is looked up there, and what is found grows in both directions for as long as most bytes agree. In the code of programs the
 * addresses count as nothing: the same function, linked elsewhere, is the same bytes.
 */
import { createSpace, type Region } from "./delta-layout.ts";
import type { StepList } from "./delta-map.ts";
import { createOperands, findOperands, lowShift, operandForm, operandReach } from "./delta-operands.ts";
import { createPages, type Page, pageBytes, type Pages, type SteadyBytes } from "./delta-pages.ts";

/** Without their addresses, 16 bytes of code are found in many places. */
const blockSizes = { plain: 16, programs: 32 } as const;
/** Of the largest table: 8,388,608 places, 64 MiB. */
const tableBits = 23;
/** A block of the old file is remembered at every eighth byte, of large files less often. */
const smallestStep = 8;
/** How far agreement may fall below its best before growing ends: bsdiff gives up after 8 bytes of loss, programs with moved addresses need more. */
const patience = 48;
/** Matches lead all over the old file, and through the new one in order. */
const pagesHeld = { old: 512, new: 16 } as const;

export type Side = { readonly file: SteadyBytes; readonly regions: readonly Region[] };
/** `length` bytes of the new file at `at` are, mostly, those of the old one at `from`. */
type Match = { readonly at: number; readonly from: number; readonly length: number };

export type MatchSearch = {
  readonly old: Side;
  readonly new: Side;
  /** Gets the matches in the order of the new file, in which they do not overlap. Where it is full, the rest counts as new. */
  readonly steps: StepList;
  /** Called with the bytes of the new file that are done. */
  readonly onProgress: (doneBytes: number) => void;
};

export function searchMatches({ old, new: fresh, steps, onProgress }: MatchSearch): void {
  const block = old.regions.length > 0 && fresh.regions.length > 0 ? blockSizes.programs : blockSizes.plain;
  const pagesOf = ({ file, regions }: Side, held: number): Pages => createPages(file, { held, behind: block - 1, prepare: addressEraser(regions) });
  for (const { at, from, length } of findMatches(pagesOf(old, pagesHeld.old), pagesOf(fresh, pagesHeld.new), block)) {
    if (!steps.add(at, from, length)) return;
    onProgress(at);
  }
}

/** Makes the bytes of addresses zero in code, as far as they can be told from one page. */
function addressEraser(regions: readonly Region[]): (offset: number, bytes: Buffer) => void {
  const space = createSpace(regions);
  const code = regions.filter(({ kind }) => kind === "x86-64" || kind === "arm64");
  const operands = createOperands(pageBytes + operandReach);
  return (offset, bytes) => {
    for (const region of code) {
      const start = Math.max(0, region.offset - offset);
      const end = Math.min(bytes.length, region.offset + region.size - offset);
      if (start >= end) continue;
      const address = region.address + offset - region.offset;
      findOperands({ ...region, ...space.boundsOf(region.program), bytes, start, end, limit: end, address, regionAddress: region.address }, operands);
      for (let index = 0; index < operands.count; index += 1) eraseAddress(bytes, operands.positions[index] ?? 0, operands.forms[index] ?? 0);
    }
  };
}

function eraseAddress(bytes: Buffer, at: number, form: number): void {
  const word = bytes.readUInt32LE(at);
  const kept = (): number => {
    if (form === operandForm.call26 || form === operandForm.jump26) return 0xfc000000;
    if (form === operandForm.page) return 0x9f00001f;
    return form === operandForm.low && lowShift(word) !== undefined ? 0xffc003ff : 0;
  };
  bytes.writeUInt32LE((word & kept()) >>> 0, at);
}

/** In order, without overlap in the new file. */
function* findMatches(old: Pages, fresh: Pages, block: number): Generator<Match> {
  const find = blockTable(old, block);
  const isSame = blockComparison(old, block);
  let end = 0; // of the last match in the new file
  let drift = 0; // of the last match: where the old file would go on
  for (let at = 0; at + block <= fresh.size; ) {
    const page = fresh.page(at);
    const stop = Math.min(page.end, fresh.size - block + 1);
    let from = -1;
    for (; at < stop; at += 1) {
      from = at + drift;
      if (isSame(page, at, from)) break;
      from = find(page.view, at - page.start);
      if (isSame(page, at, from)) break;
    }
    if (at === stop) continue;
    const back = growBack(old, fresh, { at, from, length: Math.min(at - end, from) });
    const forward = growForward(old, fresh, { at, from, length: Math.min(fresh.size - at, old.size - from) });
    yield { at: at - back, from: from - back, length: back + forward };
    end = at + forward;
    drift = from - at;
    at = end;
  }
}

/** Finds where the old file has the block that stands at an offset of a view; -1 where it is not remembered. */
function blockTable(old: Pages, block: number): (view: DataView, offset: number) => number {
  const bits = Math.min(tableBits, Math.max(8, Math.ceil(Math.log2(old.size / smallestStep + 1)) + 1));
  const step = Math.max(smallestStep, Math.ceil(old.size / 2 ** (bits - 1)));
  // The second hash of a block stands beside its place: without it every second byte would be looked up on the disk for nothing.
  const places = new Uint32Array(2 ** bits);
  const checks = new Uint32Array(2 ** bits);
  for (let number = 0; number * step + block <= old.size; number += 1) {
    const page = old.page(number * step);
    const offset = number * step - page.start;
    const place = hashBlock(page.view, offset, block) >>> (32 - bits);
    if (places[place] !== 0) continue; // the first of equal blocks: padding and tables would hide everything otherwise
    places[place] = number + 1;
    checks[place] = checkBlock(page.view, offset, block);
  }
  return (view, offset) => {
    const place = hashBlock(view, offset, block) >>> (32 - bits);
    const number = places[place] ?? 0;
    return number !== 0 && checks[place] === checkBlock(view, offset, block) ? (number - 1) * step : -1;
  };
}

function hashBlock(view: DataView, at: number, block: number): number {
  let hash = 0;
  for (let index = at; index < at + block; index += 4) hash = Math.imul(hash ^ (hash >>> 15) ^ view.getUint32(index, true), 0x9e3779b1);
  return (hash ^ (hash >>> 13)) >>> 0;
}

function checkBlock(view: DataView, at: number, block: number): number {
  let check = 7;
  for (let index = at; index < at + block; index += 4) check = Math.imul(check, 0x2c1b3c6d) + view.getUint32(index, true);
  return (check ^ (check >>> 16)) >>> 0;
}

/** Whether a block of a page of the new file stands at `from` of the old one. */
function blockComparison(old: Pages, block: number): (page: Page, at: number, from: number) => boolean {
  return (page, at, from) => {
    if (from < 0 || from + block > old.size) return false;
    const other = old.page(from);
    const [left, right] = [at - page.start, from - other.start];
    for (let index = 0; index < block; index += 4) if (page.view.getUint32(left + index, true) !== other.view.getUint32(right + index, true)) return false;
    return true;
  };
}

/** The length with the most agreement, up to `length`: each byte that agrees counts for it, each that does not against it. */
function growForward(old: Pages, fresh: Pages, { at, from, length: limit }: Match): number {
  let best = 0;
  let bestScore = 0;
  let score = 0;
  for (let done = 0; done < limit; ) {
    const [oldPage, freshPage] = [old.page(from + done), fresh.page(at + done)];
    const stop = Math.min(limit, oldPage.end - from, freshPage.end - at);
    const [oldAt, freshAt] = [from - oldPage.start, at - freshPage.start];
    for (; done < stop; done += 1) {
      score += freshPage.bytes[freshAt + done] === oldPage.bytes[oldAt + done] ? 1 : -1;
      if (score >= bestScore) {
        bestScore = score;
        best = done + 1;
      } else if (score <= bestScore - patience) return best;
    }
  }
  return best;
}

/** The same backwards from just before `at` and `from`. */
function growBack(old: Pages, fresh: Pages, { at, from, length: limit }: Match): number {
  let best = 0;
  let bestScore = 0;
  let score = 0;
  for (let done = 0; done < limit; ) {
    const [oldPage, freshPage] = [old.page(from - done - 1), fresh.page(at - done - 1)];
    const stop = Math.min(limit, from - oldPage.start, at - freshPage.start);
    const [oldAt, freshAt] = [from - oldPage.start - 1, at - freshPage.start - 1];
    for (; done < stop; done += 1) {
      score += freshPage.bytes[freshAt - done] === oldPage.bytes[oldAt - done] ? 1 : -1;
      if (score >= bestScore) {
        bestScore = score;
        best = done + 1;
      } else if (score <= bestScore - patience) return best;
    }
  }
  return best;
}
