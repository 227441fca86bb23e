/** What the updater does on Windows, and what it leaves alone; asked on any system, because the platform is an argument. The program itself runs under Wine in the slow suite. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { parseFileName } from "../../src/model/names.ts";
import { sameButForCase, windowsNameProblem } from "../../src/model/windows-name.ts";
import { formatChecksums, parseChecksums } from "../../src/trust/checksums.ts";
import { type Installation, readInstallation } from "../../src/updater/installation.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { manualCommands } from "../../src/updater/manual-stage.ts";
import { settleStrategy } from "../../src/updater/settle.ts";

const machine = {
  ...thisMachine(() => undefined),
  runCommand: () => assert.fail("nothing is asked of the machine"),
  fetch: () => assert.fail("nothing is fetched"),
};

function installation(strategy: string): Installation {
  const text = `product: acme
strategy: ${strategy}
root: app
source: { url: "https://releases.example.com" }
trust: { minisign: ["RWSNUz4nj0+EOxWuraFqg4ecaSe+8WCnz+YC2qomPin9h83Sach2jh6u"] }
${strategy === "container" ? "container: { files: [compose.yaml], service: acme }\n" : ""}health: { checks: [{ command: { argv: [app, --version], version: "(.*)" } }] }
`;
  return readInstallation(text, join(import.meta.dirname, "acme.yaml"));
}

for (const strategy of ["versions", "inplace", "package", "container"]) {
  test(`85 on Windows strategy ${strategy} is refused before anything is asked, fetched or written`, async () => {
    await assert.rejects(settleStrategy(installation(strategy), machine, "win32"), { code: "system_unsupported" });
  });
}

test("85 on Windows auto is manual, whose commands are those of its shell", async () => {
  for (const strategy of ["auto", "manual"]) assert.equal((await settleStrategy(installation(strategy), machine, "win32")).strategy, "manual");
  const place = { root: String.raw`C:\Program Files\Acme`, product: "acme", hasRoot: true };
  const path = String.raw`C:\Users\Jo Doe\AppData\Local\acme\acme.exe`;
  assert.deepEqual(manualCommands(place, { kind: "binary" }, path, "win32"), [String.raw`copy /y "${path}" "C:\Program Files\Acme\acme.exe"`]);
  assert.deepEqual(manualCommands(place, { kind: "archive" }, path, "win32"), [String.raw`tar -xf "${path}" -C "C:\Program Files\Acme"`]);
});

const refused: readonly (readonly [path: string, why: RegExp])[] = [
  ["CON", /device/],
  ["nul.tar.gz", /device/],
  ["bin/Aux", /device/],
  ["COM1.exe", /device/],
  ["lpt\u00b2.txt", /device/],
  ["CON .txt", /device/],
  ["CONIN$", /device/],
  ["readme.", /ends in a dot/],
  ["docs /readme", /ends in a space/],
  ["C:evil", /":"/],
  ["file.txt:stream", /":"/],
  ["..\\evil", /"\\\\"/],
  ['say "hi"', /"\\""/],
  ["a|b", /"\|"/],
  ["a*b", /"\*"/],
  ["tab\there", /"\\t"/],
];
const held = ["con-1.0.0.zip", "console", "auxiliary.txt", "com10.txt", "COM", "nulls/file", ".config", "größe.txt", "bin/acme.exe"];

test("85 names that Windows takes for a device, a drive, a stream or another name are known on every system", () => {
  for (const [path, why] of refused) assert.match(windowsNameProblem(path) ?? "", why, path);
  for (const path of held) assert.equal(windowsNameProblem(path), undefined, path);
  assert.deepEqual(sameButForCase(["bin/acme", "README.md", "readme.md"]), ["README.md", "readme.md"]);
  assert.equal(sameButForCase(["a", "a", "b"]), undefined);
});

test("85 no release lists such a name, nor two that differ in case alone", () => {
  for (const name of ["CON.zip", "nul", "acme.zip.", "Com1.tar.gz"]) assert.throws(() => parseFileName(name), { code: "name_invalid" }, name);
  const line = (name: string): string => `${"0".repeat(64)}  ${name}\n`;
  assert.throws(() => parseChecksums(Buffer.from(line("aux.zip"))), { code: "sums_invalid", detail: "sums_malformed" });
  assert.throws(() => parseChecksums(Buffer.from(line("Acme.zip") + line("acme.zip"))), { code: "sums_invalid", detail: "sums_entry_duplicate" });
  const sums = ["acme.zip", "ACME.zip"].map((name) => [name, "0".repeat(64)] as const);
  assert.throws(() => formatChecksums(sums), { code: "sums_invalid", detail: "sums_entry_duplicate" });
});
