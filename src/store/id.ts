/** Ids that sort by time (ULID: 48 bits of milliseconds, 80 random bits, Crockford's base32), growing within one process. */
import { randomBytes } from "node:crypto";

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

function encode(value: bigint, length: number): string {
  let text = "";
  let rest = value;
  for (let index = 0; index < length; index += 1) {
    text = alphabet[Number(rest & 31n)] + text;
    rest >>= 5n;
  }
  return text;
}

let lastTime = 0;
let lastRandom = 0n;

/** 26 characters. Two ids of one process never compare equal, and the later one is greater: audit events page in the order they came. */
export function newId(now: Date): string {
  const time = Math.max(now.getTime(), lastTime);
  // Within one millisecond the random part counts up, as the ULID specification's monotonic form does.
  lastRandom = time === lastTime ? lastRandom + 1n : BigInt(`0x${randomBytes(10).toString("hex")}`) >> 1n;
  lastTime = time;
  return encode(BigInt(time), 10) + encode(lastRandom, 16);
}
