/** Where a package writer writes to in tests: the package's pieces and its spools stay in memory. */
import { bytesSource } from "../../src/formats/byte-source.ts";
import type { PackageOutput, Spool } from "../../src/formats/package.ts";

export function memoryOutput(pieces: Uint8Array[]): PackageOutput {
  const collect = (into: Uint8Array[]) => (piece: Uint8Array) => {
    into.push(Uint8Array.from(piece)); // writers reuse their buffers
  };
  const makeSpool = (): Promise<Spool> => {
    const spooled: Uint8Array[] = [];
    return Promise.resolve({ write: collect(spooled), finish: () => Promise.resolve(bytesSource(Buffer.concat(spooled))), remove: () => Promise.resolve() });
  };
  return { sink: collect(pieces), makeSpool };
}
