/**
 * The scripts of one package in one format: hand-written ones and what `service:` and `users:` ask for, in one file for each moment.
 *
 * Order inside a script: what the hand-written body may need comes before it, what depends on its work comes after.
 *   before unpacking   note what runs, accounts (rpm, apk) | yours
 *   after unpacking    accounts and owners (deb)           | yours | daemon-reload; new: enable, start; upgrade: restart (rpm: posttrans)
 *   before removal                                           yours | stop, disable
 *   after removal                                            yours | daemon-reload; deb's purge: declared data
 * The body gets the format's own arguments and runs in a subshell with its own `set` flags, so that neither its `exit` nor its variables
 * reach ours; where it fails, the script fails. apk runs the bodies of an installation at an upgrade too, as deb and rpm do.
 */
import type { PackageEntry, ScriptName } from "../formats/package.ts";
import { SlipwayError } from "../model/errors.ts";
import { apkServiceSteps, debServiceSteps, rpmServiceSteps, type ServiceFunction, type ServicePolicy, serviceFunctions } from "./service-steps.ts";
import { shellWord } from "./shell-word.ts";
import { accountCommands, type ScriptFormat } from "./users-accounts.ts";
import type { Account } from "./users-schema.ts";

/** A script of the vendor's; `source` and `place` are for messages and comments. */
export type HandWrittenScript = { readonly body: string; readonly source: string; readonly place: string };

export type ScriptRequest = {
  readonly format: ScriptFormat;
  readonly packageName: string;
  readonly services: readonly ServicePolicy[];
  readonly accounts: readonly Account[];
  readonly handWritten: Readonly<Partial<Record<ScriptName, HandWrittenScript>>>;
  /** What the package brings: deb gives the files to accounts that were not there when dpkg unpacked. */
  readonly entries: readonly PackageEntry[];
};

type Moment = {
  readonly name: ScriptName;
  readonly when: string;
  /** Whose body goes in: the first of these that there is. */
  readonly own: readonly ScriptName[];
  readonly before: readonly string[];
  readonly after: readonly string[];
};

/**
 * All scripts of the package by name, each a POSIX shell script with `set -e`. A hand-written script that nothing is added to is passed on
 * as it is, in whatever language. Throws `source_unusable` for one in another language that would have to be combined.
 */
export function maintainerScripts(request: ScriptRequest): Readonly<Partial<Record<ScriptName, string>>> {
  const scripts: Partial<Record<ScriptName, string>> = {};
  for (const moment of moments[request.format](request)) {
    const own = moment.own.map((name) => request.handWritten[name]).find((script) => script !== undefined);
    const isAdded = moment.before.length + moment.after.length > 0;
    if (isAdded) scripts[moment.name] = combined(request, moment, own);
    else if (own !== undefined) scripts[moment.name] = own.body;
  }
  return scripts;
}

const moments: Readonly<Record<ScriptFormat, (request: ScriptRequest) => readonly Moment[]>> = {
  deb: ({ services, accounts, packageName, entries }) => {
    const steps = services.length === 0 ? undefined : debServiceSteps(services, packageName);
    return [
      { name: "config", when: "before unpacking, by debconf", own: ["config"], before: [], after: [] },
      { name: "preinstall", when: "before unpacking", own: ["preinstall"], before: steps?.preinst ?? [], after: [] },
      { name: "postinstall", when: "after unpacking", own: ["postinstall"], before: debAccountSteps(accounts, entries), after: steps?.postinst ?? [] },
      { name: "preremove", when: "before removal", own: ["preremove"], before: [], after: steps?.prerm ?? [] },
      { name: "postremove", when: "after removal", own: ["postremove"], before: [], after: steps?.postrm ?? [] },
    ];
  },
  rpm: ({ services, accounts, packageName }) => {
    const steps = services.length === 0 ? undefined : rpmServiceSteps(services, packageName);
    const before = [...(steps?.pre ?? []), ...accountCommands(accounts, "rpm")];
    return [
      { name: "preinstall", when: "before unpacking", own: ["preinstall"], before, after: [] },
      { name: "postinstall", when: "after unpacking", own: ["postinstall"], before: [], after: steps?.post ?? [] },
      { name: "preremove", when: "before removal", own: ["preremove"], before: [], after: steps?.preun ?? [] },
      { name: "postremove", when: "after removal", own: ["postremove"], before: [], after: steps?.postun ?? [] },
      { name: "pretransaction", when: "before the whole transaction", own: ["pretransaction"], before: [], after: [] },
      { name: "posttransaction", when: "after the whole transaction", own: ["posttransaction"], before: [], after: steps?.posttrans ?? [] },
      { name: "verify", when: "at rpm --verify", own: ["verify"], before: [], after: [] },
    ];
  },
  apk: ({ services, accounts }) => {
    const steps = services.length === 0 ? undefined : apkServiceSteps(services);
    const before = accountCommands(accounts, "apk");
    return [
      { name: "preinstall", when: "before unpacking", own: ["preinstall"], before, after: [] },
      { name: "preupgrade", when: "before an upgrade", own: ["preupgrade", "preinstall"], before, after: [] },
      { name: "postinstall", when: "after unpacking", own: ["postinstall"], before: [], after: steps?.postInstall ?? [] },
      { name: "postupgrade", when: "after an upgrade", own: ["postupgrade", "postinstall"], before: [], after: steps?.postUpgrade ?? [] },
      { name: "preremove", when: "before removal", own: ["preremove"], before: [], after: steps?.preDeinstall ?? [] },
      { name: "postremove", when: "after removal", own: ["postremove"], before: [], after: [] },
      { name: "trigger", when: "when a folder changes", own: ["trigger"], before: [], after: [] },
    ];
  },
};

