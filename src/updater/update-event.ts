/** What happens during an upgrade, as it happens: the lines of `slipway upgrade … --json`, the agent's `update.progress`, the loop of `slipway/updater`. */
import { z } from "zod";

/** `step` comes after each durable change, so that an observer sees the order of updater facts 3.4. Readers skip events that they do not know. */
export const updateEventSchema = z.discriminatedUnion("event", [
  /** The journal was written. `transaction` is its id, `step` only there in phase applying. */
  z.object({
    event: z.literal("phase"),
    transaction: z.string(),
    phase: z.string(),
    step: z.string().optional(),
    from: z.string().optional(),
    to: z.string(),
  }),
  z.object({ event: z.literal("step"), step: z.string(), text: z.string() }),
  /** Bytes. On the command line it is the event `progress`, with label download. */
  z.object({ event: z.literal("download"), done: z.number(), total: z.number() }),
  z.object({ event: z.literal("retry"), what: z.string(), code: z.string(), message: z.string(), delayMs: z.number() }),
  z.object({ event: z.literal("health"), isHealthy: z.boolean(), text: z.string() }),
  z.object({ event: z.literal("warning"), text: z.string() }),
]);

export type UpdateEvent = Readonly<z.infer<typeof updateEventSchema>>;
