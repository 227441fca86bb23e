/** Text as lines, or as pieces between an ending, from a stream: one of them in memory at a time, each of bounded length. */
import { SlipwayError } from "../model/errors.ts";

export type LineLimits = {
  /** Longest piece, in bytes; a longer one throws `format_limit`. */
  readonly limitBytes: number;
  /** Names the text in messages. */
  readonly name: string;
};

/** The lines without their ends; the last one also where no end follows it. */
export async function* linesOf(source: AsyncIterable<Uint8Array>, limits: LineLimits): AsyncGenerator<string> {
  for await (const piece of piecesOf(source, { ...limits, ending: "\n" })) yield piece.endsWith("\n") ? piece.slice(0, -1) : piece;
}

/** The text cut after each `ending`, which is ASCII; what follows the last one comes as it is. */
export async function* piecesOf(source: AsyncIterable<Uint8Array>, options: LineLimits & { readonly ending: string }): AsyncGenerator<string> {
  const { ending, limitBytes, name } = options;
  let held: Buffer = Buffer.alloc(0);
  let searched = 0;
  for await (const bytes of source) {
    held = held.length === 0 ? Buffer.from(bytes) : Buffer.concat([held, bytes]);
    let start = 0;
    for (;;) {
      const at = held.indexOf(ending, Math.max(start, searched));
      if (at === -1) break;
      yield held.toString("utf8", start, at + ending.length);
      start = at + ending.length;
      searched = start;
    }
    held = held.subarray(start);
    searched = Math.max(0, held.length - ending.length + 1);
    if (held.length > limitBytes) throw new SlipwayError("format_limit", `${name} has a piece of more than ${limitBytes} bytes`);
  }
  if (held.length > 0) yield held.toString("utf8");
}
