/**
 * Ad-hoc code signatures of Mach-O executables: written anew, and checked page by page.
 *
 * macOS ends a program whose pages do not have the hashes in its signature. The bundler's darwin/amd64 output carries the runtime's own
 * signature, whose hashes no longer fit what was put in; the signature written here has nothing but hashes ("ad hoc", as a linker makes it),
 * so a vendor with an Apple certificate may replace it with `codesign`.
 *
 * Layout, from xnu's osfmk/kern/cs_blobs.h and mach-o/loader.h: LC_CODE_SIGNATURE names the place of a super blob at the end of __LINKEDIT,
 * which holds one code directory: identifier, flags, and the SHA-256 of each 4 KiB page before it. Numbers in it are big-endian.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";

const pageBits = 12;
const pageBytes = 2 ** pageBits;
const hashBytes = 32;
const sha256HashType = 2;

const magic64 = 0xfeedfacf;
const segmentCommand = 0x19;
const signatureCommand = 0x1d;
const superBlobMagic = 0xfade0cc0;
const codeDirectoryMagic = 0xfade0c02;
/** The first version with the executable segment's fields, which macOS 10.14 and newer look at. */
const codeDirectoryVersion = 0x20400;
const codeDirectoryHeaderBytes = 88;
/** CS_ADHOC and CS_LINKER_SIGNED. */
const linkerSignedAdHoc = 0x20002;
const mainBinary = 1n;
const commandsLimit = 1024 * 1024;
const signatureLimit = 16 * 1024 * 1024;

type Place = { readonly at: number; readonly offset: number; readonly size: number };
type Layout = { readonly text: Place; readonly linkEdit: Place; readonly signature: Place };

async function readExactly(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, offset);
  if (bytesRead !== length) throw new Error(`the program ends before byte ${offset + length}`);
  return buffer;
}

/** `at` is where the load command stands in the file. */
async function readLayout(handle: FileHandle): Promise<Layout> {
  const header = await readExactly(handle, 0, 32);
  if (header.readUInt32LE(0) !== magic64) throw new Error("not a 64-bit Mach-O program");
  const size = header.readUInt32LE(20);
  if (size > commandsLimit) throw new Error(`load commands of ${size} bytes`);
  const commands = await readExactly(handle, 32, size);
  const places = new Map<string, Place>();
  for (let at = 0; at + 8 <= size; at += Math.max(8, commands.readUInt32LE(at + 4))) {
    const command = commands.readUInt32LE(at);
    if (command === segmentCommand) {
      const name = commands.toString("latin1", at + 8, at + 24).replace(/\0.*$/s, "");
      places.set(name, { at: at + 32, offset: Number(commands.readBigUInt64LE(at + 40)), size: Number(commands.readBigUInt64LE(at + 48)) });
    }
    if (command === signatureCommand) places.set("signature", { at: at + 32, offset: commands.readUInt32LE(at + 8), size: commands.readUInt32LE(at + 12) });
  }
  const [text, linkEdit, signature] = [places.get("__TEXT"), places.get("__LINKEDIT"), places.get("signature")];
  if (text === undefined || linkEdit === undefined || signature === undefined) throw new Error("no place for a signature");
  return { text, linkEdit, signature };
}

/** The SHA-256 of each page of the first `limit` bytes. */
async function hashPages(handle: FileHandle, limit: number): Promise<readonly Buffer[]> {
  const hashes: Buffer[] = [];
  const chunk = Buffer.alloc(256 * pageBytes);
  for (let offset = 0; offset < limit; offset += chunk.length) {
    const length = Math.min(chunk.length, limit - offset);
    const { bytesRead } = await handle.read(chunk, 0, length, offset);
    if (bytesRead !== length) throw new Error(`the program ends before byte ${offset + length}`);
    for (let at = 0; at < length; at += pageBytes) {
      hashes.push(
        createHash("sha256")
          .update(chunk.subarray(at, Math.min(at + pageBytes, length)))
          .digest(),
      );
    }
  }
  return hashes;
}

