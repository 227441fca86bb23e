/** The "newc" cpio of an rpm's payload (cpio(5)): ASCII headers of 110 bytes, names and contents padded to four. */
import { SlipwayError } from "../model/errors.ts";
import { pourHashed } from "./byte-source.ts";
import type { ByteSink, ByteSource } from "./package.ts";

/** The size field has eight hex digits; larger files would need rpm's own "stripped" format. */
export const cpioSizeLimit = 0xffffffff;
const magic = "070701";
const trailerName = "TRAILER!!!";

export type CpioMember = {
  readonly name: string;
  readonly inode: number;
  /** With the type bits: 0o100755. */
  readonly mode: number;
  readonly links: number;
  readonly epochSeconds: number;
};

export type CpioWriter = {
  /** Writes one member and returns the SHA-256 of its content in hex, undefined where it has none. */
  readonly add: (member: CpioMember, source?: ByteSource) => Promise<string | undefined>;
  readonly end: () => Promise<void>;
};

export function createCpioWriter(sink: ByteSink): CpioWriter {
  return {
    add: async (member, source) => {
      const size = source?.size ?? 0;
      if (size > cpioSizeLimit) throw new SlipwayError("format_limit", `${member.name} has ${size} bytes; a file of an rpm ends at ${cpioSizeLimit}`);
      await sink(cpioHeader(member, size));
      if (source === undefined) return undefined;
      const sha256 = await pourHashed(source, sink, { name: member.name, algorithm: "sha256" });
      const padding = zeros(size);
      if (padding.length > 0) await sink(padding);
      return sha256;
    },
    end: async () => sink(cpioHeader({ name: trailerName, inode: 0, mode: 0, links: 1, epochSeconds: 0 }, 0)),
  };
}

function cpioHeader(member: CpioMember, sizeBytes: number): Uint8Array {
  const name = Buffer.from(`${member.name}\0`);
  const hex = [member.inode, member.mode, 0, 0, member.links, member.epochSeconds, sizeBytes, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(magic + hex.map((value) => value.toString(16).padStart(8, "0")).join(""), "latin1");
  return Buffer.concat([header, name, zeros(header.length + name.length)]);
}

/** Zero bytes up to the next multiple of four. */
function zeros(sizeBytes: number): Uint8Array {
  return new Uint8Array((4 - (sizeBytes % 4)) % 4);
}
