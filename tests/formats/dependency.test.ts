/** Dependencies: parsed once, printed in each format's own words, refused where a format cannot say them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { apkDependency, debDependency, parseDependency, rpmDependency } from "../../src/formats/dependency.ts";

const rpm = (text: string): string => {
  const { name, operator, version } = rpmDependency(parseDependency(text), "depends");
  return operator === undefined ? name : `${name} ${operator} ${version}`;
};

const table = [
  { text: "libc6", deb: "libc6", rpm: "libc6", apk: "libc6" },
  { text: "foo (>= 1.2)", deb: "foo (>= 1.2)", rpm: "foo >= 1.2", apk: "foo>=1.2" },
  { text: "foo >= 1.2", deb: "foo (>= 1.2)", rpm: "foo >= 1.2", apk: "foo>=1.2" },
  { text: "foo (<< 2)", deb: "foo (<< 2)", rpm: "foo < 2", apk: "foo<2" },
  { text: "foo > 2", deb: "foo (>> 2)", rpm: "foo > 2", apk: "foo>2" },
  { text: "docker.io | docker-ce | docker-engine", deb: "docker.io | docker-ce | docker-engine", rpm: "(docker.io or docker-ce or docker-engine)" },
  { text: "docker.io|docker-ce (>= 20)", deb: "docker.io | docker-ce (>= 20)", rpm: "(docker.io or docker-ce >= 20)" },
  { text: "python3:any", deb: "python3:any", rpm: "python3:any" },
  { text: "/usr/bin/docker", rpm: "/usr/bin/docker" },
  { text: "perl(Foo::Bar) >= 1:2.0-3", rpm: "perl(Foo::Bar) >= 1:2.0-3" },
] as const;

test("J4 one dependency is printed in each format's own words", () => {
  for (const row of table) {
    const parsed = parseDependency(row.text);
    if ("deb" in row) assert.equal(debDependency(parsed, "depends"), row.deb);
    else assert.throws(() => debDependency(parsed, "depends"), { code: "recipe_invalid" });
    assert.equal(rpm(row.text), row.rpm);
    if ("apk" in row) assert.equal(apkDependency(parsed, "depends"), row.apk);
  }
});

test("what is no dependency is refused with recipe_invalid", () => {
  for (const text of ["", "|", "a |", "a (>= )", "a (~> 1)", "a b", "a (>= 1) b", "a\nb", "a, b", "(a or b)", "a (== 1)", "a (>= 1 2)", "-a"]) {
    assert.throws(() => parseDependency(text), { code: "recipe_invalid" }, JSON.stringify(text));
  }
});

test("an apk dependency with a version that apk cannot parse would break the whole package and is refused (regression 11)", () => {
  assert.equal(apkDependency(parseDependency("foo (>= 1.2.0_pre3-r1)"), "depends"), "foo>=1.2.0_pre3-r1");
  assert.equal(apkDependency(parseDependency("foo"), "conflicts"), "!foo");
  for (const version of ["1.2.0-preview3", "1.2.0_beta.2", "1.2.0+build5", "v1.2.0", "1.2.0~abc"]) {
    assert.throws(() => apkDependency(parseDependency(`foo (>= ${version})`), "depends"), { code: "recipe_invalid" });
  }
  assert.throws(() => apkDependency(parseDependency("a | b"), "depends"), { code: "recipe_invalid" });
});
