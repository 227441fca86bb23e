/** Programs for tests of deltas: the same functions in any order, so that every address in one differs from the next. ELF, made by hand (elf(5)). */

export type MovedProgram = {
  readonly machine: "x86-64" | "arm64";
  /** Numbers of functions; a program with the same ones in another order was linked again. */
  readonly order: readonly number[];
};

/** Bytes that do not compress, the same for a seed. */
export function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0, state = seed >>> 0; at < size; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** `count` functions in groups that moved as a whole, the last one first. */
export function groupsMoved(count: number, groupSize: number): readonly number[] {
  const groups = Array.from({ length: Math.ceil(count / groupSize) }, (_group, group) =>
    Array.from({ length: Math.min(groupSize, count - group * groupSize) }, (_, index) => group * groupSize + index),
  );
  return groups.toReversed().flat();
}

const textAddress = 0x201000;
const textOffset = 0x1000;
const align = (value: number, to: number): number => Math.ceil(value / to) * to;
const sizeOf = (number: number): number => 128 + (number % 5) * 16;
const callsAt = [20, 44, 68, 92] as const;
const wordsPerFunction = 2;

type Section = {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly bytes: Buffer;
};

/** With relocations, the words that they fill, and the records that unwinding takes, as linkers write them. */
export function movedProgram({ machine, order }: MovedProgram): Buffer {
  const starts = new Map<number, number>();
  let end = textAddress;
  for (const number of order) {
    starts.set(number, end);
    end += sizeOf(number);
  }
  const startOf = (number: number): number => starts.get(number % order.length) ?? textAddress;
  const text = Buffer.concat(order.map((number) => functionBytes(machine, number, startOf)));
  const sections: Section[] = [{ name: ".text", type: 1, flags: 6, offset: textOffset, address: textAddress, bytes: text }];
  const place = (name: string, flags: number, size: number, type = 1): Section => {
    const before = sections.at(-1);
    const offset = align((before?.offset ?? 0) + (before?.bytes.length ?? 0), 64);
    const section = { name, type, flags, offset, address: offset - textOffset + textAddress + sections.length * 0x1000, bytes: Buffer.alloc(size) };
    sections.push(section);
    return section;
  };
  const words = place(".data.rel.ro", 3, order.length * wordsPerFunction * 8);
  const relocations = place(".rela.dyn", 2, order.length * wordsPerFunction * 24, 4);
  const frames = place(".eh_frame", 2, 24 + order.length * 24);
  const index = place(".eh_frame_hdr", 2, 12 + order.length * 8);
  for (const [position, number] of order.entries()) {
    for (let word = 0; word < wordsPerFunction; word += 1) {
      const at = (position * wordsPerFunction + word) * 24;
      relocations.bytes.writeBigUInt64LE(BigInt(words.address + (position * wordsPerFunction + word) * 8), at);
      relocations.bytes.writeBigUInt64LE(8n, at + 8);
      relocations.bytes.writeBigUInt64LE(BigInt(startOf(number * 3 + word)), at + 16);
    }
    const record = 24 + position * 24;
    frames.bytes.writeUInt32LE(20, record);
    frames.bytes.writeUInt32LE(record + 4, record + 4);
    frames.bytes.writeInt32LE(startOf(number) - frames.address - record - 8, record + 8);
    frames.bytes.writeUInt32LE(sizeOf(number), record + 12);
    noise(4, number).copy(frames.bytes, record + 20);
    index.bytes.writeInt32LE(startOf(number) - index.address, 12 + position * 8);
    index.bytes.writeInt32LE(frames.address + record - index.address, 12 + position * 8 + 4);
  }
  return elf(machine === "arm64" ? 183 : 62, sections);
}

/** Bytes of its own, four calls, and for arm64 four addresses in two instructions each. */
function functionBytes(machine: MovedProgram["machine"], number: number, startOf: (number: number) => number): Buffer {
  const bytes = noise(sizeOf(number), number + 1);
  for (const [which, at] of callsAt.entries()) {
    const here = startOf(number) + at;
    const target = startOf(number * 7 + which * 13 + 1);
    if (machine === "x86-64") {
      bytes[at] = 0xe8;
      bytes.writeInt32LE(target - here - 5, at + 1);
      continue;
    }
    bytes.writeUInt32LE((0x94000000 | (((target - here) / 4) & 0x03ffffff)) >>> 0, at);
    const pages = Math.floor(target / 4096) - Math.floor((here + 4) / 4096);
    bytes.writeUInt32LE((0x90000000 | ((pages & 3) << 29) | (((pages >> 2) & 0x7ffff) << 5) | which) >>> 0, at + 4);
    bytes.writeUInt32LE((0x91000000 | ((target % 4096) << 10) | (which << 5) | which) >>> 0, at + 8);
  }
  return bytes;
}

function elf(machine: number, sections: readonly Section[]): Buffer {
  const last = sections.at(-1);
  const namesOffset = (last?.offset ?? 0) + (last?.bytes.length ?? 0);
  const names = Buffer.from(`\0${[...sections.map(({ name }) => name), ".shstrtab"].join("\0")}\0`, "latin1");
  const tableOffset = align(namesOffset + names.length, 8);
  const file = Buffer.alloc(tableOffset + (sections.length + 2) * 64);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(machine, 18);
  file.writeBigUInt64LE(BigInt(tableOffset), 40);
  file.writeUInt16LE(64, 58);
  file.writeUInt16LE(sections.length + 2, 60);
  file.writeUInt16LE(sections.length + 1, 62);
  const all = [...sections, { name: ".shstrtab", type: 3, flags: 0, offset: namesOffset, address: 0, bytes: names }];
  for (const [position, { name, type, flags, offset, address, bytes }] of all.entries()) {
    bytes.copy(file, offset);
    const entry = tableOffset + (position + 1) * 64;
    file.writeUInt32LE(names.indexOf(`\0${name}\0`) + 1, entry);
    file.writeUInt32LE(type, entry + 4);
    for (const [field, value] of [flags, address, offset, bytes.length].entries()) file.writeBigUInt64LE(BigInt(value), entry + 8 + field * 8);
  }
  return file;
}
