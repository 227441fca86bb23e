/** The journal `transaction.json`: one file, one durable write per change. */
import { SlipwayError } from "../model/errors.ts";
import { readOnce } from "../model/read-once.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { isAllowedChange, isFinal, phases, steps, type Transaction, transactionSchema } from "./transaction.ts";

/** 20,000 files (the manifest's own limit) with their hashes stay below this; more is not ours. */
const sizeLimitBytes = 4 * 1024 * 1024;

export type JournalReading =
  | { readonly kind: "none" }
  | { readonly kind: "known"; readonly transaction: Transaction }
  /** Written by a newer updater, or damaged: failed, not retryable, and the file stays as it is. */
  | { readonly kind: "foreign"; readonly reason: string; readonly phase: string | undefined };

/** Reads a private file of the state directory; undefined where absent. Throws `state_dir_insecure` for a link or a FIFO, `journal_corrupt` above `limit`. */
export async function readPrivateFile(path: string, limit: number): Promise<Buffer | undefined> {
  try {
    return await readFileBounded(path, limit, { isLinkAllowed: false });
  } catch (error) {
    const systemCode = (error as NodeJS.ErrnoException).code;
    if (systemCode === "ENOENT") return undefined;
    if (systemCode === "ELOOP" || systemCode === "ENXIO" || (error instanceof SlipwayError && error.code === "source_unusable")) {
      throw new SlipwayError("state_dir_insecure", `${path} is not a regular file`, { place: path, cause: error });
    }
    if (error instanceof SlipwayError && error.code === "format_limit") throw new SlipwayError("journal_corrupt", error.message, { place: path, cause: error });
    throw error;
  }
}

type Written = { readonly kind: "written"; readonly value: unknown };

async function readWritten(path: string): Promise<Written | Exclude<JournalReading, { readonly kind: "known" }>> {
  try {
    const bytes = await readPrivateFile(path, sizeLimitBytes);
    return bytes === undefined ? { kind: "none" } : { kind: "written", value: JSON.parse(bytes.toString("utf8")) };
  } catch (error) {
    if (error instanceof SlipwayError && error.code === "journal_corrupt") return { kind: "foreign", reason: error.message, phase: undefined };
    if (error instanceof SyntaxError || error instanceof RangeError) return { kind: "foreign", reason: "it is not JSON", phase: undefined };
    throw error;
  }
}

const phaseOf = (value: unknown): string | undefined =>
  typeof value === "object" && value !== null && "phase" in value && typeof value.phase === "string" ? value.phase.slice(0, 64) : undefined;

/** What the journal says; throws `state_dir_insecure` where the file is not a file, never for its content. */
export async function readJournal(path: string, product: string): Promise<JournalReading> {
  const written = await readWritten(path);
  return written.kind === "written" ? readTransaction(written.value, product) : written;
}

/** The transaction that is to be brought to its end; undefined where there is none, or where it is not ours to continue. Throws as readJournal does. */
export async function readUnfinished(path: string, product: string): Promise<Transaction | undefined> {
  const written = await readWritten(path);
  // Applied is final, whatever else stands there; so it is for nearly everybody who asks, and the rest need not be read.
  if (written.kind !== "written" || phaseOf(written.value) === "applied") return undefined;
  const reading = readTransaction(written.value, product);
  return reading.kind === "known" && !isFinal(reading.transaction) ? reading.transaction : undefined;
}

function readTransaction(value: unknown, product: string): JournalReading {
  const phase = phaseOf(value);
  const parsed = readOnce(transactionSchema, value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return { kind: "foreign", reason: `${issue?.path.map(String).join(".") ?? ""}: ${issue?.message ?? "is not valid"}`, phase };
  }
  const transaction = parsed.data;
  const refuse = (reason: string): JournalReading => ({ kind: "foreign", reason, phase });
  if (transaction.product !== product) return refuse(`it belongs to the product ${JSON.stringify(transaction.product)}`);
  if (transaction.attempt > transaction.maxAttempts) return refuse(`attempt ${transaction.attempt} of ${transaction.maxAttempts}`);
  if (transaction.phase === "applying" && transaction.step === undefined) return refuse("applying without a step");
  if (transaction.phase === "applying" && transaction.to.files === undefined) return refuse("applying without a list of files");
  if (transaction.phase === "verified" && transaction.to.sha256 === undefined) return refuse("verified without a hash");
  if (transaction.step === "trial" && transaction.phase === "applying" && transaction.trial === undefined) return refuse("a trial without its counter");
  return { kind: "known", transaction };
}

/** The error for a journal that is not ours to continue. */
export function foreignJournalError(path: string, reading: JournalReading & { readonly kind: "foreign" }): SlipwayError {
  const known = `phases ${phases.join(", ")}; steps ${steps.join(", ")}`;
  return new SlipwayError("journal_corrupt", `the journal cannot be continued by this slipway: ${reading.reason} (known: ${known})`, { place: path });
}

export type Journal = {
  readonly current: () => Transaction;
  /** Writes durably, then returns the new transaction; `clear` names fields that it has no longer. */
  readonly advance: (change: Partial<Transaction>, clear?: readonly (keyof Transaction)[]) => Promise<Transaction>;
};

/**
 * Starts a journal with `first`, or continues with the transaction that was read. `onWrite` hears of each durable write; `beforeWrite` and `afterWrite`
 * keep what is derived from it.
 */
export function openJournal(options: {
  readonly path: string;
  readonly first: Transaction;
  readonly now: () => Date;
  readonly onWrite: (transaction: Transaction) => void;
  readonly beforeWrite?: (next: Transaction) => Promise<void>;
  readonly afterWrite?: (written: Transaction) => Promise<void>;
}): Journal {
  let transaction = options.first;
  return {
    current: () => transaction,
    advance: async (change, clear = []) => {
      const kept = Object.fromEntries(Object.entries(transaction).filter(([key]) => !clear.includes(key))) as Transaction;
      const next: Transaction = { ...kept, ...change, updatedAt: options.now().getTime() };
      if (!isAllowedChange(transaction, next)) {
        throw new SlipwayError("internal", `the journal may not go from ${transaction.phase}/${transaction.step ?? "-"} to ${next.phase}/${next.step ?? "-"}`);
      }
      await options.beforeWrite?.(next);
      await writeJournal(options.path, next);
      transaction = next;
      await options.afterWrite?.(next);
      options.onWrite(next);
      return next;
    },
  };
}

/** One durable write of a whole transaction; throws `internal` for one that could not be read back. */
export async function writeJournal(path: string, transaction: Transaction): Promise<void> {
  const text = `${JSON.stringify(transactionSchema.parse(transaction), undefined, 1)}\n`;
  if (Buffer.byteLength(text) > sizeLimitBytes)
    throw new SlipwayError("format_limit", `the release has too many files for a journal of ${sizeLimitBytes} bytes`);
  await writeFileAtomic(path, text);
}
