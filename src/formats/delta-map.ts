/** Where the bytes of the old file went: the steps of a delta, found by their place in the old file. Maker and reader build the same one. */
import { lastAtOrBefore } from "./delta-layout.ts";

/** Shorter ones are chance, and say little about what moved. */
const shortestBytes = 32;
/** A bound for hostile deltas, 24 MiB; 370 MB of programs make 600,000. What comes later is not on the map, for maker and reader alike. */
const mapLimit = 1024 * 1024;
/** 96 MiB. What comes later goes into the delta as it is. */
const listLimit = 4 * mapLimit;

export type StepMap = {
  /** Where the byte at an offset of the old file is in the new one; where no step takes it, as the nearest step has it. Undefined without any step. */
  readonly find: (offset: number) => { readonly offset: number; readonly isTaken: boolean } | undefined;
};

export type StepMapMaking = {
  /** `length` bytes of the old file from `from` come to stand at `at` of the new one. */
  readonly add: (at: number, from: number, length: number) => void;
  readonly finish: () => StepMap;
};

export function createStepMap(): StepMapMaking {
  const steps = createStepList(mapLimit);
  return {
    add: (at, from, length) => {
      if (length >= shortestBytes) steps.add(at, from, length);
    },
    finish: () => finish(steps),
  };
}

export type StepList = {
  readonly count: () => number;
  /** False where it is full. */
  readonly add: (at: number, from: number, length: number) => boolean;
  readonly at: (index: number) => number;
  readonly from: (index: number) => number;
  readonly length: (index: number) => number;
};

/** Grows to at most `limit` steps, 24 bytes each. */
export function createStepList(limit = listLimit): StepList {
  let numbers = new Float64Array(3 * 1024);
  let count = 0;
  return {
    count: () => count,
    add: (at, from, length) => {
      if (count >= limit) return false;
      if (count * 3 === numbers.length) {
        const larger = new Float64Array(numbers.length * 2);
        larger.set(numbers);
        numbers = larger;
      }
      numbers[count * 3] = at;
      numbers[count * 3 + 1] = from;
      numbers[count * 3 + 2] = length;
      count += 1;
      return true;
    },
    at: (index) => numbers[index * 3] ?? 0,
    from: (index) => numbers[index * 3 + 1] ?? 0,
    length: (index) => numbers[index * 3 + 2] ?? 0,
  };
}

/** Of two steps that take the same bytes the longer one has them. */
function finish(steps: StepList): StepMap {
  const order = Uint32Array.from({ length: steps.count() }, (_, index) => index).sort((left, right) => steps.from(left) - steps.from(right) || left - right);
  const froms = new Float64Array(order.length);
  const ends = new Float64Array(order.length);
  const moves = new Float64Array(order.length);
  let count = 0;
  for (const index of order) {
    let from = steps.from(index);
    const length = steps.length(index);
    const end = from + length;
    const move = steps.at(index) - from;
    const before = count - 1;
    if (count > 0 && from < (ends[before] ?? 0)) {
      if (length > (ends[before] ?? 0) - (froms[before] ?? 0)) {
        ends[before] = from;
        if (from === froms[before]) count = before;
      } else {
        from = ends[before] ?? 0;
        if (from >= end) continue;
      }
    }
    froms[count] = from;
    ends[count] = end;
    moves[count] = move;
    count += 1;
  }
  return {
    find: (offset) => {
      if (count === 0) return undefined;
      const index = Math.max(0, lastAtOrBefore(froms, count, offset));
      const isTaken = offset >= (froms[index] ?? 0) && offset < (ends[index] ?? 0);
      const isNextNearer = !isTaken && index + 1 < count && (froms[index + 1] ?? 0) - offset < offset - (ends[index] ?? 0);
      return { offset: offset + (moves[isNextNearer ? index + 1 : index] ?? 0), isTaken };
    },
  };
}
