/** The installation file: strict, with places; and what the updater's import closure may hold. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { test } from "node:test";
import { findInstallation, loadInstallation } from "../../src/updater/installation.ts";
import { failure } from "./support.ts";

const good = `product: toy
root: opt
source: { url: "https://releases.example.com" }
trust: { minisign: [RWQAAAA] }
health:
  checks:
    - command: { argv: [toy, --version], version: "(.*)" }
`;

async function load(text: string): Promise<unknown> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-installation-"));
  try {
    const file = join(folder, "i.yaml");
    await writeFile(file, text);
    return await loadInstallation(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("a short file is enough; what it does not say has a safe default", async () => {
  const installation = (await load(good)) as Awaited<ReturnType<typeof loadInstallation>>;
  assert.deepEqual(
    [
      installation.channel,
      installation.strategy,
      installation.stateDir,
      installation.health.bake_seconds,
      installation.health.tries,
      installation.keep_previous,
    ],
    ["stable", "versions", "/var/lib/toy", 30, 3, 2],
  );
  assert.match(installation.root, /slipway-installation-.*\/opt$/);
});

for (const [name, text, place, message] of [
  ["an unknown key", good.replace("root:", "rooot:"), ":2:1", /unknown key "rooot" - did you mean "root"\?/],
  ["an unknown key below", good.replace("trust: {", "trust: { minisgn: [],"), ":4:10", /unknown key "minisgn" under trust - did you mean "minisign"\?/],
  ["a wrong type", good.replace("root: opt", "root: 5"), ":2:7", /root/],
  ["a secret in the file", good.replace('com" }', 'com", key_id: a, secret: hunter2 }'), ":3:", /env:NAME or file:PATH/],
  ["a URL with a password", good.replace("https://", "https://a:b@"), ":3:", /must not carry a user/],
  ["no check that reads the version", good.replace(', version: "(.*)"', ""), ":7:5", /at least one check must read the version/],
  ["no key at all", good.replace("[RWQAAAA]", "[]"), "", /nothing is installed unsigned/],
  ["a key twice", `${good}product: other\n`, ":8:1", /unique/i],
  ["half an access pair", good.replace('com" }', 'com", key_id: a }'), "", /go together/],
  ["state inside what is backed up", `${good}state_dir: /var/lib/toy\nbackup: { paths: [/var/lib] }\n`, "", /lie inside each other/],
  ["broken YAML", `${good}  : [`, ":8", /./],
  ["a stop without a start", `${good}service: { stop: [x] }\n`, ":8:10", /both stop and start/],
] as const) {
  test(`the installation file with ${name} is refused with its place`, async () => {
    const error = await failure(load(text), "installation_invalid");
    assert.equal(error.exitCode, 2);
    assert.match(`${error.message} ${error.hint}`, message);
    assert.ok(error.place?.includes(place), `${error.place ?? "no place"} should hold ${place}`);
    assert.doesNotMatch(error.message, /hunter2/);
  });
}

test("a missing file says where it was looked for", async () => {
  const error = await failure(findInstallation(undefined, "/nonexistent"), "installation_invalid");
  assert.match(error.message, /slipway-installation\.yaml/);
});

test("the updater's import closure holds only model, formats, trust and io, and none of the server's libraries", async () => {
  const source = resolve(import.meta.dirname, "../../src");
  const files = new Set<string>();
  const modules = new Set<string>();
  const visit = async (file: string): Promise<void> => {
    if (files.has(file)) return;
    files.add(file);
    const imports = (await readFile(file, "utf8")).matchAll(/^(?:import|export)\b[^'"]*?from "([^"]+)"|^import "([^"]+)"|import\("([^"]+)"\)/gm);
    for (const found of imports) {
      const name = found[1] ?? found[2] ?? found[3] ?? "";
      if (/^\.{1,2}\//.test(name)) await visit(resolve(dirname(file), name));
      else if (/^[@a-z][a-z0-9@/._-]*$/.test(name) && !name.startsWith("node:")) modules.add(name);
    }
  };
  await visit(join(source, "updater/updater.ts"));
  const areas = new Set([...files].map((file) => file.slice(source.length + 1).split("/")[0]));
  assert.deepEqual(
    [...areas].toSorted((left = "", right = "") => left.localeCompare(right)),
    ["formats", "io", "model", "trust", "updater"],
  );
  assert.ok(files.size > 30, `${files.size} files were seen`);
  for (const name of modules)
    assert.ok(
      name.startsWith("semver") ||
        [
          "zod",
          "yaml",
          "@tufjs/models",
          "openpgp",
          "xz-decompress",
          "@noble/hashes/blake2.js",
          "@sigstore/bundle",
          "@sigstore/protobuf-specs",
          "@sigstore/verify",
        ].includes(name),
      `${name} is in the updater's closure`,
    );
});
