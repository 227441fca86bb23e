/** The program that is set up for a command line: only the commands that it can mean, and those as they are in the whole one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command } from "commander";
import { commands } from "../../src/cli/commands.ts";
import { createProgram } from "../../src/cli/program.ts";

const programFor = (words: readonly string[]): Command =>
  createProgram({ version: "1.2.3", words, signal: new AbortController().signal, outcome: { exitCode: 0 } });

function find(program: Command, name: string): Command | undefined {
  return name.split(" ").reduce<Command | undefined>((at, word) => at?.commands.find((command) => command.name() === word), program);
}

test("every command has the same help, whether all are set up or only those that its first word can mean", () => {
  const whole = programFor(["--help"]);
  for (const { name } of commands) {
    const words = name.split(" ");
    const narrow = programFor(words);
    for (const shown of [words[0] ?? "", name]) {
      const [expected, got] = [find(whole, shown)?.helpInformation(), find(narrow, shown)?.helpInformation()];
      assert.ok(expected !== undefined && expected.length > 20, shown);
      assert.equal(got, expected, shown);
    }
    assert.equal(narrow.commands.length, 1, name);
  }
});

test("what is no command is compared with all of them, and --version sets up none", () => {
  for (const words of [[], ["upgrad"], ["help", "upgrade"]]) assert.ok(programFor(words).commands.length > 20, words.join(" "));
  for (const word of ["--version", "-V"]) assert.equal(programFor([word]).commands.length, 0);
});
