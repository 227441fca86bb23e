/**
 * Snapshot leases: a client that has read a signed index gets the files that belong to it from the same snapshot for a while.
 *
 * `repomd.xml` and its signature are two requests, and so are `Release` and `Release.gpg`; a publication between the two would give a bad
 * signature (seen with dnf, apt without by-hash). The first request of each pair always sees the newest snapshot and takes the lease.
 */

/** Long enough for a slow client's next request; apt and dnf ask within seconds. */
export const leaseMs = 120_000;
const leaseLimit = 20_000;

/** The files that a client starts with. */
const openers: ReadonlySet<string> = new Set(["InRelease", "Release", "repomd.xml"]);

export function isOpener(path: string): boolean {
  return openers.has(path.slice(path.lastIndexOf("/") + 1));
}

export type Leases<Held> = {
  /** `reader` is one machine of one credential; `place` a repository, for example `coequal apt dists/stable`. */
  take(reader: string, place: string, held: Held): void;
  /** What that reader took there less than the lease's life ago. */
  find(reader: string, place: string): Held | undefined;
  clear(): void;
};

/** In memory: after a restart the window is open once. The oldest leave first when there are too many. */
export function createLeases<Held>(monotonicMs: () => number = () => performance.now(), lifeMs: number = leaseMs): Leases<Held> {
  const leases = new Map<string, { readonly held: Held; readonly until: number }>();
  const keyOf = (reader: string, place: string): string => `${reader}\n${place}`;
  return {
    take: (reader, place, held) => {
      const key = keyOf(reader, place);
      leases.delete(key);
      leases.set(key, { held, until: monotonicMs() + lifeMs });
      const oldest = leases.keys().next();
      if (leases.size > leaseLimit && oldest.done !== true) leases.delete(oldest.value);
    },
    find: (reader, place) => {
      const lease = leases.get(keyOf(reader, place));
      return lease === undefined || lease.until < monotonicMs() ? undefined : lease.held;
    },
    clear: () => leases.clear(),
  };
}
