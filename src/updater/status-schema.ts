/** The result of `slipway upgrade status --json` as a schema, for programs in other languages. */
import { z } from "zod";
import type { Status } from "./operations.ts";
import { transactionSchema } from "./transaction.ts";

export const statusSchema = z.object({
  product: z.string(),
  strategy: z.string(),
  strategyReason: z.string(),
  /** What is recorded; null where nothing is. */
  installed: z.string().nullable(),
  /** What lies there. */
  live: z.string().nullable(),
  previous: z.array(z.string()).readonly(),
  blocked: z.array(z.looseObject({ version: z.string(), reason: z.string(), at: z.int(), transaction: z.string() })),
  pin: z.string().nullable(),
  hold: z.looseObject({ reason: z.string(), at: z.int(), until: z.int().optional() }).nullable().optional(),
  window: z.object({ isOpen: z.boolean(), opensAt: z.string(), closesAt: z.string() }).nullable(),
  lock: z.looseObject({ pid: z.int(), startedAt: z.string(), operation: z.string() }).nullable(),
  journal: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("none") }),
    z.object({ kind: z.literal("foreign"), reason: z.string(), phase: z.string() }),
    z.object({ kind: z.literal("known"), transaction: transactionSchema }),
  ]),
});

/** Fails to compile where the schema no longer takes every status. */
export const readStatus = (status: Status): z.output<typeof statusSchema> => statusSchema.parse(status satisfies z.input<typeof statusSchema>);
