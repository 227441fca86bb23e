/** Reads a "newc" cpio (cpio(5)), the payload of an rpm, in one pass: the members in order, for looking and comparing. */
import { SlipwayError } from "../model/errors.ts";
import { createByteReader } from "./byte-reader.ts";

export type CpioEntry = {
  readonly name: string;
  /** With the type bits: 0o100755. */
  readonly mode: number;
  readonly epochSeconds: number;
  readonly sizeBytes: number;
  /** The content; what the caller leaves is skipped. Only valid until the next member. */
  readonly body: () => AsyncIterable<Uint8Array>;
};

const headerSize = 110;
const nameLimit = 4096;

/** Throws `format_invalid` for damage and truncation. */
export async function* readCpio(source: AsyncIterable<Uint8Array>): AsyncGenerator<CpioEntry> {
  const reader = createByteReader(source, "cpio");
  const padding = (sizeBytes: number): number => (4 - (sizeBytes % 4)) % 4;
  try {
    for (;;) {
      const header = (await reader.read(headerSize, "a cpio header")).toString("latin1");
      if (!/^070701[0-9a-fA-F]{104}$/.test(header))
        throw new SlipwayError("format_invalid", `the cpio header at byte ${reader.position() - headerSize} is damaged`);
      const field = (index: number): number => Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
      const nameSize = field(11);
      if (nameSize < 1 || nameSize > nameLimit) throw new SlipwayError("format_invalid", `a cpio name cannot have ${nameSize} bytes`);
      const name = (await reader.read(nameSize, "a name")).toString("utf8", 0, nameSize - 1);
      await reader.read(padding(headerSize + nameSize), "the padding of a name");
      if (name === "TRAILER!!!") return;
      const sizeBytes = field(6);
      const body = reader.pieces(sizeBytes, name);
      yield { name, mode: field(1), epochSeconds: field(5), sizeBytes, body: () => body };
      for await (const _ of body);
      await reader.read(padding(sizeBytes), "the padding of a member");
    }
  } finally {
    await reader.close();
  }
}
