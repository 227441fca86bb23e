/** Small executables made by hand, to put build information into: sections and one data segment, in any width and byte order of ELF. */

export type FixtureSection = { readonly name: string; readonly bytes: Buffer };

export type ElfShape = { readonly is64: boolean; readonly isLittle: boolean };

/** The data segment is loaded here; its file offset stands at dataOffset of the result. */
export const dataAddress = 0x40_0000;

/**
 * An ELF executable with the sections and one writable segment of the bytes `data`, which may refer to itself by address.
 * Layout: header, segment header, data, sections, names, section headers.
 */
export function elfProgram(shape: ElfShape, parts: { readonly data?: Buffer; readonly sections?: readonly FixtureSection[] }): Buffer {
  const { is64, isLittle } = shape;
  const data = parts.data ?? Buffer.alloc(64);
  const given = [...(parts.sections ?? []), { name: ".shstrtab", bytes: Buffer.alloc(0) }];
  const names = Buffer.concat([Buffer.from([0]), ...given.map(({ name }) => Buffer.from(`${name}\0`))]);
  const sections = given.map((section) => (section.name === ".shstrtab" ? { ...section, bytes: names } : section));
  const number = (value: number, size: number): Buffer => {
    const bytes = Buffer.alloc(size);
    if (isLittle) bytes.writeUIntLE(value, 0, Math.min(size, 6));
    else bytes.writeUIntBE(value, size - Math.min(size, 6), Math.min(size, 6));
    return bytes;
  };
  const half = (value: number): Buffer => number(value, 2);
  const word = (value: number): Buffer => number(value, 4);
  const long = (value: number): Buffer => number(value, is64 ? 8 : 4);
  const headerSize = is64 ? 64 : 52;
  const segmentSize = is64 ? 56 : 32;
  const dataOffset = Math.ceil((headerSize + segmentSize) / 16) * 16;
  let at = dataOffset + data.length;
  const placed = sections.map((section) => {
    const offset = Math.ceil(at / 16) * 16;
    at = offset + section.bytes.length;
    return { ...section, offset };
  });
  const tableOffset = Math.ceil(at / 16) * 16;
  const header = Buffer.concat([
    Buffer.from([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, isLittle ? 1 : 2, 1]),
    Buffer.alloc(9),
    half(2),
    half(62),
    word(1),
    long(dataAddress),
    long(headerSize),
    long(tableOffset),
    word(0),
    half(headerSize),
    half(segmentSize),
    half(1),
    half(is64 ? 64 : 40),
    half(placed.length + 1),
    half(placed.length),
  ]);
  const segment = is64
    ? Buffer.concat([word(1), word(6), long(dataOffset), long(dataAddress), long(dataAddress), long(data.length), long(data.length), long(16)])
    : Buffer.concat([word(1), long(dataOffset), long(dataAddress), long(dataAddress), long(data.length), long(data.length), word(6), long(16)]);
  const headers = placed.map(({ name, offset, bytes }) =>
    Buffer.concat([word(names.indexOf(`${name}\0`)), word(1), long(2), long(0), long(offset), long(bytes.length), word(0), word(0), long(16), long(0)]),
  );
  const file = Buffer.alloc(tableOffset);
  Buffer.concat([header, segment]).copy(file);
  data.copy(file, dataOffset);
  for (const { offset, bytes } of placed) bytes.copy(file, offset);
  return Buffer.concat([file, Buffer.alloc(is64 ? 64 : 40), ...headers]);
}

/** Go's blob of the time before 1.18: pointers to string headers, everything inside one data segment. */
export function pointedGoBlob(shape: ElfShape, texts: { readonly goVersion: string; readonly modules: string }): Buffer {
  const size = shape.is64 ? 8 : 4;
  const mark = Buffer.alloc(16, 0x77);
  const strings = [Buffer.from(texts.goVersion), Buffer.concat([mark, Buffer.from(texts.modules), mark])];
  const pointer = (value: number): Buffer => {
    const bytes = Buffer.alloc(size);
    if (shape.isLittle) bytes.writeUIntLE(value, 0, Math.min(size, 6));
    else bytes.writeUIntBE(value, size - Math.min(size, 6), Math.min(size, 6));
    return bytes;
  };
  const headersAt = 32;
  let textAt = headersAt + 4 * size;
  const stringHeaders = strings.flatMap((text) => {
    const header = [pointer(dataAddress + textAt), pointer(text.length)];
    textAt += text.length;
    return header;
  });
  const blob = Buffer.concat([
    Buffer.from("\xff Go buildinf:", "latin1"),
    Buffer.from([size, shape.isLittle ? 0 : 1]),
    pointer(dataAddress + headersAt),
    pointer(dataAddress + headersAt + 2 * size),
  ]);
  return Buffer.concat([blob, Buffer.alloc(headersAt - blob.length), ...stringHeaders, ...strings]);
}
