/** Ids that sort by time (ULID: 48 bits of milliseconds, 80 random bits, Crockford's base32), growing within one process. */
import { randomBytes } from "node:crypto";

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Below 2^53; `length` characters, 5 bits each. */
function encode(value: number, length: number): string {
  let text = "";
  let rest = value;
  for (let index = 0; index < length; index += 1) {
    text = alphabet.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

/** The random part in two halves of 40 bits: numbers are several times faster than bigints here. */
const halfBytes = 5;
const halfLimit = 2 ** 40;

let lastTime = 0;
let low = 0;
/** Time and upper half as text: the same for all ids of one millisecond. */
let head = "";

/** 26 characters. Two ids of one process never compare equal, and the later one is greater: audit events page in the order they came. */
export function newId(now: Date): string {
  const time = Math.max(now.getTime(), lastTime);
  // Within one millisecond the random part counts up, as the ULID specification's monotonic form does.
  if (time === lastTime && low + 1 < halfLimit) low += 1;
  else startMillisecond(time === lastTime ? time + 1 : time);
  return head + encode(low, 8);
}

function startMillisecond(time: number): void {
  const random = randomBytes(2 * halfBytes);
  lastTime = time;
  low = random.readUIntBE(halfBytes, halfBytes);
  head = encode(time, 10) + encode(random.readUIntBE(0, halfBytes), 8);
}
