/**
 * Codes a step of a delta: each byte as its difference from the old one, and each address that moved as its difference from where the steps say
 * that what it points to has gone. A program that was linked again is full of such addresses. The one who makes a delta and the one who applies
 * it run the same code with the sign turned round, and learn from the same addresses on the way.
 */
import { addressLimit, createSpace, placeIn, type Region, type RegionKind, type Space } from "./delta-layout.ts";
import type { StepMap } from "./delta-map.ts";
import { adrpPages, createOperands, findOperands, lowShift, operandContext, operandForm, operandReach, readWord, widthOf } from "./delta-operands.ts";

export type Step = { readonly at: number; readonly from: number; readonly length: number };

export type StepCoding = {
  /** Exactly these bytes of the old file. */
  readonly old: (offset: number, length: number) => Promise<Uint8Array> | Uint8Array;
  /** The next bytes that are to be coded, in memory that is overwritten: of the new file from `at`, or of the differences. */
  readonly input: (at: number, length: number) => Promise<Buffer> | Buffer;
  readonly output: (piece: Buffer) => Promise<void> | void;
};

export type Coder = (step: Step, coding: StepCoding) => Promise<void>;

export type CoderOptions = {
  readonly way: "make" | "apply";
  readonly old: readonly Region[];
  readonly new: readonly Region[];
  readonly map: StepMap;
};

const pieceBytes = 64 * 1024;
/** Of what was learnt: addresses of the old file and where they were last seen to have gone, 4 MiB. */
const learntBits = 18;
const pageBytes = 4096;
const form = operandForm;

/** Steps must be coded in the order of the new file. */
export function createCoder(options: CoderOptions): Coder {
  const [old, fresh] = [createSpace(options.old), createSpace(options.new)];
  const operands = createOperands(pieceBytes);
  const codeOperand = operandCoder(options, { old, fresh });
  return async (step, { old: readOld, input, output }) => {
    for (let done = 0; done < step.length; ) {
      const span = spanAt({ old, fresh }, step, done);
      for (const start = done; done < start + span.length; ) {
        const left = start + span.length - done;
        const before = Math.min(operandContext, done - start);
        const end = Math.min(pieceBytes, left);
        const limit = span.kind === "plain" ? end : Math.min(end + operandReach, left);
        const bytes = await readOld(step.from + done - before, before + limit);
        const oldBytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
        const address = span.old.address + step.from + done - before - span.old.offset;
        const window = { kind: span.kind, bytes: oldBytes, start: before, end: before + end, limit: before + limit, address };
        const ended = findOperands({ ...window, regionAddress: span.old.address, base: span.old.base, ...old.boundsOf(span.old.program) }, operands);
        const data = await input(step.at + done, ended - before);
        let plain = 0;
        for (let index = 0; index < operands.count; index += 1) {
          const at = (operands.positions[index] ?? 0) - before;
          codeBytes(data.subarray(plain, at), oldBytes.subarray(before + plain, before + at), options.way);
          const operandOf = { form: operands.forms[index] ?? 0, target: operands.targets[index] ?? 0, step, span };
          codeOperand({ ...operandOf, oldAt: step.from + done + at, newAt: step.at + done + at, oldBytes, at: before + at, data, dataAt: at });
          plain = at + widthOf(operandOf.form);
        }
        codeBytes(data.subarray(plain), oldBytes.subarray(before + plain, ended), options.way);
        await output(data);
        done += ended - before;
      }
    }
  };
}

function codeBytes(data: Buffer, old: Buffer, way: CoderOptions["way"]): void {
  if (way === "make") for (let at = 0; at < data.length; at += 1) data[at] = (data[at] ?? 0) - (old[at] ?? 0);
  else for (let at = 0; at < data.length; at += 1) data[at] = (data[at] ?? 0) + (old[at] ?? 0);
}

type Spaces = { readonly old: Space; readonly fresh: Space };
type Span = { readonly length: number; readonly kind: RegionKind; readonly old: Region; readonly fresh: Region };

const nowhere: Region = { offset: 0, size: 0, address: 0, kind: "plain", program: 0, base: 0 };

/** As far as both files stay in one region each. */
function spanAt({ old, fresh }: Spaces, { at, from, length }: Step, done: number): Span {
  const within = (space: Space, offset: number): { readonly region: Region; readonly end: number } => {
    const region = space.regionAt(offset);
    return region !== undefined && offset < region.offset + region.size
      ? { region, end: region.offset + region.size }
      : { region: nowhere, end: space.nextStart(offset) };
  };
  const [left, right] = [within(old, from + done), within(fresh, at + done)];
  return {
    length: Math.min(length - done, left.end - from - done, right.end - at - done),
    kind: left.region.kind === right.region.kind ? left.region.kind : "plain",
    old: left.region,
    fresh: right.region,
  };
}

type OperandCoding = {
  readonly form: number;
  /** The address that the old one points to. */
  readonly target: number;
  readonly step: Step;
  readonly span: Span;
  readonly oldAt: number;
  readonly newAt: number;
  readonly oldBytes: Buffer;
  readonly at: number;
  readonly data: Buffer;
  readonly dataAt: number;
};

