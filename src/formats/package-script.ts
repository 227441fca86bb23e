/** Maintainer scripts as text, and the interpreter that their first line names. */
import { SlipwayError } from "../model/errors.ts";
import type { ScriptName } from "./package.ts";

/** `#!/bin/sh -e` -> ["/bin/sh", "-e"]; throws `recipe_invalid` for a script without such a line: dpkg could not start it. */
export function scriptInterpreter(name: ScriptName, body: string): readonly [string, ...string[]] {
  const words = /^#! *(\/[^\n]*)\n/.exec(body)?.[1]?.trim().split(/\s+/);
  const [program, ...args] = words ?? [];
  if (program === undefined) {
    throw new SlipwayError("recipe_invalid", `the ${name} script does not begin with the line of its interpreter`, { hint: "begin it with #!/bin/sh" });
  }
  return [program, ...args];
}
