/** Reading a value with a schema that a process uses once or twice. */
import type { z } from "zod";

/**
 * `schema.safeParse` without the code that zod otherwise makes for every object of the schema: that pays for itself after some hundred values. The
 * outcome and its messages are the same.
 */
export function readOnce<T extends z.ZodType>(schema: T, value: unknown): z.ZodSafeParseResult<z.output<T>> {
  return schema.safeParse(value, { jitless: true });
}