function operandCoder({ way, map, old: oldRegions }: CoderOptions, { old, fresh }: Spaces): (coding: OperandCoding) => void {
  const room = oldRegions.length === 0 ? 0 : 2 ** learntBits; // without regions no address is found
  const learntFrom = new Float64Array(room).fill(-1);
  const learntTo = new Float64Array(room);
  const slotOf = (place: number): number => Math.imul((place >>> 0) ^ Math.floor(place / 2 ** 32), 0x9e3779b1) >>> (32 - learntBits);
  const learn = (from: number, to: number): void => {
    learntFrom[slotOf(from)] = from;
    learntTo[slotOf(from)] = to;
  };
  /** Of the register of the last ADRP: the new page, and where in the old file the instruction stands. */
  const pages = Array.from({ length: 32 }, () => ({ page: 0, oldAt: Number.NEGATIVE_INFINITY }));

  /** Where what an old address points to has gone; `unchanged` where nothing is known. */
  const predict = (place: number, isJump: boolean, { from, length, at }: Step, unchanged: number): number => {
    const offset = old.offsetOf(place);
    if (offset !== undefined && offset >= from && offset < from + length) return fresh.placeOf(offset - from + at) ?? unchanged;
    if (!isJump && learntFrom[slotOf(place)] === place) return learntTo[slotOf(place)] ?? unchanged;
    const found = offset === undefined ? undefined : map.find(offset);
    if (found === undefined || (isJump && !found.isTaken)) return unchanged;
    return fresh.placeOf(found.offset) ?? unchanged;
  };

  return (coding) => {
    const { form: how, target, span, data, dataAt } = coding;
    const oldHere = span.old.address + coding.oldAt - span.old.offset;
    const here = span.fresh.address + coding.newAt - span.fresh.offset;
    const shifted = how === form.word ? 0 : how === form.base ? span.fresh.base - span.old.base : here - oldHere;
    const place = placeIn(span.old.program, target);
    const isJump = how === form.jump || how === form.jump26;
    const bias = placeIn(span.fresh.program, 0);
    const address = predict(place, isJump, coding.step, bias + target + shifted) - bias;
    if (how === form.word) {
      const actual = codeWord(data, dataAt, address, way);
      if (actual < addressLimit) learn(place, bias + actual);
      return;
    }
    const oldWord = coding.oldBytes.readUInt32LE(coding.at);
    const predicted = encode(how, { address, here, base: span.fresh.base, oldWord });
    const given = data.readUInt32LE(dataAt);
    const actual = way === "make" ? given : (given + predicted) >>> 0;
    data.writeUInt32LE(way === "make" ? (given - predicted) >>> 0 : actual, dataAt);
    switch (how) {
      case form.after:
        return learn(place, bias + here + 4 + (actual | 0));
      case form.here:
        return learn(place, bias + here + (actual | 0));
      case form.base:
        return learn(place, bias + span.fresh.base + (actual | 0));
      case form.call26:
        return learn(place, bias + here + ((actual << 6) >> 6) * 4);
      case form.page:
        pages[actual & 31] = { page: (Math.floor(here / pageBytes) + adrpPages(actual)) * pageBytes, oldAt: coding.oldAt };
        return undefined;
      case form.low: {
        const known = pages[(actual >>> 5) & 31];
        const shift = lowShift(actual);
        if (known !== undefined && shift !== undefined && coding.oldAt - known.oldAt <= operandContext && coding.oldAt > known.oldAt)
          learn(place, bias + known.page + (((actual >>> 10) & 0xfff) << shift));
        return undefined;
      }
      default:
        return undefined; // jumps lead into one function, and are not seen again
    }
  };
}

/** Both halves by themselves; returns the new file's number. */
function codeWord(data: Buffer, at: number, predicted: number, way: CoderOptions["way"]): number {
  const before = readWord(data, at);
  const halves = [predicted >>> 0, Math.floor(predicted / 2 ** 32) >>> 0];
  for (const [index, half] of halves.entries()) {
    const given = data.readUInt32LE(at + index * 4);
    data.writeUInt32LE((way === "make" ? given - half : given + half) >>> 0, at + index * 4);
  }
  return way === "make" ? before : readWord(data, at);
}

type Encoding = { readonly address: number; readonly here: number; readonly base: number; readonly oldWord: number };

/** The four bytes that point from `here` to an address. */
function encode(how: number, { address, here, base, oldWord }: Encoding): number {
  switch (how) {
    case form.here:
      return (address - here) >>> 0;
    case form.back:
      return (here - address) >>> 0;
    case form.base:
      return (address - base) >>> 0;
    case form.call26:
    case form.jump26:
      return ((oldWord & 0xfc000000) | (Math.floor((address - here) / 4) & 0x03ffffff)) >>> 0;
    case form.page: {
      const pages = Math.floor(address / pageBytes) - Math.floor(here / pageBytes);
      return ((oldWord & 0x9f00001f) | ((pages & 3) << 29) | (((pages >> 2) & 0x7ffff) << 5)) >>> 0;
    }
    case form.low: {
      const low = address - Math.floor(address / pageBytes) * pageBytes;
      return ((oldWord & 0xffc003ff) | (((low >> (lowShift(oldWord) ?? 0)) & 0xfff) << 10)) >>> 0;
    }
    default:
      return (address - here - 4) >>> 0;
  }
}
