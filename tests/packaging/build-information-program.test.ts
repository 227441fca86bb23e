import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { deflateSync } from "node:zlib";
import { parseModules } from "../../src/formats/go-build-information.ts";
import { readProgramInformation } from "../../src/packaging/build-information-program.ts";
import { findProgram } from "../support/clients.ts";
import { type ElfShape, elfProgram, pointedGoBlob } from "./program-fixture.ts";

const folder = mkdtempSync(join(tmpdir(), "slipway-programs-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const golden = (name: string): Buffer => readFileSync(new URL(`golden/${name}`, import.meta.url));
const goBlob = golden("go-build-information.bin");
const crates = golden("cargo-auditable.dep-v0");
const wide: ElfShape = { is64: true, isLittle: true };

let count = 0;
function read(bytes: Uint8Array) {
  count += 1;
  const path = join(folder, `program-${count}`);
  writeFileSync(path, bytes);
  return readProgramInformation(path, "jaco");
}

const purls = (information: Awaited<ReturnType<typeof read>>): readonly (string | undefined)[] => information.components.map((component) => component.purl);

test("the modules of a Go program are what its linker wrote down", async () => {
  const information = await read(elfProgram(wide, { sections: [{ name: ".go.buildinfo", bytes: goBlob }] }));
  assert.deepEqual(information.ecosystems, ["golang"]);
  assert.deepEqual(purls(information), [
    "pkg:golang/stdlib@1.26.8",
    undefined, // example.org/local, replaced by a folder
    "pkg:golang/golang.org/x/text@v0.14.0",
    "pkg:golang/rsc.io/quote@v1.5.2",
    "pkg:golang/rsc.io/sampler@v1.3.0",
  ]);
  assert.deepEqual(
    information.components.find((component) => component.name === "example.org/local"),
    { name: "example.org/local", checksums: [], origins: ["Go build information of jaco"] },
  );
  assert.deepEqual(information.facts, [
    ["compiler", "go1.26.8"],
    ["module", "example.org/seed"],
    ["CGO_ENABLED", "0"],
    ["GOARCH", "amd64"],
    ["GOOS", "linux"],
  ]);
});

test("the blob is found at the beginning of the data where there is no section of its own", async () => {
  const information = await read(elfProgram(wide, { data: Buffer.concat([Buffer.alloc(4096), goBlob]) }));
  assert.deepEqual(information.ecosystems, ["golang"]);
});

for (const shape of [wide, { is64: false, isLittle: true }, { is64: true, isLittle: false }, { is64: false, isLittle: false }]) {
  test(`the blob of Go before 1.18 is read through its pointers (${shape.is64 ? 64 : 32} bit, ${shape.isLittle ? "little" : "big"} endian)`, async () => {
    const blob = pointedGoBlob(shape, { goVersion: "go1.17.13", modules: "path\tx\nmod\texample.org/x\tv1.0.0\t\ndep\trsc.io/quote\tv1.5.2\th1:sum\n" });
    assert.deepEqual(purls(await read(elfProgram(shape, { data: blob }))), ["pkg:golang/stdlib@1.17.13", "pkg:golang/rsc.io/quote@v1.5.2"]);
  });
}

test("the same bytes far behind the beginning of the data are a text of the program, not Go's blob", async () => {
  const text = Buffer.concat([Buffer.alloc(128 * 1024), goBlob.subarray(0, 14), Buffer.alloc(64)]);
  const information = await read(elfProgram(wide, { data: text }));
  assert.deepEqual([information.ecosystems, information.warnings], [[], []]);
});

test("a program that was built without modules knows its compiler alone, and speaks for no ecosystem", async () => {
  const information = await read(
    elfProgram(wide, { data: pointedGoBlob(wide, { goVersion: "go1.19.8", modules: "path\texample.org/x\nbuild\tGOOS=linux\n" }) }),
  );
  assert.deepEqual([information.ecosystems, purls(information)], [[], ["pkg:golang/stdlib@1.19.8"]]);
});

test("a replaced module stands as what was linked, and quoted settings are read", () => {
  const parsed = parseModules('dep\ta.example/a\tv1.0.0\n=>\tb.example/b\tv2.0.0\th1:x\nbuild\t-ldflags="-X main.v=\\"1\\""\nnews\tignored\n');
  assert.deepEqual(parsed.modules, [{ path: "b.example/b", version: "v2.0.0", sum: "h1:x" }]);
  assert.deepEqual(parsed.settings, [["-ldflags", '-X main.v="1"']]);
});

test("the crates of a Rust program are those that cargo auditable wrote down, without the ones that only its build used", async () => {
  const information = await read(elfProgram(wide, { sections: [{ name: ".dep-v0", bytes: crates }] }));
  assert.deepEqual(information.ecosystems, ["cargo"]);
  assert.deepEqual(purls(information), ["pkg:cargo/hex@0.4.3", "pkg:cargo/itoa@1.0.18"]);
  assert.deepEqual(information.facts, [["crate", "seed 0.1.0"]]);
});

test("a file that is no program, or a program of another language, has nothing to say", async () => {
  for (const bytes of [Buffer.from("#!/bin/sh\n"), Buffer.alloc(4096), elfProgram(wide, {}), Buffer.from(`MZ${"\0".repeat(200)}`, "latin1")]) {
    assert.deepEqual(await read(bytes), { ecosystems: [], components: [], facts: [], warnings: [] });
  }
});

/** Every one of them must end in a warning: a wrong SBOM or a crash would be worse. */
const damagedPrograms: readonly (readonly [string, () => Buffer])[] = [
  ["cut inside its section headers", () => elfProgram(wide, { sections: [{ name: ".go.buildinfo", bytes: goBlob }] }).subarray(0, -40)],
  ["with a module text that is longer than the file", () => elfProgram(wide, { sections: [{ name: ".go.buildinfo", bytes: changed(goBlob, 42, 0x7f) }] })],
  ["with a module text without its marks", () => elfProgram(wide, { sections: [{ name: ".go.buildinfo", bytes: changed(goBlob, 41, 0xff) }] })],
  [
    "with a text length that never ends",
    () => elfProgram(wide, { sections: [{ name: ".go.buildinfo", bytes: Buffer.concat([goBlob.subarray(0, 32), Buffer.alloc(64, 0xff)]) }] }),
  ],
  ["with pointers to nowhere", () => elfProgram(wide, { data: changed(pointedGoBlob(wide, { goVersion: "go1.17", modules: "" }), 22, 0x7f) })],
  ["with section headers behind its end", () => changed(elfProgram(wide, {}), 44, 0x7f)],
  ["with crates that are no zlib", () => elfProgram(wide, { sections: [{ name: ".dep-v0", bytes: Buffer.from("not zlib") }] })],
  ["with crates of an unknown shape", () => elfProgram(wide, { sections: [{ name: ".dep-v0", bytes: deflateSync('{"packages":[{"name":1}]}') }] })],
  ["with crates that inflate without end", () => elfProgram(wide, { sections: [{ name: ".dep-v0", bytes: deflateSync(Buffer.alloc(80 * 1024 * 1024)) }] })],
  ["of Mach-O with load commands past their size", () => machOWithCommands(0xffff_ffff)],
  ["of Mach-O with more load commands than bytes", () => machOWithCommands(8)],
];

function changed(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = value;
  return copy;
}

function machOWithCommands(size: number): Buffer {
  const bytes = Buffer.alloc(128);
  bytes.writeUInt32LE(0xfeedfacf, 0);
  bytes.writeUInt32LE(1000, 16);
  bytes.writeUInt32LE(size, 20);
  return bytes;
}

for (const [what, bytes] of damagedPrograms) {
  test(`a program ${what} has no components and a warning`, async () => {
    const information = await read(bytes());
    assert.deepEqual([information.ecosystems, information.components], [[], []]);
    assert.match(information.warnings.join("\n"), /^jaco: .+; its build information is left out$/);
  });
}

test("a name section that points elsewhere cannot make an endless or huge read", async () => {
  const program = elfProgram(wide, { sections: [{ name: ".go.buildinfo", bytes: goBlob }] });
  for (let at = 0; at < 64; at += 1) {
    const information = await read(changed(program, at, 0xff));
    assert.ok(information.components.length <= 5);
  }
});

test("Go's own tools and we read the same modules in real programs for five systems", { timeout: 300_000 }, async (t) => {
  if (findProgram("go") === undefined) {
    t.skip("missing real client: go; install golang to compare with it");
    return;
  }
  const source = join(folder, "source");
  mkdirSync(join(source, "local"), { recursive: true });
  writeFileSync(join(source, "go.mod"), "module example.org/seed\n\ngo 1.18\n\nrequire example.org/local v0.1.0\n\nreplace example.org/local => ./local\n");
  writeFileSync(join(source, "main.go"), 'package main\n\nimport "example.org/local"\n\nfunc main() { println(local.Answer()) }\n');
  writeFileSync(join(source, "local/go.mod"), "module example.org/local\n");
  writeFileSync(join(source, "local/local.go"), "package local\n\nfunc Answer() int { return 42 }\n");
  const go = (env: Record<string, string>, ...args: readonly string[]): string =>
    execFileSync("go", args, { cwd: source, encoding: "utf8", env: { ...process.env, GOPROXY: "off", GOFLAGS: "-mod=mod", CGO_ENABLED: "0", ...env } });
  const built = new Map<string, string>();
  for (const target of ["linux/amd64", "linux/386", "linux/s390x", "darwin/arm64", "windows/amd64"]) {
    const [GOOS = "", GOARCH = ""] = target.split("/");
    const path = join(folder, `seed-${GOOS}-${GOARCH}`);
    go({ GOOS, GOARCH }, "build", "-ldflags=-s -w", "-o", path, ".");
    built.set(target, path);
    const information = await readProgramInformation(path, "seed");
    const said = go({}, "version", "-m", path);
    const version = /: (go\S+)/.exec(said)?.[1];
    assert.deepEqual(information.warnings, []);
    assert.deepEqual(
      information.facts.slice(0, 2),
      [
        ["compiler", version],
        ["module", "example.org/seed"],
      ],
      target,
    );
    assert.deepEqual(
      information.facts.filter(([name]) => name.startsWith("GO")),
      [
        ["GOARCH", GOARCH],
        ["GOOS", GOOS],
      ],
      target,
    );
    assert.deepEqual(
      information.components.map((component) => component.name),
      ["stdlib", "example.org/local"],
      target,
    );
  }
  const thin = readFileSync(built.get("darwin/arm64") ?? "");
  const header = Buffer.alloc(4096);
  for (const [index, word] of [0xcafebabe, 1, 0x0100000c, 0, header.length, thin.length, 12].entries()) header.writeUInt32BE(word, index * 4);
  assert.deepEqual((await read(Buffer.concat([header, thin]))).ecosystems, ["golang"], "a universal Mach-O program");
});
