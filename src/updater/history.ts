/** `history.jsonl`: one line per finished transaction, each with the hash of the line before, so that a removed line shows. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { z } from "zod";
import { lazyLooseObject } from "../model/lazy-object.ts";
import { SlipwayError } from "../model/errors.ts";
import { readPrivateFile } from "./journal.ts";
import { runbookStepSchema, type Transaction } from "./transaction.ts";

const sizeLimitBytes = 16 * 1024 * 1024;

const lineSchema = lazyLooseObject(() => ({
  at: z.int(),
  id: z.string(),
  from: z.string().optional(),
  to: z.string(),
  phase: z.string(),
  rolledBack: z.boolean(),
  rollbackFailed: z.boolean(),
  reason: z.string().optional(),
  error: lazyLooseObject(() => ({ code: z.string(), message: z.string(), detail: z.string().optional() })).optional(),
  downtimeMs: z.int().optional(),
  /** A rollback's steps in ms, measured. */
  runbook: z.array(runbookStepSchema).optional(),
  previousLine: z.string(),
}));

export type HistoryLine = z.infer<typeof lineSchema>;
export type History = { readonly lines: readonly HistoryLine[]; readonly isChainWhole: boolean };

const noLine = "0".repeat(64);
const lineHash = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The finished lines; a torn last one (power cut during the append) is left out. */
export async function readHistory(path: string): Promise<History> {
  const text = (await readPrivateFile(path, sizeLimitBytes))?.toString("utf8") ?? "";
  const lines: HistoryLine[] = [];
  let isChainWhole = true;
  let before = noLine;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const parsed = lineSchema.safeParse(parseJson(line));
    if (!parsed.success) continue;
    if (parsed.data.previousLine !== before) isChainWhole = false;
    before = lineHash(line);
    lines.push(parsed.data);
  }
  return { lines, isChainWhole };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a torn line
  }
}

/** Appends the outcome of a transaction durably, once: the same id and phase again changes nothing. */
export async function appendHistory(path: string, transaction: Transaction, at: Date): Promise<void> {
  const { id, from, to, phase, rolledBack, rollbackFailed, rollbackReason, lastError, timings } = transaction;
  await appendLine(path, {
    at: at.getTime(),
    id,
    ...(from.version === undefined ? {} : { from: from.version }),
    to: to.version,
    phase,
    rolledBack,
    rollbackFailed,
    ...(rollbackReason === undefined ? {} : { reason: rollbackReason }),
    ...(lastError === undefined
      ? {}
      : { error: { code: lastError.code, message: lastError.message, ...(lastError.detail === undefined ? {} : { detail: lastError.detail }) } }),
    ...(timings.stoppedAt === undefined || timings.healthyAt === undefined ? {} : { downtimeMs: timings.healthyAt - timings.stoppedAt }),
    ...(timings.runbook === undefined ? {} : { runbook: timings.runbook }),
  });
}

/** Appends one line durably and chains it to the one before; a line of the same id and phase is there once. */
export async function appendLine(path: string, fields: Omit<HistoryLine, "previousLine">): Promise<void> {
  const text = (await readPrivateFile(path, sizeLimitBytes))?.toString("utf8") ?? "";
  const whole = text.split("\n").filter((line) => lineSchema.safeParse(parseJson(line)).success);
  if ((await readHistory(path)).lines.some((line) => line.id === fields.id && line.phase === fields.phase)) return;
  const last = whole.at(-1);
  const line = { ...fields, previousLine: last === undefined ? noLine : lineHash(last) };
  const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW, 0o600);
  try {
    if (!(await handle.stat()).isFile()) throw new SlipwayError("state_dir_insecure", `${path} is not a regular file`, { place: path });
    await handle.appendFile(`${text === "" || text.endsWith("\n") ? "" : "\n"}${JSON.stringify(line)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
