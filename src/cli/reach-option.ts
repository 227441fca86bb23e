/** How far a release is rolled out, as --percent, --machines and --bypass say it. */
import { SlipwayError } from "../model/errors.ts";
import { flagOption, type OptionValues, textOption } from "./command.ts";

/** `percent` of the customers see it, and `machines` percent of their machines are offered it. */
export type Reach = { readonly percent?: number; readonly machines?: number; readonly bypass?: boolean };

/** As the API takes it. Throws `usage`. */
export function reachOption(options: OptionValues): Reach {
  const shares = (["percent", "machines"] as const).flatMap((name) => {
    const text = textOption(options, name);
    if (text === undefined) return [];
    if (!/^\d{1,3}(?:\.\d{1,2})?$/.test(text) || Number(text) > 100) throw new SlipwayError("usage", `--${name} ${text}: expected a number from 0 to 100`);
    return [[name, Number(text)] as const];
  });
  return { ...Object.fromEntries(shares), ...(flagOption(options, "bypass") ? { bypass: true } : {}) };
}
