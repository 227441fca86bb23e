/**
 * The transaction: one attempt to bring an installation from one version to another, as `transaction.json` (schema 1) records it.
 *
 *     created > downloading > downloaded > verified > applying > applied
 *     any of the first five > failed;  failed and retryable > downloading;  strategy manual: verified > applied
 *     inside applying: prepare > switch > trial > (applied) | rollback > (failed)
 *
 * The journal says what was intended; hashes on disk say what is. Unknown fields of a newer updater are kept; an unknown phase or step
 * means: not ours to continue.
 */
import { z } from "zod";
import { lazyLooseObject, lazyObject } from "../model/lazy-object.ts";
import { contractSchema } from "../model/upgrade-contract.ts";
import { isPlainRelative } from "./installation.ts";

export const phases = ["created", "downloading", "downloaded", "verified", "applying", "failed", "applied"] as const;
export type Phase = (typeof phases)[number];
export const steps = ["prepare", "switch", "trial", "rollback"] as const;
export type Step = (typeof steps)[number];

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const instant = z.int().nonnegative();
const versionText = z
  .string()
  .regex(/^\d+\.\d+\.\d+[0-9A-Za-z.+-]*$/)
  .max(128);

/** Live path under the root (forward slashes) -> what must be there. */
export const fileTableSchema = z.record(
  z.string().refine(isPlainRelative, "must be a plain relative path"),
  lazyLooseObject(() => ({
    sha256: hex,
    mode: z.int().min(0).max(0o7777),
    size: z.int().nonnegative().optional(),
    member: z.string().refine(isPlainRelative).optional(),
  })),
);
export type FileTable = z.infer<typeof fileTableSchema>;

const refSchema = z.string().refine(isPlainRelative, "must be a plain relative path");

export const backupReferenceSchema = lazyLooseObject(() => ({
  /** Becomes a file name. */
  id: z.string().regex(/^b-[0-9a-f]{16}$/),
  required: z.boolean(),
  done: z.boolean(),
  /** Of the whole backup file, once done. */
  sha256: hex.optional(),
  /** The quiesce command has run and unquiesce has not. */
  quiesced: z.boolean().optional(),
  restored: z.boolean().optional(),
}));

export const lastErrorSchema = lazyLooseObject(() => ({
  code: z.string().max(64),
  message: z.string().max(4000),
  detail: z.string().max(200).optional(),
  at: instant,
}));

export const runbookStepSchema = lazyObject(() => ({ step: z.enum(["stop", "reinstall", "restore", "start", "verify"]), ms: z.int().nonnegative() }));

