/** The nature of a file from its first bytes, on real programs and on made-up heads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertRunsOn, natureOf } from "../../src/packaging/executable.ts";
import { readNature } from "../../src/packaging/resolve-files.ts";

test("the Node that runs this test is a program for this machine, and for no other", async () => {
  if (process.platform !== "linux") return;
  const nature = readNature(process.execPath);
  const arch = process.arch === "arm64" ? "arm64" : "amd64";
  assert.deepEqual(nature, { kind: "program", format: "ELF", systems: ["linux"], arch });
  const what = { path: "node", place: "slipway.yaml:1:1" };
  assertRunsOn(nature, { os: "linux", arch }, what);
  for (const target of [
    { os: "darwin", arch },
    { os: "windows", arch },
    { os: "linux", arch: "riscv64" },
  ] as const) {
    assert.throws(() => assertRunsOn(nature, target, what), { code: "source_unusable", place: what.place });
  }
});

const heads: readonly (readonly [name: string, hex: string, expected: ReturnType<typeof natureOf>])[] = [
  ["a Mach-O for arm64", "cffaedfe0c000001", { kind: "program", format: "Mach-O", systems: ["darwin"], arch: "arm64" }],
  ["a universal Mach-O", "cafebabe00000002", { kind: "program", format: "Mach-O", systems: ["darwin"], arch: undefined }],
  ["a Java class, which begins like a universal Mach-O", "cafebabe00000041", { kind: "other" }],
  ["a big-endian ELF for s390x", "7f454c4602020100000000000000000000020016", { kind: "program", format: "ELF", systems: ["linux"], arch: "s390x" }],
  ["a script", "23212f62696e2f7368", { kind: "script" }],
  ["a text", "68656c6c6f", { kind: "other" }],
  ["nothing", "", { kind: "other" }],
  ["a torn ELF", "7f454c46", { kind: "other" }],
  ["a DOS stub that points past the end", `4d5a${"00".repeat(58)}ffffff7f`, { kind: "other" }],
];
for (const [name, hex, expected] of heads) {
  test(`${name} is recognised`, () => {
    assert.deepEqual(natureOf(Buffer.from(hex, "hex")), expected);
  });
}
