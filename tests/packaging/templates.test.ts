/** Templates and command lines: the whole language, and that nothing else passes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { splitCommandLine } from "../../src/packaging/command-line.ts";
import { expandTemplate, parseTemplate, placeholders } from "../../src/packaging/templates.ts";

const values = { name: "acme", version: "1.2.0", tag: "v1.2.0", target: { os: "windows", arch: "arm64" }, bin: "acmed", out: "/tmp/o" } as const;

const expansions: readonly (readonly [template: string, text: string])[] = [
  ["", ""],
  ["plain", "plain"],
  ["{name}-{version}-{tag}", "acme-1.2.0-v1.2.0"],
  ["{os}_{arch}/{bin}{exe}", "windows_arm64/acmed.exe"],
  ["{arch:gnu} {arch:deb} {arch:rpm} {arch:apk}", "aarch64 arm64 aarch64 aarch64"],
  ["{target}", "windows/arm64"],
  ["-o{out}", "-o/tmp/o"],
  ['{"json": {}} { x } {1} {}', '{"json": {}} { x } {1} {}'],
  ["{{name}}", "{acme}"],
];
for (const [template, text] of expansions) {
  test(`the template ${JSON.stringify(template)} becomes ${JSON.stringify(text)}`, () => {
    assert.equal(expandTemplate(parseTemplate(template, placeholders), values), text);
  });
}

test("what is filled in is not expanded again", () => {
  assert.equal(expandTemplate(parseTemplate("{bin}", placeholders), { ...values, bin: "{out}" }), "{out}");
});

for (const [template, piece] of [
  ["{unknown}", "{unknown}"],
  ["x{Name}y", "{Name}"],
  ["{arch:arch}", "{arch:arch}"],
  ["{arch:}", "{arch:}"],
  ["{os:gnu}", "{os:gnu}"],
  ["${HOME}", "{HOME}"],
] as const) {
  test(`the template ${template} is refused and names ${piece}`, () => {
    assert.throws(() => parseTemplate(template, placeholders), { code: "recipe_invalid", piece });
  });
}

const lines: readonly (readonly [line: string, words: readonly string[]])[] = [
  ["go build", ["go", "build"]],
  ["  a   b\t c ", ["a", "b", "c"]],
  ['go build -ldflags "-s -w" -o {out}', ["go", "build", "-ldflags", "-s -w", "-o", "{out}"]],
  ["sh -c 'echo $HOME | cat > x'", ["sh", "-c", "echo $HOME | cat > x"]],
  [String.raw`a\ b "c\"d" 'e\f'`, ["a b", 'c"d', String.raw`e\f`]],
  [`a'b'"c"d ''`, ["abcd", ""]],
  [String.raw`"\$x\\" "\n"`, ["$x\\", "\\n"]],
];
for (const [line, words] of lines) {
  test(`the command line ${line} is split as a shell would`, () => {
    assert.deepEqual(splitCommandLine(line), words);
  });
}

for (const line of ["", "  ", "a | b", "a && b", "a > b", "a; b", "echo $X", 'echo "$X"', "echo `x`", "(a)", "a < b", "'open", '"open', "end\\"]) {
  test(`the command line ${JSON.stringify(line)} is refused`, () => {
    assert.throws(() => splitCommandLine(line), { code: "recipe_invalid" });
  });
}
