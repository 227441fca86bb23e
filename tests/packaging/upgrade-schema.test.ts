/** The recipe's `upgrade:` section: refused with its place where it makes no sense, and signed into release.json where it does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SlipwayError } from "../../src/model/errors.ts";
import { manifestSchema } from "../../src/model/manifest.ts";
import { loadRecipe } from "../../src/packaging/recipe.ts";
import { contractOf } from "../../src/packaging/upgrade-schema.ts";
import { buildIn, planIn, sampleProduct, sampleRecipe } from "./fixture.ts";

const declared = `upgrade:
  from: previous-line
  waypoint: true
  mixed_with: ["1.4"]
  epochs:
    state: { read: [3, 4], write: 4 }
  migration: { reversible: false, backward_readable: false }
  state:
    - { name: data, path: /var/lib/acme, exclude: [cache] }
    - name: database
      kind: cmd
      dump: [pg_dump, -Fc, "--file={file}", acme]
      inspect: [pg_restore, --list, "{file}"]
      restore: [pg_restore, --clean, --create, --if-exists, --dbname=postgres, "{file}"]
  outcomes:
    - name: grading
      checks:
        - name: answers
          http: { url: "http://127.0.0.1:8080/metrics" }
        - name: task
          roundtrip:
            create: { url: "http://127.0.0.1:8080/jobs", body: "{}", json: id }
            poll: { url: "http://127.0.0.1:8080/jobs/{id}", json: state }
            expect: [done]
`;

test("K1 K3 K6 what the recipe promises about upgrades stands in the built release.json, as every updater reads it", async (t) => {
  const folder = await sampleProduct(t, `${sampleRecipe}${declared}`);
  const { manifest } = await buildIn(folder, await planIn(folder, "1.5.0"));
  assert.deepEqual(manifest.compat, { upgradeFrom: "previous-line", epochs: { state: { read: [3, 4], write: 4 } }, mixedWith: ["1.4"], waypoint: true });
  assert.deepEqual(manifest.migration, { reversible: false, backwardReadable: false });
  assert.deepEqual(
    manifest.state?.map(({ name, kind }) => [name, kind]),
    [
      ["data", "dir"],
      ["database", "cmd"],
    ],
  );
  assert.deepEqual(
    manifest.outcomes?.map(({ name, checks }) => [name, checks.length]),
    [["grading", 2]],
  );
  assert.deepEqual(manifestSchema.parse(JSON.parse(JSON.stringify(manifest))), manifest);
  assert.deepEqual(contractOf(undefined), {});
});

for (const [name, from, to, message] of [
  ["a range that is none", "from: previous-line", "from: yesterday", /upgrade\.from.*range of versions/],
  ["a format that it writes and does not read", "read: [3, 4]", "read: [3]", /must read what it writes/],
  ["a section without a place", "path: /var/lib/acme, ", "", /dir and file need path/],
  ["a path with ..", "/var/lib/acme", "/var/lib/../etc", /must not have \. and \.\./],
  ["a dump without {file}", "--file={file}", "--file=/tmp/x", /must name \{file\}/],
  ["a section twice", "name: database", "name: data", /same name/],
  ["an outcome that is called auto", "name: grading", "name: auto", /auto is the word/],
  ["a check of two kinds", "http: {", "tcp: { port: 1 }\n          http: {", /exactly one of/],
  ["a poll that reads nothing", '{id}", json: state', '{id}"', /what is read from the answer/],
  ["an unknown key", "waypoint:", "waypint:", /waypint/],
] as const) {
  test(`a recipe whose upgrade: has ${name} is refused with its place`, () => {
    const text = declared.replace(from, to);
    assert.notEqual(text, declared);
    assert.throws(
      () => loadRecipe(`${sampleRecipe}${text}`, "slipway.yaml"),
      (error) =>
        error instanceof SlipwayError &&
        error.code === "recipe_invalid" &&
        /slipway\.yaml:\d+/.test(error.place ?? "") &&
        message.test(`${error.message} ${error.hint}`),
    );
  });
}