/** Replaces the program's signature by an ad-hoc one; everything before it stays, but for the sizes in two load commands. */
export async function signAdHoc(path: string, identifier: string): Promise<void> {
  const handle = await open(path, "r+");
  try {
    const { text, linkEdit, signature } = await readLayout(handle);
    const limit = signature.offset;
    const pages = Math.ceil(limit / pageBytes);
    const name = Buffer.from(`${identifier}\0`);
    const hashesAt = codeDirectoryHeaderBytes + name.length;
    const directoryBytes = hashesAt + pages * hashBytes;
    const blobBytes = 20 + directoryBytes;
    const linkEditBytes = BigInt(limit + blobBytes - linkEdit.offset);
    const sizes = Buffer.alloc(8);
    sizes.writeUInt32LE(blobBytes, 0);
    await handle.write(sizes, 0, 4, signature.at + 12);
    sizes.writeBigUInt64LE(linkEditBytes);
    await handle.write(sizes, 0, 8, linkEdit.at + 48);
    // A segment may not be larger in the file than in memory, where it ends on a page of the larger kind (16 KiB on arm64).
    sizes.writeBigUInt64LE((linkEditBytes + 0x3fffn) & ~0x3fffn);
    await handle.write(sizes, 0, 8, linkEdit.at + 32);
    // The sizes above are in the first page: they are written before it is hashed.
    const blob = Buffer.alloc(blobBytes);
    blob.writeUInt32BE(superBlobMagic, 0);
    blob.writeUInt32BE(blobBytes, 4);
    blob.writeUInt32BE(1, 8);
    blob.writeUInt32BE(20, 16); // slot 0 is the code directory, 20 bytes on
    const directory = blob.subarray(20);
    const words = [codeDirectoryMagic, directoryBytes, codeDirectoryVersion, linkerSignedAdHoc, hashesAt, codeDirectoryHeaderBytes, 0, pages, limit];
    for (const [index, word] of words.entries()) directory.writeUInt32BE(word, 4 * index);
    directory.set([hashBytes, sha256HashType, 0, pageBits], 36);
    directory.writeBigUInt64BE(BigInt(text.offset), 64);
    directory.writeBigUInt64BE(BigInt(text.size), 72);
    directory.writeBigUInt64BE(mainBinary, 80);
    directory.set(name, codeDirectoryHeaderBytes);
    for (const [index, hash] of (await hashPages(handle, limit)).entries()) directory.set(hash, hashesAt + index * hashBytes);
    await handle.write(blob, 0, blob.length, limit);
    await handle.truncate(limit + blobBytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export type SignatureCheck = {
  readonly pages: number;
  readonly badPages: number /** Bytes of the program that the signature does not cover, itself aside. */;
  readonly uncovered: number;
};

/** Compares every page with the signature's first code directory. Throws where there is none, or it is of another kind. */
export async function checkSignature(path: string): Promise<SignatureCheck> {
  const handle = await open(path, "r");
  try {
    const { signature } = await readLayout(handle);
    if (signature.size > signatureLimit) throw new Error(`a signature of ${signature.size} bytes`);
    const blob = await readExactly(handle, signature.offset, signature.size);
    if (blob.readUInt32BE(0) !== superBlobMagic) throw new Error("no signature where the program names one");
    const directory = blob.subarray(blob.readUInt32BE(16));
    if (directory.readUInt32BE(0) !== codeDirectoryMagic || directory[37] !== sha256HashType || directory[39] !== pageBits)
      throw new Error("another kind of code directory");
    const [hashesAt, pages, limit] = [directory.readUInt32BE(16), directory.readUInt32BE(28), directory.readUInt32BE(32)];
    const found = await hashPages(handle, limit);
    const bad = found.filter((hash, index) => !hash.equals(directory.subarray(hashesAt + index * hashBytes, hashesAt + (index + 1) * hashBytes)));
    const { size } = await handle.stat();
    return { pages, badPages: bad.length + Math.abs(pages - found.length), uncovered: signature.offset - limit + (size - signature.offset - signature.size) };
  } finally {
    await handle.close();
  }
}
