/**
 * Lint rules about maintainer scripts. One body runs under three package managers that call it at other moments with other arguments:
 * dpkg says words (`configure 1.4.1`, `remove`, `purge`), rpm counts what is left (`0`, `1`, `2`), apk gives versions (`12.0.0 11.9.0`).
 */
import type { MaintainerScript, PackageFacts } from "../model/package-facts.ts";
import type { Hit, LintRule } from "./lint-rule.ts";

const posixShells = new Set(["/bin/sh", "/usr/bin/sh", "/bin/dash"]);
const shells = new Set([...posixShells, "/bin/bash", "/usr/bin/bash"]);

export const scriptRules: readonly LintRule[] = [
  {
    id: "script-shebang",
    severity: "error",
    about: "a script without a first line that names its interpreter, or with Windows line ends: no package manager can start it",
    advice: "begin it with #!/bin/sh, and save it with LF",
    lintian: [
      "script-without-interpreter",
      "unknown-control-interpreter",
      "maintainer-script-without-shebang",
      "control-file-is-not-a-file",
      "carriage-return-line-feed",
    ],
    rpmlint: ["invalid-shell-in-", "wrong-script-end-of-line-encoding"],
    find: eachScript(({ text }) => {
      if (!text.startsWith("#!")) return { line: 1, message: "does not begin with #!" };
      return text.split("\n")[0]?.endsWith("\r") === true
        ? { line: 1, message: "has Windows line ends: the kernel would look for an interpreter whose name ends in CR" }
        : undefined;
    }),
  },
  {
    id: "script-interpreter",
    severity: "warning",
    about: "an interpreter that a minimal system or Alpine does not have",
    advice: "write it for /bin/sh, or depend on the interpreter (Pre-Depends for a preinstall)",
    lintian: [
      "control-interpreter-without-depends",
      "control-interpreter-without-predepends",
      "unusual-control-interpreter",
      "forbidden-postrm-interpreter",
      "control-interpreter-in-usr-local",
      "unknown-control-interpreter",
    ],
    rpmlint: ["invalid-shell-in-", "forbidden-postrm-interpreter"],
    find: eachScript((script) => {
      const interpreter = interpreterOf(script);
      return interpreter === undefined || posixShells.has(interpreter) ? undefined : { line: 1, message: `is run by ${interpreter}` };
    }),
  },
  {
    id: "script-syntax",
    severity: "error",
    about: "the shell cannot read the script: the installation stops half-way",
    advice: "run `sh -n` on it",
    lintian: ["maintainer-shell-script-fails-syntax-check"],
    rpmlint: ["shell-syntax-error-in-", "perl-syntax-error-in-"],
    find: eachScript(({ syntaxError }) => (syntaxError === undefined ? undefined : { message: syntaxError })),
  },
  {
    id: "script-set-e",
    severity: "warning",
    about: "a shell script that goes on after a failed command: the package counts as installed and is not",
    advice: "write `set -e` as its first command",
    lintian: ["maintainer-script-ignores-errors", "maintainer-script-without-set-e"],
    find: eachScript((script) => {
      if (!isShell(script) || codeOf(script).trim() === "") return undefined;
      const isSet = /^#!.*\s-[a-z]*e/.test(script.text) || /^\s*set\s+(?:-[a-z]*e|-o\s+errexit)/m.test(script.text);
      return isSet ? undefined : { line: 1, message: "has no `set -e`" };
    }),
  },
  {
    id: "script-systemctl",
    severity: "error",
    about: "systemctl called where nothing asked whether systemd runs: the installation fails in containers, chroots and on Alpine",
    advice: "write `if [ -d /run/systemd/system ]; then systemctl …; fi`, or declare the service in the recipe",
    lintian: ["maintainer-script-calls-systemctl"],
    find: eachScript((script) => {
      const call = findLine(script, /(?:^|[;&|]\s*|\s)(?:\/(?:usr\/)?bin\/)?systemctl\s+\w/);
      if (call === undefined || /\|\|\s*(?:true|:)/.test(call.text)) return undefined;
      const before = script.text.split("\n").slice(0, call.line).join("\n");
      const isGated = /-d\s+["']?\/run\/systemd\/system|command\s+-v\s+systemctl|which\s+systemctl|-x\s+["']?\/(?:usr\/)?bin\/systemctl|type\s+systemctl/.test(
        before,
      );
      return isGated ? undefined : { line: call.line, message: `calls systemctl ungated: ${call.text.trim()}` };
    }),
  },
  {
    id: "script-systemctl-gate",
    severity: "warning",
    about: "systemctl asked for by `command -v` only: in a container or chroot it is there, and there is no systemd to answer",
    advice: "ask for [ -d /run/systemd/system ] as well",
    find: eachScript((script) => {
      const call = findLine(script, /(?:^|[;&|]\s*|\s)systemctl\s+(?:daemon-reload|start|stop|restart|try-restart|enable\s+--now|disable\s+--now)/);
      const asks = /command\s+-v\s+systemctl/.test(script.text) && !script.text.includes("/run/systemd/system");
      return call === undefined || !asks || /\|\|\s*(?:true|:)/.test(call.text) ? undefined : { line: call.line, message: "does not ask whether systemd runs" };
    }),
  },
  {
    id: "script-stops-on-upgrade",
    severity: "error",
    about:
      "a preremove that stops the service without asking why it is called: rpm runs the old one after the new postinstall, so every upgrade ends with a stopped service",
    advice: 'do it only where "$1" is remove (dpkg) or 0 (rpm)',
    find: eachScript((script) => {
      if (script.name !== "preremove" && script.name !== "postremove") return undefined;
      const call = findLine(script, /\b(?:systemctl\s+(?:stop|disable)|service\s+\S+\s+stop|rc-service\s+\S+\s+stop|(?:userdel|deluser|groupdel|delgroup)\b)/);
      return call === undefined || usesArgument(script) ? undefined : { line: call.line, message: `is not told from an upgrade: ${call.text.trim()}` };
    }),
  },
  {
    id: "script-deletes-state",
    severity: "error",
    about: "a removal script that deletes data whatever the reason: an upgrade, or a removal without purge, loses the customer's state",
    advice: 'delete only where "$1" is purge (dpkg); rpm and apk have no moment for it',
    rpmlint: ["dangerous-command-in-"],
    find: eachScript((script) => {
      if (script.name !== "preremove" && script.name !== "postremove") return undefined;
      const call = findLine(script, /\brm\s+(?:-\w+\s+)*(?:--\s+)?["']?\/(?:var|etc|srv|opt|home)\//);
      return call === undefined || codeOf(script).includes("purge")
        ? undefined
        : { line: call.line, message: `deletes without asking for purge: ${call.text.trim()}` };
    }),
  },
  {
    id: "script-argument",
    severity: "warning",
    about: '"$1" read as if every package manager meant the same by it',
    advice: "handle dpkg's words, rpm's counts and apk's versions apart, or declare the service in the recipe",
    find: (facts) => eachScript((script) => argumentProblem(script, facts))(facts),
  },
  {
    id: "script-accounts",
    severity: "warning",
    about: "useradd and groupadd do not exist on Alpine, which has busybox' adduser and addgroup",
    advice: "declare the account in the recipe, or ask with `command -v` first",
    formats: ["apk"],
    find: eachScript((script) => {
      const call = findLine(script, /(?:^|[;&|]\s*|\s)(?:useradd|groupadd|usermod|userdel|groupdel)\s/);
      return call === undefined || /command\s+-v\s+(?:useradd|groupadd|usermod|userdel|groupdel)/.test(script.text)
        ? undefined
        : { line: call.line, message: call.text.trim() };
    }),
  },
  {
    id: "script-temporary",
    severity: "warning",
    about: "a file of a known name in /tmp, written as root: any account can put a link there before",
    advice: "let mktemp choose the name",
    lintian: ["possibly-insecure-handling-of-tmp-files-in-maintainer-script"],
    rpmlint: ["use-tmp-in-"],
    find: eachScript((script) => {
      const line = linesOf(script).findIndex((text) => /\/(?:var\/)?tmp\/[A-Za-z]/.test(text) && !text.includes("mktemp"));
      return line < 0 ? undefined : { line: line + 1, message: `uses a known name in /tmp: ${linesOf(script)[line]?.trim() ?? ""}` };
    }),
  },
  {
    id: "script-home",
    severity: "warning",
    about: "a script that looks into somebody's home: whose it is depends on who runs the package manager",
    advice: "use paths below /var/lib/<product>",
    rpmlint: ["use-of-home-in-"],
    find: eachScript((script) => {
      const call = findLine(script, /\$HOME\b|\$\{HOME\}|(?:^|\s)~\//);
      return call === undefined ? undefined : { line: call.line, message: call.text.trim() };
    }),
  },
];

/** What is wrong in one script; `line` is the script's own. */
type ScriptProblem = { readonly line?: number; readonly message: string };

function eachScript(problem: (script: MaintainerScript) => ScriptProblem | undefined): (facts: PackageFacts) => readonly Hit[] {
  return ({ scripts }) =>
    scripts.flatMap((script) => {
      const found = problem(script);
      if (found === undefined) return [];
      return [{ place: script.place, message: `${script.source}${found.line === undefined ? "" : `:${found.line}`} (${script.name}) ${found.message}` }];
    });
}

function interpreterOf({ text }: MaintainerScript): string | undefined {
  return /^#! *(\/[^\s]*)/.exec(text)?.[1];
}

const isShell = (script: MaintainerScript): boolean => shells.has(interpreterOf(script) ?? "");

/** Lines without comments; the numbers stay as they are. */
function linesOf({ text }: MaintainerScript): readonly string[] {
  return text.split("\n").map((line) => (/^\s*#/.test(line) ? "" : line.replace(/\s#.*$/, "")));
}

const codeOf = (script: MaintainerScript): string => linesOf(script).join("\n");

function findLine(script: MaintainerScript, pattern: RegExp): { readonly line: number; readonly text: string } | undefined {
  const lines = linesOf(script);
  // A name in `command -v systemctl` or in an echo is no call.
  const index = lines.findIndex((line) => pattern.test(line.replaceAll(/command\s+-v\s+\S+|\becho\b.*/g, "")));
  return index < 0 ? undefined : { line: index + 1, text: lines[index] ?? "" };
}

/** `$1`, `${1:-}`, and `$@` or `$*` where it is handed on. */
const argumentPattern = /\$(?:1\b|\{1[^}]*\}|[@*])/;
const usesArgument = (script: MaintainerScript): boolean => argumentPattern.test(codeOf(script));

const dpkgWords = /\b(?:configure|upgrade|remove|purge|install|abort-[a-z]+|deconfigure|failed-upgrade|disappear)\b/;
/** `[ "$1" = 0 ]`, `-eq 1`, and `0)` or `1 | 2)` of a case. */
const counts =
  /\$\{?1[^\s]*["']?\s*(?:=|==|!=|-eq|-ne|-gt|-ge|-lt|-le)\s*["']?\d+\b|^\s*\(?(?:[^()\n]*\|\s*)?["']?\d+["']?\s*(?:\|[^()\n]*)?\)|^\s*\(?[^()\n]*\[\d-\d\][^()\n]*\)/m;
const arithmetic = /\$\{?1[^\s]*["']?\s*-(?:eq|ne|gt|ge|lt|le)\b/;

/** Patterns that match more than one number: `[1-9]*`, `[1-9][0-9]*`, `2*`. */
const looseCounts = /^\s*\(?[^()\n]*(?:\[\d-\d\]|\d)\*[^()\n]*\)/m;

function argumentProblem(script: MaintainerScript, { formats }: PackageFacts): ScriptProblem | undefined {
  const use = findLine(script, argumentPattern);
  if (use === undefined || !isShell(script)) return undefined;
  const { line } = use;
  const code = codeOf(script);
  const knowsWords = dpkgWords.test(code);
  const knowsCounts = counts.test(code);
  if (arithmetic.test(code) && formats.includes("deb") && !/\bcase\b/.test(code))
    return { line, message: `compares "$1" as a number; dpkg gives a word, and the shell stops with an error` };
  if (knowsWords && !knowsCounts && formats.includes("rpm") && script.name.endsWith("remove") && !/^[^\n]*purge[^\n]*$/m.test(onlyTested(code))) {
    return { line, message: `knows dpkg's words only; rpm says 0 for removal and 1 for upgrade` };
  }
  if (knowsCounts && !knowsWords && formats.includes("deb")) return { line, message: `knows rpm's counts only; dpkg says configure, remove, upgrade` };
  // apk 12.0.0 would match a pattern such as [1-9]*: a version looks like a count.
  if (formats.includes("apk") && (looseCounts.test(code) || arithmetic.test(code)))
    return { line, message: `reads "$1" as a count; apk gives a version there, and 12.0.0 begins with one` };
  return undefined;
}

/** The tests on `$1`, where purge is the only word: rpm has no such moment, so nothing is missed there. */
function onlyTested(code: string): string {
  const words = new Set(code.match(new RegExp(dpkgWords, "g")) ?? []);
  return words.size === 1 && words.has("purge") ? "purge" : "";
}
