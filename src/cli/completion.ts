/**
 * `slipway completion`: scripts for bash, zsh and fish, generated from the table of commands. In each shell the words before the cursor are read as
 * the longest command that they name (values and files between them are passed over); then its words, its flags, or a flag's choices are offered.
 */
import { SlipwayError } from "../model/errors.ts";
import type { CommandRun, OptionRow } from "./command.ts";
import { commands } from "./commands.ts";
import { groupSummaries } from "./program.ts";

type Offer = { readonly word: string; readonly text: string };
type Flag = Offer & { readonly takesValue: boolean; readonly choices: readonly string[] };
/** What follows a command, or the first word of some; by its words, "" for none yet. */
type Place = { readonly children: Offer[]; readonly flags: Flag[]; takesWords: boolean };

const textLimit = 60;
const commonFlags = [
  { flags: "--json", text: "one JSON document on stdout" },
  { flags: "--help", text: "display help for command" },
] as const;

/** Its first clause. */
function short(text: string): string {
  const clause = text.split(/[;:.](?:\s|$)/)[0] ?? "";
  return clause.length > textLimit ? `${clause.slice(0, textLimit - 1).trimEnd()}…` : clause;
}

function flagOf({ flags, text, choices = [] }: Pick<OptionRow, "flags" | "text" | "choices">): Flag {
  return { word: /--[a-z0-9-]+/.exec(flags)?.[0] ?? flags, text: short(text), takesValue: /[<[]/.test(flags), choices };
}

function readPlaces(): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  const placeOf = (path: string): Place => {
    const place = places.get(path) ?? { children: [], flags: [], takesWords: false };
    places.set(path, place);
    return place;
  };
  const offer = (path: string, child: Offer): void => {
    const { children } = placeOf(path);
    if (!children.some(({ word }) => word === child.word)) children.push(child);
  };
  for (const { name, summary, options = [], arguments: words = [] } of commands) {
    const [first = "", leaf] = name.split(" ");
    offer("", { word: first, text: short(groupSummaries[first] ?? summary) });
    if (leaf !== undefined) offer(first, { word: leaf, text: short(summary) });
    placeOf(name).flags.push(...[...options, ...commonFlags].map(flagOf));
    placeOf(name).takesWords = words.length > 0;
  }
  placeOf("").flags.push(flagOf({ flags: "--version", text: "print the version" }), flagOf({ flags: "--help", text: "display help for command" }));
  return places;
}

const places = readPlaces();
const paths = [...places.keys()].filter((path) => path !== "");
const flagsOf = (isWanted: (flag: Flag) => boolean): readonly (readonly [path: string, flag: Flag])[] =>
  [...places].flatMap(([path, { flags }]) => flags.filter(isWanted).map((flag) => [path, flag] as const));
const withChoices = flagsOf(({ choices }) => choices.length > 0);
const withOwnValue = flagsOf(({ takesValue, choices }) => takesValue && choices.length === 0);
const quoted = (text: string): string => `'${text.replaceAll("'", "’")}'`;
const patterns = (words: readonly string[]): string => words.map(quoted).join("|");

function bash(): string {
  const cases = [...places].map(([path, { children, flags, takesWords }]) => {
    const words = [...children, ...flags].map(({ word }) => word).join(" ");
    return `      "${path}") ${takesWords ? '[[ "$current" != -* ]] || ' : ""}words="${words}" ;;`;
  });
  return `# slipway completion for bash: add \`source <(slipway completion bash)\` to ~/.bashrc
_slipway() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD - 1]}" path="" words="" index
  for ((index = 1; index < COMP_CWORD; index++)); do
    case "\${path:+$path }\${COMP_WORDS[index]}" in
      ${patterns(paths)}) path="\${path:+$path }\${COMP_WORDS[index]}" ;;
    esac
  done
  case "$path $previous" in
${withChoices.map(([path, { word, choices }]) => `    "${path} ${word}") words="${choices.join(" ")}" ;;`).join("\n")}
    ${patterns(withOwnValue.map(([path, { word }]) => `${path} ${word}`))}) ;;
    *) case "$path" in
${cases.join("\n")}
    esac ;;
  esac
  COMPREPLY=()
  if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$current")); fi
}
complete -o default -F _slipway slipway
`;
}

function zsh(): string {
  const list = (offers: readonly Offer[]): string => offers.map(({ word, text }) => quoted(`${word}:${text}`)).join(" ");
  const cases = [...places].map(([path, { children, flags }]) => `    (${quoted(path)}) commands=(${list(children)}) flags=(${list(flags)}) ;;`);
  return `#compdef slipway
# slipway completion for zsh: slipway completion zsh > "\${fpath[1]}/_slipway"
_slipway() {
  local at="" word
  local -a commands flags
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "\${at:+$at }$word" in
      (${patterns(paths)}) at="\${at:+$at }$word" ;;
    esac
  done
  case "$at \${words[CURRENT-1]}" in
${withChoices.map(([path, { word, choices }]) => `    (${quoted(`${path} ${word}`)}) compadd -- ${choices.join(" ")}; return ;;`).join("\n")}
    (${patterns(withOwnValue.map(([path, { word }]) => `${path} ${word}`))}) _files; return ;;
  esac
  case "$at" in
${cases.join("\n")}
  esac
  if [[ $PREFIX == -* ]]; then _describe -o option flags
  elif (( \${#commands} )); then _describe command commands
  else _files
  fi
}
if [[ $funcstack[1] == _slipway ]]; then _slipway "$@"; else compdef _slipway slipway; fi
`;
}

function fish(): string {
  const lines = [...places].flatMap(([path, { children, flags }]) => {
    const at = `complete -c slipway -n "__slipway_at ${quoted(path)}"`;
    return [
      ...children.map(({ word, text }) => `${at} -f -a ${word} -d ${quoted(text)}`),
      ...flags.map(({ word, text, takesValue, choices }) => {
        const value = choices.length > 0 ? ` -x -a ${quoted(choices.join(" "))}` : takesValue ? " -r" : "";
        return `${at} -l ${word.slice(2)}${value} -d ${quoted(text)}`;
      }),
    ];
  });
  return `# slipway completion for fish: slipway completion fish > ~/.config/fish/completions/slipway.fish
function __slipway_at
    set -l path ""
    for word in (commandline -opc)[2..]
        set -l longer (string trim -- "$path $word")
        contains -- "$longer" ${paths.map(quoted).join(" ")}; and set path $longer
    end
    test "$path" = "$argv"
end
${lines.join("\n")}
`;
}

const scripts: Readonly<Record<string, () => string>> = { bash, zsh, fish };

export const run: CommandRun = async ({ args, output }) => {
  const shell = args[0] ?? "";
  const make = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
  if (make === undefined) throw new SlipwayError("usage", `"${shell}" is not a shell that completion is made for`, { hint: "use bash, zsh or fish" });
  const script = make();
  output.result({ shell, script });
  output.line(script.trimEnd());
  return 0;
};
