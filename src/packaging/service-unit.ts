/**
 * systemd units as text: made from a description in the recipe, or read as far as other parts need to know what is in them
 * (systemd.syntax(7), systemd.service(5), systemd.exec(5)).
 */
import type { UnitDescription } from "./service-schema.ts";

/** Section -> key -> its values in the order of the file; an empty assignment has emptied the list before it. */
export type Unit = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

/** All values of a key, `[]` where it is absent. */
export function unitValues(unit: Unit, section: string, key: string): readonly string[] {
  return unit.get(section)?.get(key) ?? [];
}

/** The last value, which is the one that counts for keys that take one. */
export function unitValue(unit: Unit, section: string, key: string): string | undefined {
  return unitValues(unit, section, key).at(-1);
}

/** Reads a unit file; returns the text of the first line that is none of systemd's forms instead of guessing at it. */
export function parseUnit(text: string): { readonly unit: Unit } | { readonly badLine: string; readonly lineNumber: number } {
  const unit = new Map<string, Map<string, string[]>>();
  let section: Map<string, string[]> | undefined;
  for (const { line, lineNumber } of joinedLines(text)) {
    const header = /^\[([^[\]\p{Cc}]+)\]$/u.exec(line);
    if (header !== null) {
      const name = header[1] ?? "";
      section = unit.get(name) ?? new Map<string, string[]>();
      unit.set(name, section);
      continue;
    }
    const assignment = /^([A-Za-z][A-Za-z0-9-]*)\s*=\s*(.*)$/.exec(line);
    if (assignment === null || section === undefined) return { badLine: line, lineNumber };
    const [, key = "", value = ""] = assignment;
    section.set(key, value === "" ? [] : [...(section.get(key) ?? []), value]);
  }
  return { unit };
}

/** Lines without comments and without empty ones; a backslash at the end joins the next line with a space, and skips comments between. */
function joinedLines(text: string): readonly { readonly line: string; readonly lineNumber: number }[] {
  const lines: { line: string; lineNumber: number }[] = [];
  let open: { line: string; lineNumber: number } | undefined;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const trimmed = raw.trim();
    if (/^[#;]/.test(trimmed) || (trimmed === "" && open === undefined)) continue;
    const isContinued = trimmed.endsWith("\\");
    const piece = isContinued ? trimmed.slice(0, -1).trimEnd() : trimmed;
    const whole = open === undefined ? { line: piece, lineNumber: index + 1 } : { ...open, line: `${open.line} ${piece}` };
    open = isContinued ? whole : undefined;
    if (!isContinued) lines.push(whole);
  }
  return open === undefined ? lines : [...lines, open];
}

/** A unit that waits for the network, runs in the foreground, and cannot get privileges where it runs as somebody else than root. */
export function describedUnit(description: UnitDescription, product: { readonly summary: string; readonly homepage?: string | undefined }): string {
  const { exec, user, group, environment, state, respawn, reload, after } = description;
  const isRoot = user === undefined || user === "root";
  const sections: readonly (readonly [string, readonly (readonly [string, string | undefined])[]])[] = [
    [
      "Unit",
      [
        // `%` would begin a specifier in a text that people read.
        ["Description", (description.description ?? product.summary).replaceAll("%", "%%")],
        ["Documentation", product.homepage],
        ["Wants", "network-online.target"],
        ["After", ["network-online.target", ...after].join(" ")],
      ],
    ],
    [
      "Service",
      [
        ["ExecStart", exec],
        ["ExecReload", reload === undefined ? undefined : "/bin/kill -HUP $MAINPID"],
        ["User", isRoot ? undefined : user],
        ["Group", group],
        ["EnvironmentFile", environment === undefined ? undefined : `-${environment}`],
        ["StateDirectory", state],
        ["StateDirectoryMode", state === undefined ? undefined : "0750"],
        ["Restart", respawn],
        ["RestartSec", respawn === "no" ? undefined : "5"],
        ["NoNewPrivileges", isRoot ? undefined : "yes"],
        ["PrivateTmp", isRoot ? undefined : "yes"],
        ["ProtectSystem", isRoot ? undefined : "full"],
      ],
    ],
    ["Install", [["WantedBy", "multi-user.target"]]],
  ];
  return sections.map(([name, keys]) => `[${name}]\n${keys.flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}\n`])).join("")}`).join("\n");
}
