/** Pages of a file that lies still, for looking anywhere in it without holding it. */

/** A file that lies still while a delta is made. */
export type SteadyBytes = {
  readonly size: number;
  /** Fills `into` with the bytes from `offset`, which are there. It waits for them: a page is needed in the middle of a loop over bytes. */
  readonly readInto: (offset: number, into: Uint8Array) => void;
};

export const pageBytes = 64 * 1024;

/** A part of a file, and the first bytes behind it, so that a block that begins in it lies in it. */
export type Page = { readonly start: number; readonly end: number; readonly bytes: Buffer; readonly view: DataView };
export type Pages = { readonly size: number; readonly page: (offset: number) => Page };

export type PagesOptions = {
  /** How many stay: those that were asked for last. */
  readonly held: number;
  /** How many bytes behind a page are part of it. */
  readonly behind: number;
  /** Changes what was read before anybody sees it. */
  readonly prepare: (offset: number, bytes: Buffer) => void;
};

export function createPages(file: SteadyBytes, { held, behind, prepare }: PagesOptions): Pages {
  const pages = new Map<number, Page>();
  let current: Page | undefined;
  /** The memory of the page that was asked for longest ago: the collector would free it too late. */
  const freeBytes = (): Buffer => {
    const [oldest] = pages.size < held ? [] : pages;
    if (oldest === undefined) return Buffer.alloc(pageBytes + behind);
    pages.delete(oldest[0]);
    return oldest[1].bytes;
  };
  const load = (index: number): Page => {
    const known = pages.get(index);
    pages.delete(index);
    const start = index * pageBytes;
    const make = (): Page => {
      const bytes = freeBytes();
      const filled = bytes.subarray(0, Math.min(file.size, start + pageBytes + behind) - start);
      file.readInto(start, filled);
      prepare(start, filled);
      return { start, end: Math.min(file.size, start + pageBytes), bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
    };
    const page = known ?? make();
    pages.set(index, page);
    return page;
  };
  return {
    size: file.size,
    page: (offset) => {
      if (current === undefined || offset < current.start || offset >= current.end) current = load(Math.floor(offset / pageBytes));
      return current;
    },
  };
}
