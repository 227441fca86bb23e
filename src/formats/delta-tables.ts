/**
 * Lines up the tables of addresses in two programs. Where everything moved, no bytes of such a table are found in the old one, or they are found at
 * the wrong entries, because most of each entry is the same as of any other. An entry belongs to that old one which points to what has gone to where it
 * points; and so do the words that relocations fill, and the records that an index of functions leads to.
 */
import { createSpace, lastAtOrBefore, placeIn, type Region, type RegionKind, type Space } from "./delta-layout.ts";
import { createStepList, createStepMap, type StepList, type StepMap } from "./delta-map.ts";
import type { Side } from "./delta-match.ts";
import { readWord } from "./delta-operands.ts";

/** How a table's entries lie, where in them stands what they are known by, and where the place of something else that belongs to them. */
type Shape = { readonly head: number; readonly size: number; readonly key: number; readonly place?: number };
const shapes: Partial<Record<RegionKind, Shape>> = {
  // .eh_frame_hdr: where a function begins, and the place of its record in .eh_frame (LSB 10.6.2)
  offsets: { head: 12, size: 8, key: 0, place: 4 },
  // r_addend, and r_offset: the place of the word that it fills
  relocations: { head: 0, size: 24, key: 16, place: 0 },
  symbols: { head: 0, size: 24, key: 8 },
};
/** Of larger tables the bytes are compared as any others: 20 bytes of memory for each entry. */
const entryLimit = 2 * 1024 * 1024;
const wordBytes = 8;
/** What lies between two places goes with the first one: sizes, lengths, the rest of a record. */
const gapBytes = 256;

/** The steps with those for tables in place of what was found there. */
export function alignTables(old: Side, fresh: Side, steps: StepList): StepList {
  if (old.regions.length === 0 || fresh.regions.length === 0) return steps;
  const spaces = { old: createSpace(old.regions), fresh: createSpace(fresh.regions) };
  const mapMaking = createStepMap();
  for (let index = 0; index < steps.count(); index += 1) mapMaking.add(steps.at(index), steps.from(index), steps.length(index));
  const map = mapMaking.finish();
  let aligned = steps;
  for (const [oldRegion, region] of tablePairs(old, fresh, steps)) {
    const pairs = pairEntries({ old, fresh, spaces, map, oldRegion, region });
    if (pairs === undefined) continue;
    aligned = overlay(aligned, tableSteps(pairs));
    aligned = overlay(aligned, placeSteps(pairs, { old, fresh, spaces }));
  }
  return aligned;
}

/** A program's tables with those of the old program that most of it comes from. */
function tablePairs(old: Side, fresh: Side, steps: StepList): readonly (readonly [Region, Region])[] {
  const origins = new Map<number, { readonly program: number; readonly length: number }>();
  const [oldSpace, space] = [createSpace(old.regions), createSpace(fresh.regions)];
  for (let index = 0; index < steps.count(); index += 1) {
    const program = space.regionAt(steps.at(index))?.program;
    const origin = oldSpace.regionAt(steps.from(index))?.program;
    const length = steps.length(index);
    if (program !== undefined && origin !== undefined && length > (origins.get(program)?.length ?? 0)) origins.set(program, { program: origin, length });
  }
  return fresh.regions
    .filter(({ kind }) => shapes[kind] !== undefined)
    .flatMap((region) => {
      const alike = (one: Region, program: number | undefined): boolean => one.kind === region.kind && one.program === program;
      const order = fresh.regions.filter((one) => alike(one, region.program)).indexOf(region);
      const found = old.regions.filter((one) => alike(one, origins.get(region.program)?.program))[order];
      return found === undefined ? [] : [[found, region] as const];
    });
}

type Spaces = { readonly old: Space; readonly fresh: Space };
type Table = { readonly file: Side["file"]; readonly region: Region; readonly shape: Shape; readonly count: number };
/** `origins[n]` is the old entry of the new entry n, -1 for none. */
type Pairs = { readonly origins: Int32Array; readonly old: Table; readonly fresh: Table };

type Pairing = {
  readonly old: Side;
  readonly fresh: Side;
  readonly spaces: Spaces;
  readonly map: StepMap;
  readonly oldRegion: Region;
  readonly region: Region;
};

function pairEntries({ old, fresh, spaces, map, oldRegion, region }: Pairing): Pairs | undefined {
  const [before, after] = [tableOf(old, oldRegion), tableOf(fresh, region)];
  if (before === undefined || after === undefined) return undefined;
  const oldKeys = column(before, before.shape.key);
  const keys = column(after, after.shape.key);
  // From here on the old keys are where they should be found in the new program.
  for (const [index, key] of oldKeys.entries()) {
    const offset = spaces.old.offsetOf(placeIn(oldRegion.program, key));
    const moved = offset === undefined ? undefined : map.find(offset);
    const place = moved === undefined ? undefined : spaces.fresh.placeOf(moved.offset);
    oldKeys[index] = place === undefined ? -1 : place - placeIn(region.program, 0);
  }
  const order = Uint32Array.from(oldKeys.keys()).sort((left, right) => (oldKeys[left] ?? 0) - (oldKeys[right] ?? 0) || right - left);
  const sorted = Float64Array.from(order, (index) => oldKeys[index] ?? 0);
  const origins = new Int32Array(after.count).fill(-1);
  let last = -1;
  for (const [index, key] of keys.entries()) {
    const next = last + 1;
    const place = oldKeys[next] === key ? -1 : lastAtOrBefore(sorted, sorted.length, key);
    // An entry that is nowhere stands for the next old one, most of which it is.
    const origin = place >= 0 && sorted[place] === key ? (order[place] ?? 0) : next;
    if (origin >= before.count) continue;
    origins[index] = origin;
    last = origin;
  }
  return { origins, old: before, fresh: after };
}

