/**
 * Finds the addresses in programs, without taking them apart: by the bytes before them, and by what they point to. It may miss some and take others
 * for some: that costs a few bytes of a delta, no more. Maker and reader look at the same old bytes and find the same.
 *
 * x86-64: the 32 bits behind the opcodes of call, jmp and jcc, and behind a ModRM byte of mode 0, register 5 (Intel SDM 2, 2.2.1.6: relative to rip).
 * arm64: BL, B, ADRP, and the ADD, LDR and STR that complete an ADRP (Arm ARM C6.2). Frames: .eh_frame's records (LSB 10.6.1).
 */
import type { RegionKind } from "./delta-layout.ts";

/** How an operand holds its address. */
export const operandForm = {
  /** From the byte behind its four bytes; a jump leads into its own function, mostly. */
  after: 0,
  jump: 1,
  /** From its first byte, forwards and backwards. */
  here: 2,
  back: 3,
  /** From the base of its region. */
  base: 4,
  /** The address itself, in eight bytes. */
  word: 5,
  /** Words of instructions: 26 bits from here, a page from this page, and the place in a page. */
  call26: 6,
  jump26: 7,
  page: 8,
  low: 9,
} as const;

/** Bytes before `start` that an operand may depend on, where there are any; never more. */
export const operandContext = 32;
/** And behind it. */
export const operandReach = 40;

export type OperandWindow = {
  readonly kind: RegionKind;
  readonly bytes: Buffer;
  /** Operands begin from `start` and before `end`, and lie inside of `limit`. */
  readonly start: number;
  readonly end: number;
  readonly limit: number;
  /** Of the first of `bytes`, and of the region that it lies in. */
  readonly address: number;
  readonly regionAddress: number;
  readonly base: number;
  /** Where the program has anything. */
  readonly low: number;
  readonly high: number;
};

/** Filled anew by each search. */
export type Operands = { count: number; readonly positions: Int32Array; readonly forms: Uint8Array; readonly targets: Float64Array };

/** Room for what a window of so many bytes can hold. */
export function createOperands(windowBytes: number): Operands {
  const room = Math.ceil((windowBytes + operandReach) / 4) + 4;
  return { count: 0, positions: new Int32Array(room), forms: new Uint8Array(room), targets: new Float64Array(room) };
}

/**
 * Returns where it ended: at `end`, or behind it where the last operand does; going on there finds what one search would have found.
 */
export function findOperands(window: OperandWindow, found: Operands): number {
  found.count = 0;
  return finders[window.kind](window, found);
}

const finders: Readonly<Record<RegionKind, (window: OperandWindow, found: Operands) => number>> = {
  plain: ({ end }) => end,
  "x86-64": findX86,
  arm64: findArm,
  words: (window, found) => findInRecords(window, found, words),
  relocations: (window, found) => findInRecords(window, found, relocations),
  symbols: (window, found) => findInRecords(window, found, symbols),
  offsets: (window, found) => findInRecords(window, found, offsets),
  frames: findFrames,
};

export const widthOf = (form: number): number => (form === operandForm.word ? 8 : 4);

function push(found: Operands, position: number, form: number, target: number): void {
  found.positions[found.count] = position;
  found.forms[found.count] = form;
  found.targets[found.count] = target;
  found.count += 1;
}

function findX86({ bytes, start, end, limit, address, low, high }: OperandWindow, found: Operands): number {
  let at = Math.max(start, 2);
  const last = Math.min(end, limit - 3);
  while (at < last) {
    const opcode = bytes[at - 1] ?? 0;
    const isJump = opcode === 0xe9 || ((opcode & 0xf0) === 0x80 && bytes[at - 2] === 0x0f);
    if (isJump || opcode === 0xe8 || (opcode & 0xc7) === 5) {
      const target = address + at + 4 + bytes.readInt32LE(at);
      if (target >= low && target < high) {
        push(found, at, isJump ? operandForm.jump : operandForm.after, target);
        at += 5; // its last byte is no opcode
        continue;
      }
    }
    at += 1;
  }
  return Math.min(Math.max(at, end), limit);
}

/** An ADRP is completed within so many instructions, mostly the next one. */
const completionReach = 8;
const isAdrp = (word: number): boolean => (word & 0x9f000000) >>> 0 === 0x90000000;

/** How far the twelve bits of an ADD, LDR or STR with an unsigned offset are shifted; undefined for other instructions. */
export function lowShift(word: number): number | undefined {
  if ((word & 0xffc00000) >>> 0 === 0x91000000) return 0;
  if ((word & 0x3b000000) !== 0x39000000) return undefined;
  return (word & 0x04800000) === 0x04800000 && word >>> 30 === 0 ? 4 : word >>> 30;
}

