/**
 * Where in a file the parts of programs lie, at which addresses they are loaded, and what kind of addresses stands in them: what a reader of a
 * delta needs for telling what an operand points to, without knowing any format of programs. The maker sends it for the old and the new file.
 */

/** What stands in a part; the number is the one on the wire. */
export const regionKinds = ["plain", "x86-64", "arm64", "words", "relocations", "symbols", "offsets", "frames"] as const;
export type RegionKind = (typeof regionKinds)[number];

export type Region = {
  readonly offset: number;
  readonly size: number;
  /** Where the program has it in memory; parts that are never loaded get one that nothing else has. */
  readonly address: number;
  readonly kind: RegionKind;
  /** Programs of one file are numbered: an address means something in its own program only. */
  readonly program: number;
  /** What the numbers of `offsets`, and of the names in `symbols`, count from. */
  readonly base: number;
};

/** A file may hold many programs, one behind the other in an archive. */
export const regionLimit = 20_000;
/** Addresses are below it: every program in use has its own below 2^40 but for kernels, and programs lie side by side in one space of doubles. */
export const addressLimit = 2 ** 40;
export const programLimit = 2 ** 12;

const fieldsOfRegion = 6;

/** As numbers for the wire, the count first. */
export function layoutNumbers(regions: readonly Region[]): readonly number[] {
  return [
    regions.length,
    ...regions.flatMap(({ offset, size, address, kind, program, base }) => [offset, size, address, regionKinds.indexOf(kind), program, base]),
  ];
}

/** Reads what `layoutNumbers` made; undefined where it is out of bounds or of order. */
export async function readLayout(number: () => Promise<number>): Promise<readonly Region[] | undefined> {
  const count = await number();
  if (count > regionLimit) return undefined;
  const regions: Region[] = [];
  let end = 0;
  for (let index = 0; index < count; index += 1) {
    const [offset = 0, size = 0, address = 0, kindNumber = 0, program = 0, base = 0] = await numbers(number, fieldsOfRegion);
    const kind = regionKinds[kindNumber];
    if (kind === undefined || offset < end || size >= addressLimit || address >= addressLimit || base >= addressLimit || program >= programLimit)
      return undefined;
    end = offset + size;
    if (end > Number.MAX_SAFE_INTEGER) return undefined;
    regions.push({ offset, size, address, kind, program, base });
  }
  return regions;
}

async function numbers(number: () => Promise<number>, count: number): Promise<readonly number[]> {
  const read: number[] = [];
  while (read.length < count) read.push(await number());
  return read;
}

/** One file's regions, found by offset and by place: an address and its program in one number. */
export type Space = {
  /** The region with this byte, or the one before it: whoever asks compares its end. Undefined before the first. */
  readonly regionAt: (offset: number) => Region | undefined;
  /** Where the next region after this byte begins; Infinity after the last. */
  readonly nextStart: (offset: number) => number;
  readonly offsetOf: (place: number) => number | undefined;
  readonly placeOf: (offset: number) => number | undefined;
  /** The bounds of a program's addresses, as addresses. */
  readonly boundsOf: (program: number) => { readonly low: number; readonly high: number };
};

export const placeIn = (program: number, address: number): number => program * addressLimit + address;

/** `regions` do not overlap and stand in the order of their offsets. */
export function createSpace(regions: readonly Region[]): Space {
  const byPlace = regions.map((region) => ({ region, start: placeIn(region.program, region.address) })).sort((left, right) => left.start - right.start);
  const starts = Float64Array.from(regions, ({ offset }) => offset);
  const places = Float64Array.from(byPlace, ({ start }) => start);
  const bounds = new Map<number, { low: number; high: number }>();
  for (const { program, address, size } of regions) {
    const known = bounds.get(program) ?? { low: address, high: address };
    bounds.set(program, { low: Math.min(known.low, address), high: Math.max(known.high, address + size) });
  }
  const nowhere = { low: 0, high: 0 };
  const indexAt = (offset: number): number => lastAtOrBefore(starts, starts.length, offset);
  return {
    regionAt: (offset) => regions[indexAt(offset)],
    nextStart: (offset) => starts[indexAt(offset) + 1] ?? Number.POSITIVE_INFINITY,
    offsetOf: (place) => {
      const found = byPlace[lastAtOrBefore(places, places.length, place)];
      return found === undefined || place >= found.start + found.region.size ? undefined : place - found.start + found.region.offset;
    },
    placeOf: (offset) => {
      const found = regions[indexAt(offset)];
      return found === undefined || offset >= found.offset + found.size ? undefined : placeIn(found.program, found.address) + offset - found.offset;
    },
    boundsOf: (program) => bounds.get(program) ?? nowhere,
  };
}

/** Index of the last of the first `count` numbers, which rise, that is at most `value`; -1 where there is none. */
export function lastAtOrBefore(rising: Float64Array, count: number, value: number): number {
  let low = -1;
  let high = count - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((rising[middle] ?? 0) <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}
