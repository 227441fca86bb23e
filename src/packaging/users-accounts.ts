/**
 * The accounts of `users:` in each format's own way: commands for scripts, a file for systemd-sysusers, and the Provides from which rpm 4.19
 * makes accounts itself (sysusers.d(5), rpm-sysusers(7)). Everything may run any number of times; nothing ever removes an account, because
 * files elsewhere may still belong to its number (Debian policy 9.2.2, Fedora's packaging guidelines on users).
 */
import type { Dependency } from "../formats/package.ts";
import { shellWord } from "./shell-word.ts";
import type { Account } from "./users-schema.ts";

/** The formats that have scripts, each with base tools of its own. */
export type ScriptFormat = "deb" | "rpm" | "apk";

const nologin: Readonly<Record<ScriptFormat, string>> = { deb: "/usr/sbin/nologin", rpm: "/usr/sbin/nologin", apk: "/sbin/nologin" };

function shellOf(account: Account, format: ScriptFormat): string {
  return account.shell === "nologin" ? nologin[format] : account.shell;
}

/** Every group that the accounts need: first the further ones, then their own; each once. */
function groupsOf(accounts: readonly Account[]): readonly string[] {
  return [...new Set([...accounts.flatMap((account) => account.groups), ...accounts.map((account) => account.name)])];
}

/**
 * Lines of shell that make the accounts where they are missing; `onMade` is a line that runs for each account that was.
 * deb and rpm have shadow's tools (a dependency of ours) and glibc's getent; Alpine has neither, but busybox.
 */
export function accountCommands(accounts: readonly Account[], format: ScriptFormat, onMade?: string): readonly string[] {
  const isBusybox = format === "apk";
  const isMissing = (database: "passwd" | "group", name: string): string =>
    isBusybox ? `! grep -q '^${name}:' /etc/${database}` : `! getent ${database} ${name} > /dev/null`;
  return [
    ...groupsOf(accounts).map((group) => `if ${isMissing("group", group)}; then ${isBusybox ? "addgroup -S" : "groupadd --system"} ${group}; fi`),
    ...accounts.flatMap((account) => {
      const { name, groups } = account;
      const [home, shell, comment] = [account.home, shellOf(account, format), account.comment].map(shellWord);
      const make = isBusybox
        ? `adduser -S -D -H -h ${home} -s ${shell} -G ${name} -g ${comment} ${name}`
        : `useradd --system --gid ${name} --home-dir ${home} --no-create-home --shell ${shell} --comment ${comment} ${name}`;
      return [
        `if ${isMissing("passwd", name)}; then`,
        `  ${make}`,
        ...(onMade === undefined ? [] : [`  ${onMade}`]),
        "fi",
        ...groups.map((group) => {
          const join = isBusybox ? `addgroup ${name} ${group}` : `usermod --append --groups ${group} ${name}`;
          return `case " $(id -nG ${name}) " in *" ${group} "*) ;; *) ${join} ;; esac`;
        }),
      ];
    }),
  ];
}

/** What the commands need besides the format's base system. */
export function accountDependencies(accounts: readonly Account[], format: ScriptFormat): readonly Dependency[] {
  if (accounts.length === 0 || format === "apk") return [];
  // The file, because the package is shadow-utils on Fedora and shadow on SUSE.
  return [[{ name: format === "deb" ? "passwd" : "/usr/sbin/useradd" }]];
}

type SysusersEntry = { readonly provides: string; readonly line: string };

/** Groups and users of sysusers.d(5); every field is given, so that the result is the same as that of our commands. */
function sysusersEntries(accounts: readonly Account[]): readonly SysusersEntry[] {
  const further = new Set(accounts.flatMap((account) => account.groups).filter((group) => !accounts.some((account) => account.name === group)));
  return [
    ...[...further].map((group) => ({ provides: `group(${group})`, line: `g ${group} -` })),
    ...accounts.map((account) => ({
      provides: `user(${account.name})`,
      line: `u ${account.name} - "${account.comment}" ${account.home} ${shellOf(account, "rpm")}`,
    })),
  ];
}

/** The content of /usr/lib/sysusers.d/<package>.conf: systemd makes the accounts again where /etc was emptied. */
export function sysusersFile(accounts: readonly Account[]): string {
  const members = accounts.flatMap(({ name, groups }) => groups.map((group) => `m ${name} ${group}`));
  return [...sysusersEntries(accounts).map(({ line }) => line), ...members].map((line) => `${line}\n`).join("");
}

/**
 * What `%add_sysuser` of rpm 4.19 would provide: rpm decodes it before it unpacks and makes the accounts. `=` may not stand in a version,
 * so the line is padded with NUL until base64 needs none.
 *
 * Memberships are left to %pre: rpm sorts the lines, `m` comes before `u`, and the script that rpm uses where systemd is missing then makes
 * the user with the further group as its own.
 */
export function sysusersProvides(accounts: readonly Account[]): readonly Dependency[] {
  return [
    ...sysusersEntries(accounts).map(({ provides, line }): Dependency => {
      const bytes = Buffer.from(line);
      const padded = Buffer.concat([bytes, Buffer.alloc((3 - (bytes.length % 3)) % 3)]);
      return [{ name: provides, operator: "=", version: padded.toString("base64") }];
    }),
    ...accounts.map((account): Dependency => [{ name: `group(${account.name})` }]),
  ];
}
