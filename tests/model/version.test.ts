/** Versions: parsing, one order, and the spelling in each format, with dpkg and rpm as judges of the order. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import * as fc from "fast-check";
import { SlipwayError } from "../../src/model/errors.ts";
import {
  apkVersion,
  compareVersions,
  debVersion,
  fileVersion,
  isStable,
  lineOf,
  newestStable,
  ociTag,
  parseVersion,
  rpmVersion,
  type Version,
  versionFromDescribe,
} from "../../src/model/version.ts";
import { needClient } from "../support/clients.ts";
import { versionCases } from "./version-cases.ts";

/** In ascending order. */
const ordered = [
  "1.2.0-alpha",
  "1.2.0-alpha.1",
  "1.2.0-alpha.2",
  "1.2.0-beta.2",
  "1.2.0-beta.10",
  "1.2.0-preview3",
  "1.2.0-preview10",
  "1.2.0-rc.1",
  "1.2.0",
  "1.2.1-git.5.gabc1234",
  "1.2.1",
  "1.9.0",
  "1.10.0",
  "2.0.0",
].map(parseVersion);

test("C2 tags are vMAJOR.MINOR.PATCH; anything else is refused with its own text", () => {
  assert.equal(parseVersion("v1.4.2"), "1.4.2");
  assert.equal(parseVersion("1.4.2-rc.1+build.5"), "1.4.2-rc.1+build.5");
  for (const bad of ["", "1.4", "v", "1.4.2.1", "01.2.3", "1.2.3-", "1.2.3 ", "latest", "1.2.3-ä", "1".repeat(200)]) {
    assert.throws(
      () => parseVersion(bad),
      (error: unknown) => error instanceof SlipwayError && error.code === "version_invalid",
      bad,
    );
  }
});

test("the order is total and numeric at the end of words: preview10 comes after preview9, 1.10 after 1.9", () => {
  for (const [i, left] of ordered.entries()) {
    for (const [j, right] of ordered.entries()) assert.equal(compareVersions(left, right), Math.sign(i - j), `${left} against ${right}`);
  }
});

test("dpkg orders the Debian spellings as we order the versions", (t) => {
  if (!needClient(t, "dpkg")) return;
  for (let index = 1; index < ordered.length; index += 1) {
    const [lower, higher] = [ordered[index - 1] as Version, ordered[index] as Version];
    const result = spawnSync("dpkg", ["--compare-versions", debVersion(lower), "lt", debVersion(higher)]);
    assert.equal(result.status, 0, `dpkg: ${debVersion(lower)} lt ${debVersion(higher)}`);
  }
});

test("rpm orders the rpm spellings as we order the versions", (t) => {
  if (!needClient(t, "rpm")) return;
  for (let index = 1; index < ordered.length; index += 1) {
    const [lower, higher] = [ordered[index - 1] as Version, ordered[index] as Version];
    const result = spawnSync("rpm", ["--eval", `%{lua:print(rpm.vercmp("${rpmVersion(lower)}", "${rpmVersion(higher)}"))}`], { encoding: "utf8" });
    assert.equal(result.stdout.trim(), "-1", `rpm: ${rpmVersion(lower)} against ${rpmVersion(higher)}`);
  }
});

test("C3 latest is the newest stable version, never a preview", () => {
  assert.equal(newestStable(["1.2.0", "1.10.0", "2.0.0-rc.1", "1.9.9"].map(parseVersion)), "1.10.0");
  assert.equal(newestStable([parseVersion("2.0.0-rc.1")]), undefined);
  assert.equal(isStable(parseVersion("1.0.0-preview3")), false);
  assert.equal(isStable(parseVersion("1.0.0+build")), true);
  assert.equal(lineOf(parseVersion("1.4.2")), "1.4");
});

test("a git describe snapshot sorts after its tag and before the next patch", () => {
  assert.equal(versionFromDescribe("v1.2.0"), "1.2.0");
  assert.equal(versionFromDescribe("v1.2.0-5-gabc1234"), "1.2.1-git.5.gabc1234");
  assert.equal(versionFromDescribe("v1.2.0-5-gabc1234-dirty"), "1.2.1-git.5.gabc1234.dirty");
  assert.equal(versionFromDescribe("v2.0.0-rc.1-3-gabc1234"), "2.0.0-rc.1.git.3.gabc1234");
});

test("each format has its own spelling, and an unknown word has no apk form (regression 10, 21)", () => {
  for (const { tag, version: text, deb, rpm, apk, oci, file } of versionCases) {
    const version = parseVersion(text);
    assert.equal(versionFromDescribe(tag), version);
    assert.deepEqual([debVersion(version), rpmVersion(version), ociTag(version), fileVersion(version)], [deb, rpm, oci, file]);
    assert.doesNotMatch(file, /[~+]/, "regression 21");
    if (apk === undefined) assert.throws(() => apkVersion(version), /has no apk form/);
    else assert.equal(apkVersion(version), apk);
  }
});

test("any two versions compare the same from both sides", () => {
  const word = fc.stringMatching(/^(0|[1-9]\d{0,3}|[a-z][a-z0-9]{0,5})$/);
  const version = fc
    .record({ core: fc.tuple(fc.nat(50), fc.nat(50), fc.nat(50)), pre: fc.array(word, { maxLength: 3 }) })
    .map(({ core, pre }) => parseVersion(`${core.join(".")}${pre.length === 0 ? "" : `-${pre.join(".")}`}`));
  fc.assert(
    fc.property(version, version, (a, b) => compareVersions(a, b) === -compareVersions(b, a) || (compareVersions(a, b) === 0 && compareVersions(b, a) === 0)),
  );
});
