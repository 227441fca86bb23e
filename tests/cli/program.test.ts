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

test("every command has the same help, whether all are set up or only those that the words can mean", () => {
  const whole = programFor(["--help"]);
  for (const { name } of commands) {
    const words = name.split(" ");
    for (const shown of [words.slice(0, 1), words]) {
      const [expected, got] = [whole, programFor(shown)].map((program) => find(program, shown.join(" "))?.helpInformation());
      assert.ok(expected !== undefined && expected.length > 20, name);
      assert.equal(got, expected, name);
    }
    assert.equal(programFor(words).commands.length, 1, name);
  }
});

test("a whole name sets up that command alone; a word of a group that is none of its commands is compared with all of those", () => {
  const inGroup = (...words: string[]): number => programFor(words).commands[0]?.commands.length ?? 0;
  assert.equal(inGroup("upgrade", "check"), 1);
  assert.ok(inGroup("upgrade", "chekc") > 10);
  assert.ok(inGroup("upgrade", "--help") > 10);
});

test("what is no command is compared with all of them, and --version sets up none", () => {
  for (const words of [[], ["upgrad"], ["help", "upgrade"]]) assert.ok(programFor(words).commands.length > 20, words.join(" "));
  for (const word of ["--version", "-V"]) assert.equal(programFor([word]).commands.length, 0);
});

test("every group of commands says what it is about", () => {
  for (const command of programFor(["--help"]).commands) assert.notEqual(command.summary() || command.description(), command.name());
});
