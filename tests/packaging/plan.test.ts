/** The plan: every artifact's name before anything is built, and what makes a plan impossible. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { sourceName } from "../../src/packaging/file-rules.ts";
import { parseBuildableKinds, planRelease, type PlanRequest } from "../../src/packaging/plan.ts";
import { loadRecipe } from "../../src/packaging/recipe.ts";
import { epochSeconds, sampleRecipe } from "./fixture.ts";

const plan = (text: string, version = "1.4.2", request: Partial<PlanRequest> = {}) =>
  planRelease({ recipe: loadRecipe(text, "slipway.yaml"), version: parseVersion(version), epochSeconds, ...request });

const namesOf = (text: string, version?: string, request?: Partial<PlanRequest>): readonly string[] => {
  const made = plan(text, version, request);
  return [...made.artifacts, ...made.records].map((one) => one.name);
};

const example = (name: string, file = "slipway.yaml"): Promise<string> => readFile(new URL(`../../examples/${name}/${file}`, import.meta.url), "utf8");

test("J1 the recipe of JACO plans exactly the names that the document gives", async () => {
  assert.deepEqual(namesOf(await example("jaco"), "0.2.0").toSorted(), [
    "SHA256SUMS",
    "SHA256SUMS.minisig",
    "jaco-0.2.0-1.aarch64.rpm",
    "jaco-0.2.0-1.x86_64.rpm",
    "jaco-v0.2.0-linux-amd64.tar.gz",
    "jaco-v0.2.0-linux-arm64.tar.gz",
    "jaco_0.2.0_aarch64.apk",
    "jaco_0.2.0_amd64.deb",
    "jaco_0.2.0_arm64.deb",
    "jaco_0.2.0_x86_64.apk",
    "release.json",
  ]);
});

test("J1 J3 read to the letter, every name says amd64 or arm64 and every path is the document's", async () => {
  const made = plan(await example("jaco", "as-documented.yaml"), "0.2.0");
  assert.deepEqual(
    made.artifacts.map(({ name }) => name).toSorted(),
    ["amd64", "arm64"]
      .flatMap((arch) => [`jaco_0.2.0_${arch}.deb`, `jaco-0.2.0-1.${arch}.rpm`, `jaco_0.2.0_${arch}.apk`, `jaco-v0.2.0-linux-${arch}.tar.gz`])
      .toSorted(),
  );
  for (const artifact of made.artifacts) {
    if (artifact.kind !== "deb" && artifact.kind !== "rpm" && artifact.kind !== "apk") continue;
    const destinations = artifact.rules.map((rule) =>
      rule.kind === "copy" && rule.destination.endsWith("/") ? rule.destination + sourceName(rule) : rule.destination,
    );
    assert.deepEqual(destinations, ["/usr/local/bin/jaco", "/usr/local/bin/jacod", "/lib/systemd/system/jaco.service", "/etc/jaco/jacod.yaml"]);
  }
});

test("C1 the recipe of Coequal plans packages, six single files and one image", async () => {
  assert.deepEqual(namesOf(await example("coequal"), "1.4.2").toSorted(), [
    "SHA256SUMS",
    "SHA256SUMS.sig",
    "coequal-1.4.2-1.aarch64.rpm",
    "coequal-1.4.2-1.x86_64.rpm",
    "coequal-1.4.2-darwin-amd64",
    "coequal-1.4.2-darwin-arm64",
    "coequal-1.4.2-linux-amd64",
    "coequal-1.4.2-linux-arm64",
    "coequal-1.4.2-oci.tar",
    "coequal-1.4.2-windows-amd64.exe",
    "coequal-1.4.2-windows-arm64.exe",
    "coequal_1.4.2_amd64.deb",
    "coequal_1.4.2_arm64.deb",
    "release.json",
  ]);
});

test("K11 the recipe of Carapace plans the names that its installers ask for, and the notes of the tag", async () => {
  const made = plan(await example("carapace"), "0.2.0");
  assert.deepEqual([...made.artifacts, ...made.records].map((one) => one.name).toSorted(), [
    "RELEASE-NOTES.md",
    "SHA256SUMS.txt",
    "SHA256SUMS.txt.minisig",
    "cara-aarch64-darwin",
    "cara-aarch64-linux",
    "cara-x86_64-darwin",
    "cara-x86_64-linux",
    "cara-x86_64-windows.exe",
    "release.json",
  ]);
  assert.deepEqual(made.artifacts.find((artifact) => artifact.kind === "notes")?.inputs, ["docs/releases/v0.2.0.md"]);
});

test("J7 one kind for one target in a given version, as for a local preview", async () => {
  const names = namesOf(await example("jaco"), "0.1.0", { only: ["deb", "rpm"], targets: [{ os: "linux", arch: "arm64" }], isUnsigned: true });
  assert.deepEqual(names, ["jaco_0.1.0_arm64.deb", "jaco-0.1.0-1.aarch64.rpm", "release.json", "SHA256SUMS"]);
});

test("archives are zip on windows and tar.gz elsewhere, unless their name says otherwise", () => {
  const archives = (text: string) => plan(text).artifacts.flatMap((artifact) => (artifact.kind === "archive" ? [[artifact.name, artifact.container]] : []));
  assert.deepEqual(archives(sampleRecipe), [
    ["acme-1.4.2-linux-amd64.tar.gz", "tar.gz"],
    ["acme-1.4.2-linux-arm64.tar.gz", "tar.gz"],
    ["acme-1.4.2-darwin-arm64.tar.gz", "tar.gz"],
    ["acme-1.4.2-windows-amd64.zip", "zip"],
  ]);
  const zipped = sampleRecipe.replace("  - files:", '  - name: "{name}_{tag}_{os}_{arch:gnu}.zip"\n    files:');
  assert.deepEqual(archives(zipped)[0], ["acme_v1.4.2_linux_x86_64.zip", "zip"]);
});

test("no artifact name holds ~ or +, in whatever version (regression 21)", () => {
  for (const version of ["1.2.0-preview3", "1.2.0-rc.1", "1.2.0+build.5", "1.2.1-git.5.gabc1234"]) {
    for (const name of namesOf(sampleRecipe, version)) assert.match(name, /^[A-Za-z0-9._-]+$/);
  }
  assert.ok(namesOf(sampleRecipe, "1.2.0-preview3").includes("acme_1.2.0-preview3_amd64.deb"));
});

test("a package's own name, release and name templates shape its file name", () => {
  const changed = sampleRecipe.replace("  formats:", '  name: acme-server\n  release: 2\n  names: { rpm: "{name}-{version}.{arch}.rpm" }\n  formats:');
  const names = namesOf(changed, "1.4.2", { only: ["deb", "rpm"], targets: [{ os: "linux", arch: "amd64" }] });
  assert.deepEqual(names.slice(0, 2), ["acme-server_1.4.2-2_amd64.deb", "acme-1.4.2.amd64.rpm"]);
});

/** Versions, the channels of the recipe, and where they must go. */
const channels: readonly (readonly [version: string, channels: string, channel: string])[] = [
  ["1.4.2", "", "stable"],
  ["1.4.2-rc.1", "", "preview"],
  ["1.4.3-git.5.gabc1234", "", "preview"],
  ["0.3.0-preview1", 'channels: { stable: "v*.*.*", preview: "v*-preview*" }\n', "preview"],
  ["0.3.0-rc1", 'channels: { stable: "v*.*.*", preview: "v*-preview*" }\n', "preview"],
  ["0.3.0-nightly.4", 'channels: { stable: "v*.*.*", preview: "v*-*", nightly: "v*-nightly.*" }\n', "nightly"],
  ["1.4.2", 'channels: { lts: "v1.4.*", stable: "v*" }\n', "lts"],
];
for (const [version, lines, channel] of channels) {
  test(`K1 version ${version} goes to ${channel}${lines === "" ? "" : ` with ${lines.trim()}`}`, () => {
    assert.equal(plan(lines + sampleRecipe, version).channel, channel);
  });
}

