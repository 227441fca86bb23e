/** The packets of a detached OpenPGP signature, cut apart by their headers (RFC 9580 4.2), so that nothing in the file is skipped unseen. */

export type OpenpgpPacket = {
  readonly tag: number;
  readonly body: Uint8Array;
  /** Header and body. */
  readonly bytes: Uint8Array;
};

/** Cuts the bytes into packets; undefined where they do not end exactly with a packet, or use partial or indeterminate lengths. */
export function splitPackets(bytes: Uint8Array): readonly OpenpgpPacket[] | undefined {
  const packets: OpenpgpPacket[] = [];
  let position = 0;
  while (position < bytes.length) {
    const header = readHeader(bytes, position);
    if (header === undefined) return undefined;
    const end = header.start + header.length;
    if (end > bytes.length) return undefined;
    packets.push({ tag: header.tag, body: bytes.subarray(header.start, end), bytes: bytes.subarray(position, end) });
    position = end;
  }
  return packets;
}

function readHeader(bytes: Uint8Array, position: number): { tag: number; start: number; length: number } | undefined {
  const first = bytes[position] ?? 0;
  if ((first & 0x80) === 0) return undefined;
  if ((first & 0x40) === 0) return readOldHeader(bytes, position);
  const tag = first & 0x3f;
  const octet = bytes[position + 1];
  if (octet === undefined) return undefined;
  if (octet < 192) return { tag, start: position + 2, length: octet };
  if (octet < 224) return { tag, start: position + 3, length: ((octet - 192) << 8) + (bytes[position + 2] ?? 0) + 192 };
  if (octet === 255) return { tag, start: position + 6, length: bigEndian(bytes, position + 2, 4) };
  return undefined; // partial lengths are for streamed data, never for signatures
}

function readOldHeader(bytes: Uint8Array, position: number): { tag: number; start: number; length: number } | undefined {
  const first = bytes[position] ?? 0;
  const size = [1, 2, 4][first & 3];
  if (size === undefined) return undefined; // indeterminate length
  return { tag: (first >> 2) & 0x0f, start: position + 1 + size, length: bigEndian(bytes, position + 1, size) };
}

function bigEndian(bytes: Uint8Array, position: number, size: number): number {
  let value = 0;
  for (let index = 0; index < size; index += 1) value = value * 256 + (bytes[position + index] ?? 0);
  return value;
}