/** Times are milliseconds since 1970. */
export const transactionSchema = lazyLooseObject(() => ({
  schema: z.literal(1),
  /** Becomes a folder name. */
  id: z.string().regex(/^[0-9a-f]{24}$/),
  product: z.string().max(63),
  strategy: z.enum(["versions", "inplace", "package", "container", "manual"]).optional(),
  phase: z.enum(phases),
  step: z.enum(steps).optional(),
  /** `version` is absent for a first installation. */
  from: lazyLooseObject(() => ({
    version: versionText.optional(),
    seq: z.int().nonnegative().optional(),
    files: fileTableSchema,
    ref: refSchema.optional(),
    contract: contractSchema.optional(),
  })),
  to: lazyLooseObject(() => ({
    version: versionText,
    seq: z.int().nonnegative().optional(),
    target: z.string().max(200).optional(),
    size: z.int().nonnegative().optional(),
    sha256: hex.optional(),
    files: fileTableSchema.optional(),
    ref: refSchema.optional(),
    /** What the signed release promises about upgrades. */
    contract: contractSchema.optional(),
  })),
  /** The version that was asked for, where this is a hop on the way to it. */
  goal: versionText.optional(),
  source: lazyLooseObject(() => ({ kind: z.enum(["repo", "mirror"]), url: z.string().max(2000) })),
  trust: lazyLooseObject(() => ({ checks: z.array(z.string().max(64)).max(16) })),
  /** `registry`: from where the engine pulled the image, so that no artifact was downloaded. */
  download: lazyLooseObject(() => ({ bytes: z.int().nonnegative(), isRestarted: z.boolean().optional(), registry: z.string().max(600).optional() })),
  approval: lazyLooseObject(() => ({ mode: z.enum(["explicit", "auto"]), by: z.string().max(200), until: instant, isOutsideWindow: z.boolean().optional() })),
  backup: backupReferenceSchema.optional(),
  trial: lazyLooseObject(() => ({
    triesLeft: z.int().min(0).max(10),
    tries: z.int().min(1).max(10),
    bootId: z.string().max(64),
    isStartedByGuard: z.boolean().optional(),
  })).optional(),
  attempt: z.int().min(1).max(100),
  maxAttempts: z.int().min(1).max(100),
  notBefore: instant,
  retryable: z.boolean(),
  lastError: lastErrorSchema.optional(),
  /** Why the trial failed, where the rollback failed after it. */
  trialError: lastErrorSchema.optional(),
  rolledBack: z.boolean(),
  rollbackFailed: z.boolean(),
  /** Why a rollback runs: the trial failed, an operator asked for it, the approval ended or another package manager was at work before anything was switched. */
  rollbackReason: z.enum(["trial", "operator", "approval", "busy", "stop"]).optional(),
  /** The operator said that files which a package owns may be replaced. */
  isUnlinked: z.boolean().optional(),
  /** Rollback: put the backed up state back as well? `true` and `false` of an older journal mean always and never. */
  restoreState: z.union([z.boolean(), z.enum(["auto", "always", "never"])]).optional(),
  /** Strategy manual: where the verified artifact lies, and what installs it. */
  byHand: lazyLooseObject(() => ({ path: z.string().max(4096), commands: z.array(z.string().max(8192)).max(20) })).optional(),
  /** Operator's rollback: the state as it was before, kept aside. */
  safetyBackup: backupReferenceSchema.optional(),
  timings: lazyLooseObject(() => ({
    stoppedAt: instant.optional(),
    healthyAt: instant.optional(),
    /** A rollback's steps, in the order in which they ran, in ms. */
    runbook: z.array(runbookStepSchema).max(100).optional(),
  })),
  startedAt: instant,
  updatedAt: instant,
}));

export type Transaction = z.infer<typeof transactionSchema>;
export type BackupReference = z.infer<typeof backupReferenceSchema>;

const allowedPhases: Readonly<Record<Phase, readonly Phase[]>> = {
  created: ["created", "downloading", "failed"],
  downloading: ["downloading", "downloaded", "failed"],
  downloaded: ["downloaded", "verified", "failed"],
  verified: ["verified", "applying", "applied", "failed"], // applied at once: strategy manual, when it was done by hand
  applying: ["applying", "applied", "failed"],
  failed: ["failed", "downloading"],
  applied: ["applied"],
};

const allowedSteps: Readonly<Record<Step, readonly Step[]>> = {
  prepare: ["prepare", "switch"],
  switch: ["switch", "trial", "rollback"],
  trial: ["trial", "rollback", "switch"], // to switch: before any start the old files came back
  rollback: ["rollback"],
};

/** Is this a change that one journal write may make? A bug here is an assertion, never a refusal to the operator. */
export function isAllowedChange(before: Transaction, after: Transaction): boolean {
  if (before.id !== after.id || !allowedPhases[before.phase].includes(after.phase)) return false;
  if (before.phase === "failed" && after.phase === "downloading" && !before.retryable) return false;
  if (after.phase !== "applying") return true;
  if (after.step === undefined) return false;
  return before.phase === "applying" && before.step !== undefined ? allowedSteps[before.step].includes(after.step) : after.step === "prepare";
}

/** Final: nothing will be done about it any more. */
export function isFinal(transaction: Transaction): boolean {
  return transaction.phase === "applied" || (transaction.phase === "failed" && !transaction.retryable);
}

/** From the arming on, the live installation may be neither the old nor the new version: it must be brought to one of them. */
export function isSwitching(transaction: Transaction): boolean {
  return transaction.phase === "applying" && transaction.step !== "prepare";
}
