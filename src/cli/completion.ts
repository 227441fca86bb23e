/** `slipway completion`: scripts for bash, zsh and fish, generated from the table of commands. */
import { SlipwayError } from "../model/errors.ts";
import type { CommandRun } from "./command.ts";
import { commands } from "./commands.ts";

const flagsOf = (name: string): readonly string[] => {
  const row = commands.find((candidate) => candidate.name === name);
  return [...(row?.options ?? []).flatMap((option) => option.flags.match(/--[a-z-]+/g) ?? []), "--json", "--help"];
};

function bash(): string {
  const cases = commands.map((row) => `    "${row.name}") words="${flagsOf(row.name).join(" ")}" ;;`);
  const parents = new Map<string, string[]>();
  for (const row of commands) {
    const [first, second] = row.name.split(" ");
    if (first === undefined) continue;
    parents.set(first, [...(parents.get(first) ?? []), ...(second === undefined ? [] : [second])]);
  }
  const groups = [...parents].filter(([, children]) => children.length > 0).map(([parent, children]) => `    "${parent}") words="${children.join(" ")}" ;;`);
  return `# slipway completion for bash: add \`source <(slipway completion bash)\` to ~/.bashrc
_slipway() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words="" path="" index
  for ((index = 1; index < COMP_CWORD; index++)); do
    case "\${COMP_WORDS[index]}" in -*) ;; *) path="\${path:+$path }\${COMP_WORDS[index]}" ;; esac
  done
  case "$path" in
    "") words="${[...parents.keys()].join(" ")} --help --version" ;;
${[...groups, ...cases].join("\n")}
  esac
  if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$current")); else COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o default -F _slipway slipway
`;
}

function fish(): string {
  const lines = commands.flatMap((row) => {
    const words = row.name.split(" ");
    const seen = words.length === 1 ? "__fish_use_subcommand" : `__fish_seen_subcommand_from ${words[0]}`;
    const condition = words.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
    return [
      `complete -c slipway -f -n '${seen}' -a '${words.at(-1)}' -d '${row.summary.replaceAll("'", "\\'")}'`,
      ...(words.length === 1 ? [] : [`complete -c slipway -f -n '__fish_use_subcommand' -a '${words[0]}'`]),
      ...flagsOf(row.name).map((flag) => `complete -c slipway -n '${condition}' -l ${flag.slice(2)}`),
    ];
  });
  return `# slipway completion for fish: slipway completion fish > ~/.config/fish/completions/slipway.fish\n${[...new Set(lines)].join("\n")}\n`;
}

export const run: CommandRun = async ({ args, output }) => {
  const shell = args[0] ?? "";
  const scripts: Readonly<Record<string, () => string>> = {
    bash,
    fish,
    zsh: () => `#compdef slipway\nautoload -U +X bashcompinit && bashcompinit\n${bash()}`,
  };
  const make = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
  if (make === undefined) throw new SlipwayError("usage", `"${shell}" is not a shell that completion is made for`, { hint: "use bash, zsh or fish" });
  const script = make();
  output.result({ shell, script });
  output.line(script.trimEnd());
  return 0;
};
