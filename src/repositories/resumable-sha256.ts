/**
 * SHA-256 whose state can be written down and taken up again by another process (FIPS 180-4, section 6.2).
 *
 * OpenSSL's state cannot leave a process, so an index that grew by one package would have to be hashed from its first byte after every
 * restart. Use node:crypto for everything that is hashed once: it is ten times as fast.
 */
import { z } from "zod";

/** `words`: the eight chaining values, 64 hex digits; `rest`: the bytes after the last whole 64-byte block, in hex; `length`: all bytes so far. */
export const sha256StateSchema = z.strictObject({
  words: z.string().regex(/^[0-9a-f]{64}$/),
  rest: z.string().regex(/^(?:[0-9a-f]{2}){0,63}$/),
  length: z.int().nonnegative(),
});
export type Sha256State = z.infer<typeof sha256StateSchema>;

/** The first 32 bits of the fractional parts of the n-th roots (2: square, 3: cube) of the first primes: the standard's constants (4.2.2, 5.3.3). */
function rootFractions(count: number, root: 2 | 3): Uint32Array {
  const fractions = new Uint32Array(count);
  let found = 0;
  for (let candidate = 2; found < count; candidate += 1) {
    let isPrime = true;
    for (let divisor = 2; divisor * divisor <= candidate; divisor += 1) isPrime &&= candidate % divisor !== 0;
    if (!isPrime) continue;
    const value = root === 2 ? Math.sqrt(candidate) : Math.cbrt(candidate);
    fractions[found] = Math.floor((value - Math.floor(value)) * 2 ** 32);
    found += 1;
  }
  return fractions;
}

const roundConstants = rootFractions(64, 3);
const initialWords = rootFractions(8, 2);

export class ResumableSha256 {
  private readonly words = Uint32Array.from(initialWords);
  private readonly rest = new Uint8Array(64);
  private readonly schedule = new Uint32Array(64);
  private length = 0;

  static resume(state: Sha256State): ResumableSha256 {
    const hash = new ResumableSha256();
    for (let index = 0; index < 8; index += 1) hash.words[index] = Number.parseInt(state.words.slice(index * 8, index * 8 + 8), 16);
    hash.rest.set(Buffer.from(state.rest, "hex"));
    hash.length = state.length;
    return hash;
  }

  state(): Sha256State {
    return { words: this.wordsHex(), rest: Buffer.from(this.rest.subarray(0, this.length % 64)).toString("hex"), length: this.length };
  }

  update(bytes: Uint8Array): this {
    let offset = 0;
    const held = this.length % 64;
    this.length += bytes.length;
    if (held > 0) {
      offset = Math.min(64 - held, bytes.length);
      this.rest.set(bytes.subarray(0, offset), held);
      if (held + offset < 64) return this;
      this.mix(this.rest, 0);
    }
    for (; offset + 64 <= bytes.length; offset += 64) this.mix(bytes, offset);
    this.rest.set(bytes.subarray(offset), 0);
    return this;
  }

  /** 64 hex digits; the object itself can go on. */
  digestHex(): string {
    const last = ResumableSha256.resume(this.state());
    const padding = new Uint8Array(((119 - (this.length % 64)) % 64) + 9);
    padding[0] = 0x80;
    new DataView(padding.buffer).setBigUint64(padding.length - 8, BigInt(this.length) * 8n);
    return last.update(padding).wordsHex();
  }

  private wordsHex(): string {
    return Array.from(this.words, (word) => word.toString(16).padStart(8, "0")).join("");
  }

  /** One 64-byte block (6.2.2). The casts to number hold: every index is within a 64-word or 8-word array. */
  private mix(bytes: Uint8Array, offset: number): void {
    const w = this.schedule;
    for (let t = 0, at = offset; t < 16; t += 1, at += 4) {
      w[t] = ((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
    }
    for (let t = 16; t < 64; t += 1) {
      const x = w[t - 15] as number;
      const y = w[t - 2] as number;
      const small0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const small1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[t] = ((w[t - 16] as number) + small0 + (w[t - 7] as number) + small1) | 0;
    }
    const words = this.words;
    let a = words[0] as number;
    let b = words[1] as number;
    let c = words[2] as number;
    let d = words[3] as number;
    let e = words[4] as number;
    let f = words[5] as number;
    let g = words[6] as number;
    let h = words[7] as number;
    for (let t = 0; t < 64; t += 1) {
      const big1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + big1 + ((e & f) ^ (~e & g)) + (roundConstants[t] as number) + (w[t] as number)) | 0;
      const big0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (big0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    // Spelled out: a loop over an array of the eight costs three times the hash.
    words[0] = (words[0] as number) + a;
    words[1] = (words[1] as number) + b;
    words[2] = (words[2] as number) + c;
    words[3] = (words[3] as number) + d;
    words[4] = (words[4] as number) + e;
    words[5] = (words[5] as number) + f;
    words[6] = (words[6] as number) + g;
    words[7] = (words[7] as number) + h;
  }
}
