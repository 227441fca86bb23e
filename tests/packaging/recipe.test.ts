/** Reading slipway.yaml: what is accepted, and that every mistake is named with its line and column. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { loadRecipe, recipeSizeLimit } from "../../src/packaging/recipe.ts";
import { RecipeError } from "../../src/packaging/recipe-error.ts";
import { sampleRecipe } from "./fixture.ts";

const problemsOf = (text: string): readonly string[] => {
  try {
    loadRecipe(text, "slipway.yaml");
    return [];
  } catch (error) {
    assert.ok(error instanceof RecipeError, String(error));
    assert.equal(error.code, "recipe_invalid");
    assert.equal(error.exitCode, 2);
    return error.problems.map((problem) => `${problem.place} ${problem.message}`);
  }
};

test("the sample recipe is read: templates, modes, targets and dependencies are values", () => {
  const recipe = loadRecipe(sampleRecipe, "slipway.yaml");
  assert.deepEqual(recipe.targets[3], { os: "windows", arch: "amd64" });
  assert.deepEqual(recipe.packages?.depends?.deb, [[{ name: "docker.io" }, { name: "docker-ce" }]]);
  assert.equal(recipe.placeOf(["packages", "depends", "deb", 0]), "slipway.yaml:25:11");
  assert.equal(recipe.placeOf(["packages", "nothing", "here"]), "slipway.yaml:12:1");
  assert.deepEqual(recipe.packages?.compression, { codec: "gzip", level: 6 });
  assert.equal(recipe.checksums, "SHA256SUMS");
});

/** What is replaced in the sample, by what, and the first problem that must be reported. */
const mistakes: readonly (readonly [name: string, from: string | RegExp, to: string, problem: string])[] = [
  ["an unknown key", "  depends:", "  depend:", 'slipway.yaml:24:3 unknown key "depend" under packages - did you mean "depends"?'],
  ["an unknown key at the top", "archives:", "archive:", 'slipway.yaml:10:1 unknown key "archive" at the top - did you mean "archives"?'],
  ["an unknown key of a file", "config:", "confg:", 'slipway.yaml:17:55 unknown key "confg" under packages.files /etc/acme/acme.yaml - did you mean "config"?'],
  [
    "a key of a later version",
    "archives:",
    "compatibility:",
    'slipway.yaml:10:1 "compatibility" at the top is not supported by this version and is refused instead of ignored; supported: name,',
  ],
  [
    "alternatives in a list for all formats, where apk is one of them",
    /\[deb, rpm\][\s\S]*$/,
    '[deb, apk]\n  depends: [libc, "docker.io | docker-ce"]\n',
    'slipway.yaml:14:19 packages.depends[1]: apk packages cannot have alternatives under "depends"',
  ],
  [
    "a dependency on a version that apk cannot compare (regression 11)",
    /\[deb, rpm\][\s\S]*$/,
    '[apk]\n  depends: { apk: ["libc >= 1.2.0-rc.1"] }\n',
    'slipway.yaml:14:20 packages.depends.apk[0]: apk packages cannot have the version 1.2.0-rc.1 under "depends"',
  ],
  [
    "advice that apk does not hear",
    /\[deb, rpm\][\s\S]*$/,
    "[apk]\n  recommends: { apk: [curl] }\n",
    'slipway.yaml:14:17 unknown key "apk" under packages.recommends',
  ],
  ["a release that apk cannot count", /\[deb, rpm\][\s\S]*$/, "[apk]\n  release: 1.el9\n", 'slipway.yaml:14:12 packages.release: "1.el9" has no apk form'],
  [
    "a ghost that is a configuration",
    "{ link: acme }",
    "{ ghost: true, config: noreplace }",
    "slipway.yaml:20:48 packages.files /usr/bin/acme-link config: is a file only with from",
  ],
  [
    "a trigger that dpkg cannot name",
    "  scripts:",
    "  triggers: { interest: [two words] }\n  scripts:",
    "slipway.yaml:22:26 packages.triggers.interest[0]: must be a trigger of dpkg",
  ],
  [
    "triggers without a deb",
    /\[deb, rpm\][\s\S]*$/,
    "[rpm]\n  triggers: { activate: [ldconfig] }\n",
    "slipway.yaml:14:3 packages.triggers: is for deb, which is not among the formats",
  ],
  ["debsigs without a key", "  scripts:", "  debsigs: true\n  scripts:", "slipway.yaml:22:12 packages.debsigs: needs an OpenPGP key: add sign.gpg"],
  [
    "a changelog of notes without notes",
    "  scripts:",
    "  changelog: notes\n  scripts:",
    "slipway.yaml:22:14 packages.changelog: needs to know where notes are: add notes.file",
  ],
  [
    "an xz level that does not exist",
    "  scripts:",
    "  compression: xz:10\n  scripts:",
    "slipway.yaml:22:16 packages.compression: must be gzip, gzip:1 to gzip:9",
  ],
  ["a misspelt format", "[deb, rpm]", "[debb, rpm]", 'slipway.yaml:13:13 packages.formats[0]: "debb" is not one of deb, rpm, apk - did you mean "deb"?'],
  ["a number for a text", "name: acme", "name: 12", "slipway.yaml:1:7 name: expected a text, got the number 12; put it in quotes"],
  ["a text for a list", "binaries: [acme, acmed]", "binaries: acme", "slipway.yaml:8:13 build.binaries: expected a list, got a text"],
  ["a text for keys", /build:\n.*\n.*\n/, "build: make\n", "slipway.yaml:6:8 build: expected keys with values, got a text"],
  ["a missing key", "summary: Answers questions\n", "", 'slipway.yaml:1:1 "summary" is missing'],
  ["a key twice", "license: Apache-2.0", "license: MIT\nlicense: MIT", 'slipway.yaml:5:1 the key "license" stands here twice'],
  ["a syntax error", "[deb, rpm]", "[deb, rpm", "slipway.yaml:14:3 Flow sequence in block collection"],
  ["two documents", "build:", "---\nbuild:", "slipway.yaml:6:1 Source contains multiple documents"],
  ["an alias", "name: acme", "name: *acme", "slipway.yaml:1:7 *acme: aliases are not part of a recipe; write the value out"],
  ["a list as a key", "name: acme", "[name]: acme", "slipway.yaml:1:1 a key must be a text"],
  ["a foreign tag", "name: acme", "name: !secret acme", "slipway.yaml:1:7 Unresolved tag: !secret"],
  ["a reserved name", "name: acme", "name: apt", 'slipway.yaml:1:7 name: "apt" is reserved'],
  ["a second line in a field", "summary: Answers questions", 'summary: "Answers\\nDepends: evil"', "slipway.yaml:2:10 summary: must be one line"],
  ["a maintainer without address", "Acme <release@acme.example>", "Acme", "slipway.yaml:3:13 maintainer: must be a name and an address"],
  ["an unknown architecture", "linux/arm64", "linux/arm65", 'slipway.yaml:5:24 targets[1]: "arm65" is not an architecture'],
  ["a target twice", "linux/arm64", "linux/x86_64", "slipway.yaml:5:24 targets[1]: linux/amd64 stands here twice"],
  ["an unknown placeholder", "{out}", "{outt}", "slipway.yaml:7:44 build.run: unknown placeholder {outt} - did you mean {out}?"],
  ["a placeholder out of place", "{bin}-{version}", "{out}-{version}", "slipway.yaml:9:12 binaries: {out} has no meaning here; known here: {name}"],
  [
    "a placeholder with a wrong word",
    "{os}-{arch}",
    "{os}-{arch:pacman}",
    "slipway.yaml:9:33 binaries: unknown placeholder {arch:pacman}; only {arch:gnu|deb|rpm|apk}",
  ],
  ["a shell's sign", "sh make.sh", "cd x && sh make.sh", 'slipway.yaml:7:13 build.run: "&" needs a shell and there is none here'],
  ["a tab in a command", "sh make.sh", "sh\tmake.sh", "slipway.yaml:7:8 build.run: must be one line"],
  ["an open quote", "sh make.sh", "sh 'make.sh", "slipway.yaml:7:11 build.run: the quote ' is never closed"],
  ["a command whose result goes nowhere", "{out}", "", "slipway.yaml:7:8 build.run: must say where the result goes"],
  ["neither command nor path", /  run: .*\n/, "", "slipway.yaml:7:3 build: needs run (a command) or prebuilt (a path)"],
  ["a mode that YAML reads as a number", '"0640"', "0640", "slipway.yaml:17:80 packages.files /etc/acme/acme.yaml mode: must be a file mode in quotes"],
  ["a mode that is none", '"0640"', '"0840"', 'slipway.yaml:17:81 packages.files /etc/acme/acme.yaml mode: "0840" is not a file mode'],
  ["a relative destination", "/var/lib/acme:", "var/lib/acme:", "slipway.yaml:21:5 packages.files var/lib/acme: must be an absolute path without . and .."],
  ["a destination that climbs", "/var/lib/acme:", "/var/lib/../acme:", "slipway.yaml:21:5 packages.files /var/lib/../acme: must be an absolute path"],
  ["many files into one", "/usr/bin/:", "/usr/bin:", "slipway.yaml:15:5 packages.files /usr/bin: several files need a folder to go into"],
  [
    "two kinds of one entry",
    "{ link: acme }",
    "{ link: acme, directory: true }",
    "slipway.yaml:20:25 packages.files /usr/bin/acme-link: needs exactly one of from, link, directory and ghost",
  ],
  [
    "an impossible dependency",
    "docker.io | docker-ce",
    "docker.io >> 3 3",
    'slipway.yaml:25:11 packages.depends.deb[0]: "docker.io >> 3 3" is not a dependency',
  ],
  [
    "a file as a Debian dependency",
    "docker.io | docker-ce",
    "/usr/bin/docker",
    "slipway.yaml:25:11 packages.depends.deb[0]: deb packages cannot have the name /usr/bin/docker",
  ],
  ["an unknown compression", "formats: [deb, rpm]", "formats: [deb, rpm]\n  compression: brotli", "slipway.yaml:14:16 packages.compression: must be gzip"],
  [
    "a key in place of its name",
    "archives:",
    "sign: { minisign: RWRTY0IyEQ== }\narchives:",
    "slipway.yaml:10:19 sign.minisign: a key is named as env:NAME, file:PATH, key:NAME, agent:gpg:FINGERPRINT or command:PATH",
  ],
  ["a checksum file with a folder", "archives:", "checksums: ../SUMS\narchives:", 'slipway.yaml:10:12 checksums: "../SUMS" is not an artifact name'],
  ["nothing to make", /(binaries: "|archives:)[\s\S]*/, "", "slipway.yaml:1:1 the recipe makes nothing"],
  [
    "packages without linux",
    "[linux/amd64, linux/arm64, darwin/arm64, windows/amd64]",
    "[darwin/arm64]",
    "slipway.yaml:13:12 packages.formats: packages need a linux target",
  ],
];

for (const [name, from, to, problem] of mistakes) {
  test(`a recipe with ${name} is refused at its place`, () => {
    const changed = sampleRecipe.replace(from, () => to);
    assert.notEqual(changed, sampleRecipe);
    const [first] = problemsOf(changed);
    assert.ok(first?.startsWith(problem), `expected ${problem}\n     got ${first}`);
  });
}

test("all problems are reported at once, in the order of the file", () => {
  const changed = sampleRecipe.replace("name: acme", "name: 1").replace("  depends:", "  depend:").replace("{os}", "{so}");
  assert.deepEqual(
    problemsOf(changed).map((problem) => problem.split(" ")[0]),
    ["slipway.yaml:1:7", "slipway.yaml:9:28", "slipway.yaml:24:3"],
  );
});

test("an error with several problems shows the first as its message and the others in the hint", () => {
  const changed = sampleRecipe.replace("name: acme", "name: 1").replace("  depends:", "  depend:");
  assert.throws(
    () => loadRecipe(changed, "slipway.yaml"),
    (error: RecipeError) => {
      assert.equal(error.place, "slipway.yaml:1:7");
      assert.match(error.hint, /^also slipway\.yaml:24:3 unknown key "depend"/);
      assert.equal(error.toJSON().problems.length, 2);
      return true;
    },
  );
});

test("a secret that stands in the recipe by mistake does not come back in the message", () => {
  const [problem] = problemsOf(sampleRecipe.replace("archives:", "sign: { gpg: s3cr3t-key-material }\narchives:"));
  assert.ok(problem !== undefined && !problem.includes("s3cr3t"), problem);
});

test("octal numbers and quoted modes mean the same, with setuid where it is written", () => {
  for (const [written, mode] of [
    ['"0640"', 0o640],
    ["0o640", 0o640],
    ['"640"', 0o640],
    ['"4755"', 0o4755],
    ['"0o755"', 0o755],
  ] as const) {
    const value = loadRecipe(sampleRecipe.replace('"0640"', written), "slipway.yaml").packages?.files["/etc/acme/acme.yaml"];
    assert.equal(value !== undefined && "mode" in value ? value.mode : undefined, mode, written);
  }
});

test("an empty file, a text and a list are no recipe", () => {
  for (const text of ["", "just text", "- a\n- b\n", "~"]) assert.equal(problemsOf(text).length, 1, JSON.stringify(text));
});

test("a recipe may be as large as the limit of its reader without taking long", () => {
  const text = `${sampleRecipe}# ${"x".repeat(recipeSizeLimit - sampleRecipe.length - 3)}\n`;
  assert.equal(loadRecipe(text, "slipway.yaml").name, "acme");
});

test("whatever is cut out of a recipe and put in instead, it loads or is refused with a place in the file", () => {
  const pieces = [
    "",
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    "\n",
    "\t",
    "'",
    '"',
    "&a ",
    "*a",
    "!t ",
    "| ",
    "0x1f",
    "~",
    "null",
    "{out}",
    "{",
    "\u0000",
    "\u2028",
    "😀",
    "<<: ",
    "? ",
    "%YAML 1.1\n",
  ];
  const edit = fc.tuple(fc.nat(sampleRecipe.length), fc.nat(30), fc.constantFrom(...pieces));
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      const text = edits.reduce((changed, [start, length, piece]) => changed.slice(0, start) + piece + changed.slice(start + length), sampleRecipe);
      for (const problem of problemsOf(text)) assert.match(problem, /^slipway\.yaml:[1-9]\d*:[1-9]\d* ./u);
    }),
    { numRuns: 400 },
  );
});