/**
 * dpkg may unpack before the tools for accounts are configured, so that policy makes accounts in postinst; what dpkg then gave to root for
 * want of the account is handed over, unless the operator has decided otherwise (dpkg-statoverride(1)).
 */
function debAccountSteps(accounts: readonly Account[], entries: readonly PackageEntry[]): readonly string[] {
  if (accounts.length === 0) return [];
  const made = new Set(accounts.flatMap((account) => [account.name, ...account.groups]));
  const owned = entries.filter((entry) => entry.kind !== "ghost" && (made.has(entry.owner) || made.has(entry.group)));
  const lines = owned.flatMap((entry) => {
    const path = shellWord(entry.path);
    // chown takes setuid and setgid away.
    const isSpecial = entry.kind !== "symlink" && (entry.mode & 0o6000) !== 0;
    const handOver = [`chown -h ${entry.owner}:${entry.group} ${path}`, ...(isSpecial ? [`chmod ${entry.mode.toString(8)} ${path}`] : [])];
    return [`if ! dpkg-statoverride --list ${path} > /dev/null 2>&1; then ${handOver.join("; ")}; fi`];
  });
  const steps =
    lines.length === 0
      ? accountCommands(accounts, "deb")
      : ["is_made=", ...accountCommands(accounts, "deb", "is_made=yes"), 'if [ -n "$is_made" ]; then', ...lines.map((line) => `  ${line}`), "fi"];
  return ['if [ "$1" = configure ]; then', ...steps.map((line) => `  ${line}`), "fi"];
}

function combined(request: ScriptRequest, moment: Moment, own: HandWrittenScript | undefined): string {
  const lines = [...moment.before, ...moment.after];
  const used = (Object.keys(serviceFunctions) as ServiceFunction[]).filter((name) => lines.some((line) => new RegExp(`\\b${name}\\b`).test(line)));
  const blocks: readonly (readonly string[])[] = [
    ["#!/bin/sh", `# ${request.packageName}: ${moment.when}. Made by Slipway from the recipe's service, users and scripts.`, "set -e"],
    used.map((name) => serviceFunctions[name]),
    moment.before,
    own === undefined ? [] : handWrittenBlock(own),
    moment.after,
  ];
  return `${blocks
    .filter((block) => block.length > 0)
    .map((block) => block.join("\n"))
    .join("\n\n")}\n`;
}

/** The body between parentheses, at the beginning of lines: here-documents in it stay what they are. */
function handWrittenBlock({ body, source, place }: HandWrittenScript): readonly string[] {
  const [first = "", ...rest] = body.split("\n");
  const flags = /^#! *(?:\/usr)?\/bin\/(?:sh|dash|env +sh)(?: +(-[A-Za-z]+))? *$/.exec(first);
  if (flags === null) {
    throw new SlipwayError(
      "source_unusable",
      `${source} begins with ${first.slice(0, 100)}, but service and users add their steps to it and those are of /bin/sh`,
      {
        place,
        hint: "write it for /bin/sh, or start the other interpreter from a script of /bin/sh",
      },
    );
  }
  const set = flags[1] === undefined ? "set +e" : `set +e ${flags[1]}`;
  return [`# ${source}`, "(", set, rest.join("\n").trimEnd(), ")"];
}