function tableOf({ file }: Side, region: Region): Table | undefined {
  const shape = shapes[region.kind];
  if (shape === undefined) return undefined;
  const count = Math.floor((region.size - shape.head) / shape.size);
  return count < 1 || count > entryLimit ? undefined : { file, region, shape, count };
}

/** One number of each entry: eight bytes, or in a table of offsets four that count from its base. */
function column({ file, region, shape, count }: Table, at: number): Float64Array {
  const values = new Float64Array(count);
  const block = Buffer.alloc(4096 * shape.size);
  for (let done = 0; done < count; done += 4096) {
    const some = Math.min(4096, count - done);
    file.readInto(region.offset + shape.head + done * shape.size, block.subarray(0, some * shape.size));
    for (let index = 0; index < some; index += 1) {
      const position = index * shape.size + at;
      values[done + index] = region.kind === "offsets" ? region.base + block.readInt32LE(position) : readWord(block, position);
    }
  }
  return values;
}

function tableSteps({ origins, old, fresh }: Pairs): StepList {
  const runs = createRuns({ gap: 0, oldSize: old.file.size });
  const offsetOf = ({ region, shape }: Table, index: number): number => region.offset + shape.head + index * shape.size;
  for (const [index, origin] of origins.entries()) if (origin >= 0) runs.add(offsetOf(fresh, index), offsetOf(old, origin), fresh.shape.size);
  return runs.finish();
}

/** What stands at the places that entries name: words, and records of which the gaps between the places are the rest. */
function placeSteps({ origins, old, fresh }: Pairs, sides: { readonly old: Side; readonly fresh: Side; readonly spaces: Spaces }): StepList {
  const runs = createRuns({ gap: gapBytes, oldSize: old.file.size });
  const { place } = fresh.shape;
  if (place === undefined) return runs.finish();
  const [froms, ats] = [column(old, place), column(fresh, place)];
  for (const [index, origin] of origins.entries()) {
    if (origin < 0) continue;
    const from = sides.spaces.old.offsetOf(placeIn(old.region.program, froms[origin] ?? 0));
    const at = sides.spaces.fresh.offsetOf(placeIn(fresh.region.program, ats[index] ?? 0));
    if (from === undefined || at === undefined || from + wordBytes > sides.old.file.size || at + wordBytes > sides.fresh.file.size) continue;
    runs.add(at, from, wordBytes);
  }
  return runs.finish();
}

/** Steps that rise in the new file; those that go on where the last one ended become one with it, and small gaps go with the step before them. */
function createRuns({ gap, oldSize }: { readonly gap: number; readonly oldSize: number }): {
  readonly add: (at: number, from: number, length: number) => void;
  readonly finish: () => StepList;
} {
  const steps = createStepList();
  let [at, from, length] = [0, 0, 0];
  return {
    add: (nextAt, nextFrom, nextLength) => {
      const between = nextAt - at - length;
      if (length > 0 && between < 0) return;
      if (length > 0 && nextAt - at === nextFrom - from && between <= gap) {
        length += between + nextLength;
        return;
      }
      if (length > 0) steps.add(at, from, between <= gap ? Math.min(length + between, oldSize - from) : length);
      [at, from, length] = [nextAt, nextFrom, nextLength];
    },
    finish: () => {
      if (length > 0) steps.add(at, from, length);
      return steps;
    },
  };
}

/** Both in the order of the new file; where they overlap, those on top count. */
function overlay(under: StepList, top: StepList): StepList {
  const steps = createStepList();
  let emitted = 0;
  const emitTop = (before: number): void => {
    for (; emitted < top.count() && top.at(emitted) < before; emitted += 1) steps.add(top.at(emitted), top.from(emitted), top.length(emitted));
  };
  let first = 0;
  for (let index = 0; index < under.count(); index += 1) {
    const at = under.at(index);
    const end = at + under.length(index);
    const emitPart = (start: number, stop: number): void => {
      if (start >= stop) return;
      emitTop(start);
      steps.add(start, under.from(index) + start - at, stop - start);
    };
    while (first < top.count() && top.at(first) + top.length(first) <= at) first += 1;
    let cursor = at;
    for (let over = first; over < top.count() && top.at(over) < end; over += 1) {
      emitPart(cursor, top.at(over));
      cursor = Math.max(cursor, top.at(over) + top.length(over));
    }
    emitPart(cursor, end);
  }
  emitTop(Number.POSITIVE_INFINITY);
  return steps;
}
