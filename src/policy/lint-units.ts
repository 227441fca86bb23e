/** Lint rules about systemd units that a package ships (systemd.unit(5), systemd.service(5)). */
import type { FileFacts, PackageFacts } from "../model/package-facts.ts";
import type { Hit, LintRule } from "./lint-rule.ts";

type UnitLine = { readonly line: number; readonly section: string; readonly key: string; readonly value: string };
type Unit = { readonly file: FileFacts; readonly lines: readonly UnitLine[]; readonly broken: readonly { readonly line: number; readonly text: string }[] };

const unitPath =
  /^\/(?:usr\/)?lib\/systemd\/(?:system|user)\/[^/]+\.(service|socket|timer|target|path|mount)$|^\/etc\/systemd\/(?:system|user)\/[^/]+\.(service|socket|timer|target|path|mount)$/;
const knownSections = new Set(["Unit", "Install", "Service", "Socket", "Timer", "Path", "Mount"]);
/** Folders that a package cannot promise the content of, but that a system has. */
const systemPrograms = /^\/(?:usr\/)?s?bin\//;

export const unitRules: readonly LintRule[] = [
  {
    id: "unit-folder",
    severity: "warning",
    about: "a unit in /etc, which is the operator's place and wins over what a package ships",
    advice: "ship it in /usr/lib/systemd/system",
    lintian: ["systemd-service-in-odd-location", "file-in-etc-not-marked-as-conffile"],
    rpmlint: ["non-conffile-in-etc"],
    find: eachUnit(({ file }) => (file.path.startsWith("/etc/") ? [{ message: `${file.path} is in the operator's folder` }] : [])),
  },
  {
    id: "unit-syntax",
    severity: "error",
    about: "a line that systemd cannot read: it ignores the line, or the whole unit",
    advice: "write [Section] and Key=value lines; `systemd-analyze verify` checks more",
    lintian: ["systemd-service-file-missing-documentation-key", "invalid-systemd-service-file"],
    find: eachUnit(({ lines, broken }) => [
      ...broken.map(({ line, text }) => ({ line, message: `is neither a section nor Key=value: ${text}` })),
      ...lines
        .filter(({ section }) => section === "")
        .slice(0, 1)
        .map(({ line, key }) => ({ line, message: `${key}= stands before any section` })),
      ...[...new Map(lines.map((one) => [one.section, one])).values()]
        .filter(({ section }) => section !== "" && !knownSections.has(section) && !section.startsWith("X-"))
        .map(({ line, section }) => ({ line, message: `[${section}] is not a section of systemd` })),
    ]),
  },
  {
    id: "unit-exec",
    severity: "error",
    about: "a service that starts nothing, or by a path that systemd refuses, or a program that the package does not bring",
    advice: "write ExecStart= with the absolute path of a program of this package or of one that it depends on",
    lintian: ["systemd-service-file-refers-to-unusual-wantedby-target"],
    find: (facts) => eachUnit((unit) => execProblems(unit, facts))(facts),
  },
  {
    id: "unit-install",
    severity: "note",
    about: "a service without [Install]: `systemctl enable` cannot make it start at boot",
    advice: "add [Install] with WantedBy=multi-user.target, unless something else starts it",
    lintian: ["systemd-service-file-missing-install-key"],
    find: eachUnit(({ file, lines }) =>
      file.path.endsWith(".service") && !file.path.includes("@") && !lines.some(({ section }) => section === "Install")
        ? [{ message: "has no [Install] section" }]
        : [],
    ),
  },
  {
    id: "unit-mode",
    severity: "warning",
    about: "an executable unit: systemd warns about it at every boot",
    advice: 'give it mode: "0644"',
    rpmlint: ["spurious-executable-perm", "non-standard-executable-perm"],
    lintian: ["executable-not-elf-or-script"],
    find: eachUnit(({ file }) => ((file.mode & 0o111) === 0 ? [] : [{ message: `has the mode ${file.mode.toString(8).padStart(4, "0")}` }])),
  },
  {
    id: "unit-variable-folder",
    severity: "warning",
    about: "/var/run in a unit: a link into /run that systemd rewrites with a warning at every start",
    advice: "write /run",
    lintian: ["systemd-service-file-refers-to-var-run", "systemd-service-file-refers-to-obsolete-target"],
    find: eachUnit(({ lines }) =>
      lines
        .filter(({ value }) => /(?:^|[\s=])\/var\/run\//.test(value))
        .map(({ line, key, value }) => ({ line, message: `${key}=${value} goes through /var/run` })),
    ),
  },
];

type UnitProblem = { readonly line?: number; readonly message: string };

function eachUnit(problems: (unit: Unit) => readonly UnitProblem[]): (facts: PackageFacts) => readonly Hit[] {
  return ({ entries }) =>
    entries.flatMap((entry) => {
      if (entry.kind !== "file" || entry.text === undefined || !unitPath.test(entry.path)) return [];
      return problems(readUnit(entry, entry.text)).map(({ line, message }) => ({
        place: entry.place,
        message: `${entry.source}${line === undefined ? "" : `:${line}`} ${message}`,
      }));
    });
}

function readUnit(file: FileFacts, text: string): Unit {
  const lines: UnitLine[] = [];
  const broken: { line: number; text: string }[] = [];
  let section = "";
  let isContinued = false;
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    const wasContinued: boolean = isContinued;
    isContinued = line.endsWith("\\");
    if (wasContinued || line === "" || line.startsWith("#") || line.startsWith(";")) continue;
    const header = /^\[([^\]]+)\]$/.exec(line)?.[1];
    const [, key, value = ""] = /^([A-Za-z][A-Za-z0-9-]*)\s*=\s*(.*)$/.exec(line) ?? [];
    if (header !== undefined) section = header;
    else if (key === undefined) broken.push({ line: index + 1, text: line.slice(0, 80) });
    else lines.push({ line: index + 1, section, key, value });
  }
  return { file, lines, broken };
}

function execProblems({ file, lines }: Unit, { entries }: PackageFacts): readonly UnitProblem[] {
  if (!file.path.endsWith(".service")) return [];
  const service = lines.filter(({ section }) => section === "Service");
  if (service.length === 0) return [{ message: "has no [Service] section" }];
  const type = service.findLast(({ key }) => key === "Type")?.value;
  const starts = service.filter(({ key, value }) => key === "ExecStart" && value !== "");
  if (starts.length === 0 && type !== "oneshot") return [{ message: "has no ExecStart=" }];
  const shipped = new Set(entries.flatMap(({ path }) => [path, withoutAlias(path)]));
  return service.flatMap(({ line, key, value }) => {
    if (!/^Exec(?:Start|StartPre|StartPost|Stop|StopPost|Reload|Condition)$/.test(key) || value === "") return [];
    const program = /^[-@:+!|]*(\S+)/.exec(value)?.[1]?.replaceAll(/^["']|["']$/g, "") ?? "";
    if (!program.startsWith("/")) return [{ line, message: `${key}=${program} is not an absolute path` }];
    if (shipped.has(program) || shipped.has(withoutAlias(program)) || value.startsWith("-")) return [];
    // A program of a dependency, as /bin/kill or /usr/bin/docker, is in the usual folders; a product's own would be shipped.
    const isLikelyForeign = systemPrograms.test(program) && key !== "ExecStart";
    return isLikelyForeign ? [] : [{ line, message: `${key}=${program} is not in the package` }];
  });
}

function withoutAlias(path: string): string {
  return path.replace(/^\/(bin|sbin|lib|lib64)\//, "/usr/$1/");
}
