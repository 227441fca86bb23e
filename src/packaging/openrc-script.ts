/**
 * An OpenRC service (openrc-run(8), supervise-daemon(8)) made from a systemd unit: `/etc/init.d/<name>` and `/etc/conf.d/<name>`.
 *
 * What decides how the program is started is translated or refused; what only fences it in (ProtectSystem and its like) has no counterpart
 * and is left out.
 */
import { SlipwayError } from "../model/errors.ts";
import { type Unit, unitValue, unitValues } from "./service-unit.ts";
import { shellWord } from "./shell-word.ts";

export type OpenrcService = { readonly initScript: string; readonly configuration: string };

/** Keys that start something of their own and have no counterpart that surely means the same. */
const untranslated = ["ExecCondition", "ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost", "Sockets", "RootDirectory", "DynamicUser"] as const;
const foregroundTypes = new Set(["simple", "exec", "notify", "notify-reload"]);

type Folder = { readonly key: string; readonly parent: string };
const folders: readonly Folder[] = [
  { key: "StateDirectory", parent: "/var/lib" },
  { key: "CacheDirectory", parent: "/var/cache" },
  { key: "LogsDirectory", parent: "/var/log" },
  { key: "RuntimeDirectory", parent: "/run" },
];

/** Throws `source_unusable` with the recipe's `place` for a unit that starts its program in a way that OpenRC has no word for. */
export function openrcService(name: string, unit: Unit, place: string): OpenrcService {
  const refuse = (what: string): never => {
    throw new SlipwayError("source_unusable", `the unit of ${name} has ${what}, which Slipway does not translate for OpenRC`, {
      place,
      hint: "write an init script of your own and name it in service.openrc",
    });
  };
  for (const key of untranslated) if (unitValues(unit, "Service", key).length > 0) refuse(key);
  const type = unitValue(unit, "Service", "Type") ?? "simple";
  if (!foregroundTypes.has(type)) refuse(`Type=${type}`);
  const starts = unitValues(unit, "Service", "ExecStart");
  if (starts.length !== 1) refuse(`${starts.length} times ExecStart`);
  const words = (value: string): readonly string[] =>
    splitUnitWords(value) ?? refuse(`${JSON.stringify(value)} with variables, specifiers or special prefixes`);
  const [command = "", ...args] = words((starts[0] ?? "").replace(/^-/, ""));
  if (!command.startsWith("/")) refuse(`the program ${JSON.stringify(command)} without an absolute path`);
  const user = unitValue(unit, "Service", "User") ?? "root";
  const owner = `${user}:${unitValue(unit, "Service", "Group") ?? user}`;
  const log = `/var/log/${name}.log`;
  const isRespawned = (unitValue(unit, "Service", "Restart") ?? "no") !== "no";
  const directory = unitValue(unit, "Service", "WorkingDirectory")?.replace(/^-/, "");
  const openFiles = unitValue(unit, "Service", "LimitNOFILE")?.split(":")[0];
  const reloads = unitValues(unit, "Service", "ExecReload");
  if (reloads.length > 0 && !reloads.every((reload) => /^\S*\/kill -(?:s )?(?:SIG)?HUP \$MAINPID$/.test(reload))) refuse("an ExecReload that is no SIGHUP");
  const hangUp = isRespawned ? 'supervise-daemon "$RC_SVCNAME" --signal HUP' : 'start-stop-daemon --signal HUP --pidfile "$pidfile"';
  const variables: readonly (readonly [string, string | undefined])[] = [
    ["description", unitValue(unit, "Unit", "Description")?.replaceAll("%%", "%")],
    // supervise-daemon respawns whatever it starts, so that a service that is not to be respawned is started without it.
    ["supervisor", isRespawned ? "supervise-daemon" : undefined],
    ["command_background", isRespawned ? undefined : "true"],
    ["pidfile", isRespawned ? undefined : `/run/${name}.pid`],
    ["command", command],
    ["command_user", user === "root" ? undefined : owner],
    ["directory", directory === "~" ? undefined : directory],
    ["umask", unitValue(unit, "Service", "UMask")],
    ["rc_ulimit", openFiles === undefined ? undefined : `-n ${openFiles}`],
    ["respawn_delay", isRespawned ? String(respawnSeconds(unitValue(unit, "Service", "RestartSec")) ?? defaultRespawnSeconds) : undefined],
    ["respawn_max", isRespawned ? "0" : undefined], // for ever
  ];
  const initScript = [
    "#!/sbin/openrc-run",
    `# ${name} under OpenRC, made by Slipway from its systemd unit. Settings belong into /etc/conf.d/${name}.`,
    "",
    `name=${shellWord(name)}`,
    ...variables.flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${shellWord(value)}`])),
    // OpenRC evaluates the words once more.
    `[ -n "$command_args" ] || command_args=${shellWord(args.map(shellWord).join(" "))}`,
    `[ -n "$output_log" ] || output_log=${log}`,
    '[ -n "$error_log" ] || error_log=$output_log',
    ...(reloads.length === 0 ? [] : ["extra_started_commands=reload"]),
    "",
    ...dependLines(unit),
    "",
    ...startPreLines(unit, owner, words),
    ...(reloads.length === 0 ? [] : ["", "reload() {", '  ebegin "Reloading $RC_SVCNAME"', `  ${hangUp}`, "  eend $?", "}"]),
  ];
  const configuration = [
    `# Settings of /etc/init.d/${name}; your edits survive upgrades.`,
    "",
    "# Arguments of the program:",
    `#command_args=${shellWord(args.map(shellWord).join(" "))}`,
    "",
    "# Where its output goes:",
    `#output_log=${log}`,
  ];
  return { initScript: `${initScript.join("\n")}\n`, configuration: `${configuration.join("\n")}\n` };
}

