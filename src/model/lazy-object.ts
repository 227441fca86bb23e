/**
 * zod's object schemas with fields that are made when the first value is read with them.
 *
 * A schema's fields are some hundred objects in the end, made at import by whoever loads the module. Most runs read a few of them: an
 * installation file without outcomes, a state without a contract. The fields come from a function instead, and what nobody reads is never made.
 */
import { z } from "zod";

type Fields = z.core.$ZodLooseShape;
type Lazy<T extends Fields, Config extends z.core.$ZodObjectConfig> = z.ZodObject<z.core.util.Writeable<T>, Config>;

const never = z.never();
const unknown = z.unknown();

/** zod asks a definition for its shape when it first reads a value, and takes an accessor for that as well as a value. */
function lazyDefinition<T extends Fields>(fields: () => T, catchall?: z.ZodType): z.core.$ZodObjectDef<T> {
  return {
    type: "object",
    ...(catchall === undefined ? {} : { catchall }),
    get shape(): T {
      const shape = fields();
      Object.defineProperty(this, "shape", { value: shape, enumerable: true, configurable: true });
      return shape;
    },
  };
}

/** `z.object`: unknown keys are dropped. */
export function lazyObject<T extends Fields>(fields: () => T): Lazy<T, z.core.$strip> {
  return new z.ZodObject(lazyDefinition(fields)) as unknown as Lazy<T, z.core.$strip>;
}

/** `z.strictObject`: unknown keys are refused. */
export function lazyStrictObject<T extends Fields>(fields: () => T): Lazy<T, z.core.$strict> {
  return new z.ZodObject(lazyDefinition(fields, never)) as unknown as Lazy<T, z.core.$strict>;
}

/** `z.looseObject`: unknown keys are kept. */
export function lazyLooseObject<T extends Fields>(fields: () => T): Lazy<T, z.core.$loose> {
  return new z.ZodObject(lazyDefinition(fields, unknown)) as unknown as Lazy<T, z.core.$loose>;
}
