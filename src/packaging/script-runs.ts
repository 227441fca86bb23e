/** Turns the log of a private root into maintainer scripts: which one ran, of which version, with which arguments, and what it called. */
import type { PackageUnderTest } from "./package-under-test.ts";

export type ScriptRun = {
  /** In the format's own word: `postinst`, `%post`, `.post-upgrade`. */
  readonly script: string;
  /** The version whose script it is. */
  readonly version: string;
  readonly arguments: readonly string[];
  /** False where its interpreter is not in the root, so that only the call was written down. */
  readonly isRun: boolean;
  /** `systemctl daemon-reload` */
  readonly calls: readonly string[];
};

export type RunContext = {
  readonly step: "install" | "upgrade" | "remove" | "purge";
  /** The package that the step is about. */
  readonly next: PackageUnderTest;
  /** In an upgrade, what was there before. */
  readonly previous: PackageUnderTest | undefined;
};

/** Scripts that an upgrade runs of the old package: dpkg's by their names, rpm's likewise, apk's none. */
const oldOnUpgrade = new Set(["prerm", "postrm", "%preun", "%postun"]);

/** Scripts of other packages (the stand-in has none) and what the scripts start themselves are left out. */
export function readScriptRuns(log: readonly (readonly string[])[], context: RunContext): readonly ScriptRun[] {
  const runs: { script: string; version: string; arguments: readonly string[]; isRun: boolean; calls: string[] }[] = [];
  const seen = new Map<string, number>();
  for (const [kind, ...fields] of log) {
    if (kind === "call") {
      runs.at(-1)?.calls.push(fields.join(" "));
      continue;
    }
    const [state, path = "", sha256 = "", ...words] = fields;
    const named = nameOf(path, sha256, context, seen);
    if (named === undefined) continue;
    runs.push({ ...named, arguments: words, isRun: state === "ran", calls: [] });
  }
  return runs;
}

function nameOf(
  path: string,
  sha256: string,
  context: RunContext,
  seen: Map<string, number>,
): { readonly script: string; readonly version: string } | undefined {
  const { step, next, previous } = context;
  const old = step === "upgrade" && previous !== undefined ? previous : next;
  const dpkg = /^\/var\/lib\/dpkg\/(tmp\.ci|info)\/(?:.*\.)?(preinst|postinst|prerm|postrm|config)$/.exec(path);
  if (dpkg !== null) {
    const [, folder = "", script = ""] = dpkg;
    return { script, version: folder === "info" && oldOnUpgrade.has(script) ? old.version : next.version };
  }
  // rpm and apk run copies under other names: the body says which it is. The same body twice in a package is told apart by order.
  const candidates = [
    ...old.scripts.filter(({ name }) => step !== "upgrade" || oldOnUpgrade.has(name)).map((script) => ({ script, of: old })),
    ...(step === "upgrade" ? next.scripts.filter(({ name }) => !oldOnUpgrade.has(name)).map((script) => ({ script, of: next })) : []),
  ].filter(({ script }) => script.sha256 === sha256 && isOf(step, script.name));
  const turn = seen.get(sha256) ?? 0;
  seen.set(sha256, turn + 1);
  const found = candidates[Math.min(turn, candidates.length - 1)];
  return found === undefined ? undefined : { script: found.script.name, version: found.of.version };
}

/** Whether a script with that name is for that step at all. */
function isOf(step: RunContext["step"], name: string): boolean {
  if (name.startsWith(".")) return name.endsWith(step === "remove" || step === "purge" ? "-deinstall" : `-${step}`);
  const isRemoval = name === "%preun" || name === "%postun";
  if (step === "install") return !isRemoval;
  return step === "upgrade" || isRemoval;
}
