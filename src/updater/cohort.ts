/**
 * Staged rollouts: which machines get a release first. A machine's bucket comes from its own random id and the release's salt, so that it is
 * always the same for one release, and other machines are the first ones for the next.
 *
 * The schedule comes with the index, unsigned: whoever serves that could hold a release back anyway. To offer it to more machines than the vendor
 * meant is another matter: with TUF metadata the signed schedule counts, and the index can only narrow it.
 */
import { createHmac, randomBytes } from "node:crypto";
import { z } from "zod";

export const rolloutSchema = z.object({
  salt: z.string().min(1).max(200),
  percent: z.number().min(0).max(100),
  /** Nobody begins, and who has not switched yet does not. */
  halted: z.boolean().default(false),
  notBefore: z.iso.datetime().optional(),
  /** Security fixes are for all machines at once. */
  bypassCohort: z.boolean().default(false),
});

export type Rollout = z.infer<typeof rolloutSchema>;

/** How the release is staged in the installation's channel; one that is not in it, in the channel that it is in. */
export function rolloutIn(
  channel: string,
  release: { readonly channel: string; readonly rollouts?: Readonly<Record<string, Rollout>> | undefined },
): Rollout | undefined {
  return release.rollouts?.[channel] ?? release.rollouts?.[release.channel];
}

/** Whom both reach. The signed salt counts for both shares: another would be another tenth of the machines. Undefined: everybody. */
export function narrowerRollout(signed: Rollout | undefined, unsigned: Rollout | undefined): Rollout | undefined {
  if (signed === undefined || unsigned === undefined) return signed ?? unsigned;
  const notBefore = [signed.notBefore, unsigned.notBefore].filter((one) => one !== undefined).sort((left, right) => Date.parse(right) - Date.parse(left))[0];
  return {
    salt: signed.salt,
    percent: Math.min(signed.percent, unsigned.bypassCohort ? 100 : unsigned.percent),
    halted: signed.halted || unsigned.halted,
    bypassCohort: signed.bypassCohort,
    ...(notBefore === undefined ? {} : { notBefore }),
  };
}

const buckets = 10_000;

export const newMachineId = (): string => randomBytes(16).toString("hex");

/** 0 to 9999, evenly. */
export function bucketOf(machineId: string, salt: string): number {
  return Number(createHmac("sha256", salt).update(machineId).digest().readBigUInt64BE() % BigInt(buckets));
}

/** Why a machine does not get a release yet; undefined where it does. */
export function heldBack(rollout: Rollout | undefined, machineId: string, now: Date): "halted" | "not_before" | "cohort" | undefined {
  if (rollout === undefined) return undefined;
  if (rollout.halted) return "halted";
  if (rollout.notBefore !== undefined && now < new Date(rollout.notBefore)) return "not_before";
  if (rollout.bypassCohort) return undefined;
  return bucketOf(machineId, rollout.salt) < rollout.percent * (buckets / 100) ? undefined : "cohort";
}