const pageOf = (address: number): number => address - (address % 4096);
const lowOf = (word: number, shift: number): number => ((word >>> 10) & 0xfff) << shift;
/** 21 bits, the lowest two of them at 29 and the others at 5. */
export const adrpPages = (word: number): number => ((word >>> 29) & 3) | (((word << 8) >> 13) << 2) | 0;

function findArm({ bytes, start, end, limit, address, low, high }: OperandWindow, found: Operands): number {
  const word = (at: number): number => bytes.readUInt32LE(at);
  let at = start + ((4 - ((address + start) % 4)) % 4);
  for (; at < end && at + 4 <= limit; at += 4) {
    const one = word(at);
    const operation = one >>> 26;
    let form: number | undefined;
    let target = 0;
    if (operation === 0x25 || operation === 0x05) {
      form = operation === 0x25 ? operandForm.call26 : operandForm.jump26;
      target = address + at + ((one << 6) >> 6) * 4;
    } else if (isAdrp(one)) {
      form = operandForm.page;
      target = pageOf(address + at) + adrpPages(one) * 4096;
      for (let next = at + 4; next <= at + completionReach * 4 && next + 4 <= limit; next += 4) {
        const shift = lowShift(word(next));
        if (shift === undefined || ((word(next) >>> 5) & 31) !== (one & 31)) continue;
        target += lowOf(word(next), shift);
        break;
      }
    } else {
      const shift = lowShift(one);
      const first = shift === undefined ? at : Math.max(0, at - completionReach * 4);
      for (let back = at - 4; back >= first; back -= 4) {
        if (!isAdrp(word(back)) || (word(back) & 31) !== ((one >>> 5) & 31)) continue;
        form = operandForm.low;
        target = pageOf(address + back) + adrpPages(word(back)) * 4096 + lowOf(one, shift ?? 0);
        break;
      }
    }
    if (form !== undefined && target >= low && target < high) push(found, at, form, target);
  }
  return Math.min(Math.max(at, end), limit);
}

type Records = { readonly size: number; readonly fields: readonly { readonly at: number; readonly form: number }[] };
const words: Records = { size: 8, fields: [{ at: 0, form: operandForm.word }] };
const offsets: Records = { size: 4, fields: [{ at: 0, form: operandForm.base }] };
/** Elf64_Rela: r_offset and r_addend (elf(5)). */
const relocations: Records = {
  size: 24,
  fields: [
    { at: 0, form: operandForm.word },
    { at: 16, form: operandForm.word },
  ],
};
/** Elf64_Sym: st_name, counted from the names' beginning, and st_value. */
const symbols: Records = {
  size: 24,
  fields: [
    { at: 0, form: operandForm.base },
    { at: 8, form: operandForm.word },
  ],
};

function findInRecords(window: OperandWindow, found: Operands, { size, fields }: Records): number {
  const { bytes, start, end, limit, address, regionAddress, base, low, high } = window;
  let ended = end;
  for (let record = start - ((address + start - regionAddress) % size); record < end; record += size) {
    for (const { at, form } of fields) {
      const position = record + at;
      if (position < start || position >= end || position + widthOf(form) > limit) continue;
      const target = form === operandForm.base ? base + bytes.readInt32LE(position) : readWord(bytes, position);
      if (target < low || target >= high) continue;
      push(found, position, form, target);
      ended = Math.max(ended, position + widthOf(form));
    }
  }
  return ended;
}

/** Beyond 2^53 it is not exact, and no address. */
export const readWord = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;

/** A record: its length, the way back to what it refers to, where its function begins and how long it is, and the function's table of handlers. */
function findFrames({ bytes, start, end, limit, address, regionAddress, low, high }: OperandWindow, found: Operands): number {
  let at = start + ((4 - ((address + start - regionAddress) % 4)) % 4);
  while (at < end && at + 21 <= limit) {
    const length = bytes.readUInt32LE(at);
    const back = bytes.readUInt32LE(at + 4);
    const size = bytes.readUInt32LE(at + 12);
    const referred = address + at + 4 - back;
    const begin = address + at + 8 + bytes.readInt32LE(at + 8);
    const isRecord =
      length >= 16 && length < 2 ** 16 && length % 4 === 0 && back > 0 && back % 4 === 0 && referred >= regionAddress && size > 0 && size < 2 ** 24;
    if (!isRecord || begin < low || begin >= high) {
      at += 4;
      continue;
    }
    push(found, at + 4, operandForm.back, referred);
    push(found, at + 8, operandForm.here, begin);
    const handlers = address + at + 17 + bytes.readInt32LE(at + 17);
    const hasHandlers = bytes[at + 16] === 4 && handlers >= low && handlers < high;
    if (hasHandlers) push(found, at + 17, operandForm.here, handlers);
    at += hasHandlers ? 24 : 20;
  }
  return Math.min(Math.max(at, end), limit);
}
