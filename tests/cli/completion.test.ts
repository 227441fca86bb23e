/** Completion in a real bash: what it offers at the places where people press the key. zsh and fish: completion.slow.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { runSlipway } from "../support/vendor.ts";

const cases: readonly (readonly [typed: string, offered: readonly string[]])[] = [
  ["up", ["upgrade"]],
  ["upgrade in", ["install"]],
  ["upgrade install --fi", ["--file"]],
  ["upgrade install --installation /etc/x.yaml --fi", ["--file"]],
  ["upgrade install --installation /et", []],
  ["keys new --type mi", ["minisign"]],
  ["keys export release --fo", ["--format"]],
  ["verify ou", ["outcome"]],
  ["verify --outc", ["--outcome"]],
  ["verify artifact acme.de", []],
  ["--ver", ["--version"]],
  ["nonsense --fi", []],
];

test("completion offers the next word, the flags of a command behind its values, the choices of a flag, and leaves files to bash", async () => {
  const { stdout: script } = await runSlipway(["completion", "bash"], { cwd: import.meta.dirname, env: {} });
  const ask = cases.map(([typed]) => `COMP_WORDS=(slipway ${typed}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _slipway; echo "\${COMPREPLY[*]}"`).join("\n");
  const said = await requireCommand(["bash", "--norc", "-c", `${script}\n${ask}`], { timeoutMs: 60_000 });
  assert.deepEqual(
    said.slice(0, -1).split("\n"),
    cases.map(([, offered]) => offered.join(" ")),
  );
});
