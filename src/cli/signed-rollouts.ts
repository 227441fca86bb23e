/**
 * What channel roles say about rollouts, signed where the key is. The server's word narrows a rollout, it never widens one: a server that lies can
 * hold a release back, which it could by not listing it, and offers it to no machine that the vendor has not signed it for.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import type { SignedRollout } from "../repositories/tuf.ts";
import type { TufTarget } from "../trust/tuf-metadata.ts";
import type { Reach } from "./reach-option.ts";

/** As the server has it: percent of the customers (0 halts it) and of their machines. */
type ServerReach = { readonly percent: number; readonly machines: number; readonly bypass: boolean };

const schema = z.object({ salt: z.string(), percent: z.number(), halted: z.literal(true).optional() });

/** Undefined where all machines are offered it. */
export function rolloutOf(target: TufTarget): SignedRollout | undefined {
  const parsed = schema.safeParse(target.custom?.["rollout"]);
  if (!parsed.success) return undefined;
  const { salt, percent, halted } = parsed.data;
  return { salt, percent, ...(halted === undefined ? {} : { halted }) };
}

/** What the operator has just typed, or `any` for whatever the server has. */
export type RolloutWord = Reach | "any";

/** The next one: what was typed, and for the rest the narrower of before and the server's. The salt stays, so that the machines that were first stay so. */
export function nextRollout(before: SignedRollout | undefined, server: ServerReach, word: RolloutWord = {}): SignedRollout | undefined {
  const typed: Reach = word === "any" ? server : word;
  if (typed.bypass === true) return undefined;
  const offered = server.bypass ? 100 : server.machines;
  const percent = typed.machines ?? Math.min(before?.percent ?? 100, offered);
  const isHalted = typed.percent === undefined ? before?.halted === true || server.percent === 0 : typed.percent === 0;
  if (percent >= 100 && !isHalted) return undefined;
  return { salt: before?.salt ?? randomBytes(16).toString("hex"), percent, ...(isHalted ? { halted: true as const } : {}) };
}

const textOf = (rollout: SignedRollout | undefined): string =>
  rollout?.halted === true ? "halted" : rollout === undefined ? "all machines" : `${rollout.percent} % of the machines`;

/** For people: `1.5.0 10 % of the machines (was halted)`. */
export function changedRollouts(before: Readonly<Record<string, TufTarget>>, next: Readonly<Record<string, TufTarget>>): readonly string[] {
  return Object.entries(next).flatMap(([path, target]) => {
    const [now, was] = [textOf(rolloutOf(target)), textOf(before[path] === undefined ? undefined : rolloutOf(before[path]))];
    return now === was ? [] : [`${path.split("/")[2] ?? ""} ${now} (was ${was})`];
  });
}