test("a stable version that no channel takes is refused at the channels' line", () => {
  assert.throws(() => plan(`channels: { old: "v1.*" }\n${sampleRecipe}`, "2.0.0"), {
    code: "recipe_invalid",
    place: "slipway.yaml:1:11",
    message: /no pattern takes the tag v2\.0\.0/,
  });
});

/** Recipes that load and cannot be planned: what is replaced, and the place and message that must come. */
const impossible: readonly (readonly [name: string, from: string, to: string, place: string, message: RegExp])[] = [
  [
    "two sources for one path",
    "/usr/bin/acme-link:",
    "/usr/bin/acme:",
    "slipway.yaml:20:20",
    /acme \(slipway\.yaml:15:17\) and link to acme both write \/usr\/bin\/acme$/,
  ],
  [
    "two files of one name in a folder",
    "docs/*.md",
    "[docs/GUIDE.md, tree/GUIDE.md]",
    "slipway.yaml:18:39",
    /docs\/GUIDE\.md \(slipway\.yaml:18:24\) and tree\/GUIDE\.md both write/,
  ],
  [
    "two files of one name in an archive",
    "[LICENSE, docs/GUIDE.md]",
    "[LICENSE, docs/LICENSE]",
    "slipway.yaml:11:22",
    /archives\[0\]: LICENSE .* and docs\/LICENSE both write \/LICENSE/,
  ],
  ["a source outside the folder", "tree: tree", "tree: ../tree", "slipway.yaml:19:27", /"\.\.\/tree" leads out of the recipe's folder/],
  ["an absolute source", "tree: tree", "tree: /etc/passwd", "slipway.yaml:19:27", /"\/etc\/passwd" leads out/],
  [
    "a pattern for one file",
    "/usr/share/acme/:",
    "/usr/share/acme.md:",
    "slipway.yaml:18:25",
    /the pattern docs\/\*\.md needs a folder: write \/usr\/share\/acme\.md\//,
  ],
  [
    "one name for two targets",
    "{os}-{arch}{exe}",
    "{os}",
    "slipway.yaml:9:11",
    /binary acme \(linux\/amd64\) and binary acme \(linux\/arm64\) are both named acme-1\.4\.2-linux/,
  ],
  ["a name with a folder", '"{bin}-', '"bin/{bin}-', "slipway.yaml:9:11", /"bin\/acme-1\.4\.2-linux-amd64" is not an artifact name/],
  [
    "a name of ours",
    '"{bin}-{version}-{os}-{arch}{exe}"',
    "release.json",
    "slipway.yaml:9:11",
    /manifest and binary acme \(linux\/amd64\) are both named release\.json/,
  ],
  ["a package name without its ending", "  formats:", '  names: { deb: "{name}-{arch}" }\n  formats:', "slipway.yaml:13:17", /acme-amd64 must end in \.deb/],
];
for (const [name, from, to, place, message] of impossible) {
  test(`a recipe with ${name} cannot be planned and says where`, () => {
    const changed = sampleRecipe.replace(from, () => to);
    assert.notEqual(changed, sampleRecipe);
    assert.throws(
      () => plan(changed),
      (error: Error & { place: string; code: string }) => {
        assert.equal(error.code, "recipe_invalid");
        assert.match(error.message, message);
        assert.equal(error.place, place);
        return true;
      },
    );
  });
}

test("an unknown kind and a target that the recipe does not have are refused", () => {
  assert.throws(() => parseBuildableKinds(["deb", "rpmm"]), { code: "usage", message: /did you mean "rpm"\?/ });
  assert.throws(() => plan(sampleRecipe, "1.0.0", { targets: [{ os: "linux", arch: "riscv64" }] }), {
    code: "target_invalid",
    message: /linux\/riscv64 is not among the targets/,
  });
  assert.throws(() => plan(sampleRecipe, "1.0.0", { only: ["deb"], targets: [{ os: "darwin", arch: "arm64" }] }), { code: "usage", message: /makes no deb/ });
});

test("build commands are planned only for the targets that an artifact needs, each word expanded by itself", () => {
  const made = plan(sampleRecipe, "1.4.2", { only: ["deb"] });
  assert.deepEqual(
    made.commands.map((command) => command.argv.join("|")),
    [
      "sh|make.sh|acme|1.4.2|linux/amd64|{out}",
      "sh|make.sh|acmed|1.4.2|linux/amd64|{out}",
      "sh|make.sh|acme|1.4.2|linux/arm64|{out}",
      "sh|make.sh|acmed|1.4.2|linux/arm64|{out}",
    ],
  );
});