const defaultRespawnSeconds = 5;

/** `5`, `5s`, `1min`, `500ms` (systemd.time(7)); supervise-daemon counts whole seconds. */
function respawnSeconds(text: string | undefined): number | undefined {
  const match = /^(\d+)(ms|s|sec|min|m)?$/.exec(text?.trim() ?? "");
  if (match === null) return undefined;
  const [, digits = "", unit = "s"] = match;
  const factor = unit === "ms" ? 0.001 : unit.startsWith("m") ? 60 : 1;
  return Math.max(1, Math.round(Number(digits) * factor));
}

/** `After=docker.service` -> `after docker`; the network's targets are OpenRC's `net`. */
function dependLines(unit: Unit): readonly string[] {
  const services = (...keys: readonly string[]): readonly string[] => {
    const units = keys.flatMap((key) => unitValues(unit, "Unit", key)).flatMap((value) => value.split(/\s+/));
    return [...new Set(units.flatMap((one) => (/^network(?:-online)?\.target$/.test(one) ? ["net"] : (/^([A-Za-z0-9._-]+)\.service$/.exec(one)?.[1] ?? []))))];
  };
  const need = services("Requires", "BindsTo", "Requisite");
  const use = services("Wants").filter((one) => !need.includes(one));
  const after = services("After").filter((one) => !need.includes(one) && !use.includes(one));
  return [
    "depend() {",
    ...(need.length === 0 ? [] : [`  need ${need.join(" ")}`]),
    `  use ${[...use, "logger"].join(" ")}`,
    ...(after.length === 0 ? [] : [`  after ${after.join(" ")}`]),
    "}",
  ];
}

/** Folders and the log file exist and belong to the user, environment files are read: as systemd does before a start. */
function startPreLines(unit: Unit, owner: string, words: (value: string) => readonly string[]): readonly string[] {
  const made = folders.flatMap(({ key, parent }) =>
    unitValues(unit, "Service", key)
      .flatMap((value) => value.split(/\s+/))
      .map((name) => {
        const mode = unitValue(unit, "Service", `${key}Mode`) ?? "0755";
        return `  checkpath --directory --owner ${shellWord(owner)} --mode ${mode} ${shellWord(`${parent}/${name}`)}`;
      }),
  );
  const exported = unitValues(unit, "Service", "Environment")
    .flatMap(words)
    .map((assignment) => `  export ${shellWord(assignment)}`);
  const read = unitValues(unit, "Service", "EnvironmentFile").map((value) => {
    const file = shellWord(value.replace(/^-/, ""));
    const source = `set -a; . ${file}; set +a`;
    return value.startsWith("-") ? `  if [ -r ${file} ]; then ${source}; fi` : `  ${source}`;
  });
  return ["start_pre() {", ...made, `  checkpath --file --owner ${shellWord(owner)} --mode 0640 "$output_log" "$error_log"`, ...exported, ...read, "}"];
}

/** Words as systemd splits them: quotes and backslashes; undefined where `$`, `%` or a prefix would mean more than text. */
export function splitUnitWords(value: string): readonly string[] | undefined {
  if (/^[@:+!]/.test(value)) return undefined;
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let index = 0; index < value.length; index += 1) {
    const character = value.charAt(index);
    const next = value.charAt(index + 1);
    if ((character === "$" || character === "%") && next !== character) return undefined;
    if (character === "$" || character === "%") {
      word = (word ?? "") + character;
      index += 1;
    } else if (character === "\\") {
      if (!/["'\\ ]/.test(next)) return undefined;
      word = (word ?? "") + next;
      index += 1;
    } else if (character === quote) {
      quote = undefined;
    } else if (quote === undefined && (character === '"' || character === "'")) {
      quote = character;
      word ??= "";
    } else if (quote === undefined && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + character;
    }
  }
  if (quote !== undefined) return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
