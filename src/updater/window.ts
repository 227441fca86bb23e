/** Maintenance windows: when an installation may be switched to another version. Days, a start, a length, and the clock of a place (RFC 5545 in spirit). */
import { z } from "zod";
import { lazyStrictObject } from "../model/lazy-object.ts";

const days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;
const dayMs = 86_400_000;

export const windowSchema = lazyStrictObject(() => ({
  /** Days on which it begins; every day by default. */
  days: z
    .array(z.enum(days))
    .min(1)
    .max(7)
    .default([...days]),
  /** Local time, 24 hours. */
  start: z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, "must be a time of day, as 02:30, in quotes"),
  duration_minutes: z
    .int()
    .min(5)
    .max(7 * 24 * 60),
  /** A place of the time zone database: its changes to and from summer time are followed. */
  tz: z.string().max(64).refine(isTimeZone, "is no time zone, as Europe/Berlin or UTC").default("UTC"),
}));

export type MaintenanceWindow = z.output<typeof windowSchema>;

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone !== "";
  } catch {
    return false; // the question was whether it is one
  }
}

export type Opening = { readonly opensAt: Date; readonly closesAt: Date };

/** The opening that `now` lies in, else the next one; undefined where there are no windows, which means: always. */
export function openingAt(windows: readonly MaintenanceWindow[], now: Date): (Opening & { readonly isOpen: boolean }) | undefined {
  let best: Opening | undefined;
  for (const window of windows) {
    const back = Math.ceil(window.duration_minutes / (24 * 60)) + 1;
    for (let offset = -back; offset <= 8; offset += 1) {
      const opensAt = openingOn(window, new Date(now.getTime() + offset * dayMs));
      if (opensAt === undefined) continue;
      const closesAt = new Date(opensAt.getTime() + window.duration_minutes * 60_000);
      if (closesAt <= now) continue;
      const isBetter = best === undefined || opensAt < best.opensAt || (opensAt <= now && closesAt > best.closesAt);
      if (isBetter) best = { opensAt, closesAt };
    }
  }
  return best === undefined ? undefined : { ...best, isOpen: best.opensAt <= now };
}

/** When the window begins on the local day that `instant` lies in; undefined where it does not begin on such days. */
function openingOn({ days: wanted, start, tz }: MaintenanceWindow, instant: Date): Date | undefined {
  const local = new Date(instant.getTime() + offsetMs(tz, instant)); // its UTC fields are the local ones
  if (!wanted.includes(days[local.getUTCDay()] ?? "sun")) return undefined;
  const [hours = 0, minutes = 0] = start.split(":").map(Number);
  const asUtc = Date.UTC(local.getUTCFullYear(), local.getUTCMonth(), local.getUTCDate(), hours, minutes);
  // Twice: the first guess may lie on the other side of a change of the clock.
  const guess = asUtc - offsetMs(tz, new Date(asUtc));
  return new Date(asUtc - offsetMs(tz, new Date(guess)));
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** Local time minus UTC, in ms. */
function offsetMs(tz: string, instant: Date): number {
  const format =
    formats.get(tz) ??
    new Intl.DateTimeFormat("en-US", {
      timeZone: tz,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
  formats.set(tz, format);
  const parts = new Map(format.formatToParts(instant).map(({ type, value }) => [type, Number(value)]));
  const part = (name: Intl.DateTimeFormatPartTypes): number => parts.get(name) ?? 0;
  const local = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return local - Math.floor(instant.getTime() / 1000) * 1000;
}
