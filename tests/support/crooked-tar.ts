/** Tar headers that our writer never writes. */
import { tarChecksum } from "../../src/formats/tar.ts";

/** Makes a header block one of another member type ("1" a hard link, "3" a device, …), with a checksum that fits (tar(5), ustar). */
export function plantMemberType(block: Buffer, type: string): void {
  block.write(type, 156, "latin1");
  block.write(`${tarChecksum(block).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}
