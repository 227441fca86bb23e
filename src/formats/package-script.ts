/** Maintainer scripts as text, and the interpreter that their first line names. */
import { SlipwayError } from "../model/errors.ts";
import type { PackageSpec, ScriptName } from "./package.ts";

/** `#!/bin/sh -e` -> ["/bin/sh", "-e"]; throws `recipe_invalid` for a script without such a line: dpkg could not start it. */
export function scriptInterpreter(name: ScriptName, body: string): readonly [string, ...string[]] {
  const words = /^#! *(\/[^\n]*)\n/.exec(body)?.[1]?.trim().split(/\s+/);
  const [program, ...args] = words ?? [];
  if (program === undefined) {
    throw new SlipwayError("recipe_invalid", `the ${name} script does not begin with the line of its interpreter`, { hint: "begin it with #!/bin/sh" });
  }
  return [program, ...args];
}

/** The scripts with their interpreters; throws `recipe_invalid` for one that is not in `runs`, because the format would never run it. */
export function formatScripts<Name extends ScriptName>(
  format: string,
  scripts: PackageSpec["scripts"],
  runs: Readonly<Record<Name, unknown>>,
): readonly { readonly name: Name; readonly body: string; readonly interpreter: readonly [string, ...string[]] }[] {
  const isRun = (name: ScriptName): name is Name => Object.hasOwn(runs, name);
  return (Object.entries(scripts) as [ScriptName, string][]).map(([name, body]) => {
    if (!isRun(name))
      throw new SlipwayError("recipe_invalid", `${format} never runs a ${name} script`, { hint: `${format} runs ${Object.keys(runs).join(", ")}` });
    return { name, body, interpreter: scriptInterpreter(name, body) };
  });
}
