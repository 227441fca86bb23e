/** `images:` from the recipe to the artifact: what is accepted and planned, what skopeo finds in the tar, and what is refused where. */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { readOciLayout, verifyOciLayers } from "../../src/formats/oci-layout.ts";
import { requireCommand } from "../../src/io/command.ts";
import { connectRegistry } from "../../src/io/registry-login.ts";
import { openImageArchive } from "../../src/packaging/image-archive.ts";
import { imageBlobs } from "../../src/packaging/image-build.ts";
import { pushImage } from "../../src/packaging/image-push.ts";
import { planRelease, type PlanRequest } from "../../src/packaging/plan.ts";
import { parseVersion } from "../../src/model/version.ts";
import { loadRecipe } from "../../src/packaging/recipe.ts";
import { RecipeError } from "../../src/packaging/recipe-error.ts";
import { needClient } from "../support/clients.ts";
import { registrySecret, registryUser, startRegistry } from "../support/docker-registry.ts";
import { buildSample, writeCaBundle } from "../support/sample-image.ts";
import { buildIn, contentsOf, epochSeconds, planIn, sampleProduct, sampleRecipe } from "./fixture.ts";

const timeoutMs = 60_000;

const imageLines = `images:
  - name: team/acme
    tags: ["{version}", latest]
    files:
      /usr/bin/: [acme, acmed]
      /etc/acme/acme.yaml: { from: packaging/acme.yaml, mode: "0640", group: acme }
      /var/lib/acme: { directory: true, owner: acme, group: acme, mode: "0750" }
      /usr/share/acme/: docs/*.md
    users: { acme: { uid: 1000 } }
    user: acme
    entrypoint: [/usr/bin/acmed]
    ports: [8080]
`;
const recipeText = sampleRecipe + imageLines;

const plan = (text: string, version = "1.4.2", request: Partial<PlanRequest> = {}) =>
  planRelease({ recipe: loadRecipe(text, "slipway.yaml"), version: parseVersion(version), epochSeconds, ...request });

const onlyImage: Partial<PlanRequest> = { only: ["image"] };

type Config = { readonly config: Readonly<Record<string, unknown>>; readonly architecture: string };

async function skopeo<Answer>(...words: readonly string[]): Promise<Answer> {
  return JSON.parse(await requireCommand(["skopeo", ...words], { timeoutMs })) as Answer;
}

test("C1 a recipe's image becomes one artifact that skopeo reads, with the digest that release.json names", async (t) => {
  if (!needClient(t, "skopeo", "sha256sum")) return;
  const folder = await sampleProduct(t, recipeText);
  const result = await buildIn(folder, await planIn(folder, "1.4.2", { ...onlyImage, commit: "0123456789abcdef0123456789abcdef01234567" }));
  assert.deepEqual((await readdir(result.folder)).sort(), ["SHA256SUMS", "acme-1.4.2-oci.tar", "release.json"]);
  await requireCommand(["sha256sum", "-c", "--strict", "SHA256SUMS"], { cwd: result.folder, timeoutMs });
  const [artifact] = result.manifest.artifacts;
  const from = `oci-archive:${join(result.folder, "acme-1.4.2-oci.tar")}:1.4.2`;
  const seen = await skopeo<Record<string, unknown>>("inspect", from);
  assert.deepEqual(artifact?.image, { repository: "team/acme", tags: ["1.4.2", "latest"], digest: seen["Digest"] });
  assert.deepEqual([artifact?.kind, artifact?.os, artifact?.files], ["image", undefined, undefined]);
  for (const arch of ["amd64", "arm64"]) {
    const { config, architecture } = await skopeo<Config>("--override-arch", arch, "inspect", "--config", from);
    assert.deepEqual([architecture, config["User"], config["Entrypoint"]], [arch, "1000:1000", ["/usr/bin/acmed"]]);
    const labels = config["Labels"] as Record<string, string>;
    assert.equal(labels["org.opencontainers.image.title"], "acme");
    assert.equal(labels["org.opencontainers.image.revision"], "0123456789abcdef0123456789abcdef01234567");
  }
});

test("C1 each platform's layer holds that platform's binaries and the files of images.files with their owners", async (t) => {
  if (!needClient(t, "skopeo", "umoci")) return;
  if (process.getuid?.() !== 0) return t.skip("unpacking with owners needs root");
  const folder = await sampleProduct(t, recipeText);
  const result = await buildIn(folder, await planIn(folder, "1.4.2", onlyImage));
  for (const arch of ["amd64", "arm64"]) {
    const single = join(folder, arch);
    await requireCommand(["skopeo", "--override-arch", arch, "copy", `oci-archive:${result.folder}/acme-1.4.2-oci.tar:latest`, `oci:${single}:x`], {
      timeoutMs,
    });
    await requireCommand(["umoci", "unpack", "--image", `${single}:x`, `${single}-bundle`], { timeoutMs });
    const root = `${single}-bundle/rootfs`;
    assert.equal(await readFile(join(root, "usr/bin/acme"), "utf8"), `#!/bin/sh\necho acme 1.4.2 linux/${arch}\n`);
    const listed = await requireCommand(["find", root, "-mindepth", "1", "-printf", "%P %m %U:%G %TY\n"], { timeoutMs });
    const lines = listed.trimEnd().split("\n");
    for (const line of [
      "etc/acme/acme.yaml 640 0:1000 2023",
      "var/lib/acme 750 1000:1000 2023",
      "usr/share/acme/OTHER.md 644 0:0 2023",
      "usr/bin/acmed 755 0:0 2023",
    ])
      assert.ok(lines.includes(line), `${line}\n${listed}`);
  }
});

test("C5 a second build of the image in another folder gives the same bytes, and leaves nothing but the artifact", async (t) => {
  const build = async (jobs: number): Promise<ReadonlyMap<string, Buffer>> => {
    const folder = await sampleProduct(t, recipeText);
    const result = await buildIn(folder, await planIn(folder, "1.4.2"), { jobs });
    assert.deepEqual(await readdir(join(folder, "dist")), ["1.4.2"]);
    return contentsOf(result.folder);
  };
  const [first, second] = [await build(1), await build(4)];
  assert.deepEqual([...second.keys()].sort(), [...first.keys()].sort());
  for (const [name, bytes] of first) assert.ok(second.get(name)?.equals(bytes), `${name} differs`);
});

test("without files every binary is in /usr/bin, and without a name the product's is the repository", async (t) => {
  const folder = await sampleProduct(t, `${sampleRecipe}images: [{ entrypoint: [/usr/bin/acme] }]\n`);
  const made = await planIn(folder, "1.4.2", onlyImage);
  assert.deepEqual(
    made.artifacts.map(({ name, inputs }) => [name, inputs]),
    [["acme-1.4.2-oci.tar", ["acme", "acmed"]]],
  );
  const result = await buildIn(folder, made);
  const archive = await openImageArchive(join(result.folder, "acme-1.4.2-oci.tar"));
  t.after(archive.close);
  const [image] = await readOciLayout(archive.source);
  assert.equal(image?.images.length, 2);
  for (const one of image?.images ?? []) await verifyOciLayers(archive.source, one, 10_000_000);
});

test("J7 --target and --only choose platforms and artifacts, and only their binaries are built", () => {
  const shown = (request: Partial<PlanRequest>, text = recipeText): readonly string[] => {
    const made = plan(text, "1.4.2", request);
    const images = made.artifacts.flatMap((artifact) => (artifact.kind === "image" ? artifact.image.targets : []));
    return [...images.map((target) => target.arch), `${made.commands.length} commands`];
  };
  assert.deepEqual(shown(onlyImage), ["amd64", "arm64", "4 commands"]);
  assert.deepEqual(shown({ ...onlyImage, targets: [{ os: "linux", arch: "arm64" }] }), ["arm64", "2 commands"]);
  const amd64Only = recipeText.replace("    user: acme", "    user: acme\n    targets: [linux/amd64]");
  assert.deepEqual(shown(onlyImage, amd64Only), ["amd64", "2 commands"]);
  assert.deepEqual(shown({ only: ["image", "deb"], targets: [{ os: "linux", arch: "arm64" }] }, amd64Only), ["2 commands"], "left out, not refused");
  assert.throws(() => plan(recipeText, "1.4.2", { ...onlyImage, targets: [{ os: "darwin", arch: "arm64" }] }), { code: "usage", message: /makes no image/ });
});

test("K1 a preview gets no tag but its own", () => {
  const tagsOf = (version: string) =>
    plan(recipeText, version, onlyImage).artifacts.flatMap((artifact) => (artifact.kind === "image" ? artifact.image.tags : []));
  assert.deepEqual(tagsOf("1.4.2"), ["1.4.2", "latest"]);
  assert.deepEqual(tagsOf("1.5.0-rc.1"), ["1.5.0-rc.1"]);
  assert.deepEqual(tagsOf("1.4.2+build.5"), ["1.4.2-build.5", "latest"], "+ is no letter of a tag");
});

/** What is replaced, and the first problem that must be reported; its line is counted from `images:`. */
const mistakes: readonly (readonly [name: string, from: string, to: string, at: string, problem: RegExp])[] = [
  ["an unknown key", "    user: acme", "    usr: acme", "10:5", /^unknown key "usr" under images\[0\] - did you mean "user"\?/],
  [
    "an unknown key of a file",
    'mode: "0640"',
    'mod: "0640"',
    "6:57",
    /^unknown key "mod" under images\[0\]\.files \/etc\/acme\/acme\.yaml - did you mean "mode"/,
  ],
  ["a tag that is none", "latest]", '"a b"]', "3:25", /^images\[0\]\.tags\[1\]: "a b" is not an image tag/],
  ["a tag of a platform", "latest]", '"{arch}"]', "3:26", /^images\[0\]\.tags\[1\]: \{arch\} has no meaning here/],
  ["an empty tag", "latest]", '""]', "3:25", /^images\[0\]\.tags\[1\]: must not be empty/],
  ["a tag with a line break", "latest]", '"a\\nb"]', "3:25", /^images\[0\]\.tags\[1\]: must be one line/],
  ["a repository in capitals", "team/acme", "Team/Acme", "2:11", /^images\[0\]\.name: "Team\/Acme" is not an image name/],
  ["a base that moves", "    user: acme", "    base: debian.example/debian:12", "10:11", /^images\[0\]\.base: .* add @sha256/],
  ["a port that is none", "[8080]", "[http]", "12:13", /^images\[0\]\.ports\[0\]/],
  ["a user that is not declared", "    user: acme", "    user: nobody", "10:11", /^images: the user nobody is not among users/],
  [
    "an owner that is not declared",
    "owner: acme, group: acme",
    "owner: stranger, group: acme",
    "7:22",
    /^images\[0\]\.files: \/var\/lib\/acme belongs to stranger/,
  ],
  ["an entrypoint without a path", "[/usr/bin/acmed]", "[acmed]", "11:17", /^images: the entrypoint acmed must be an absolute path/],
  [
    "two files for one path",
    "      /usr/share/acme/: docs/*.md",
    "      /usr/bin/acme: LICENSE",
    "8:22",
    /^images\[0\]\.files: acme .* and LICENSE both write \/usr\/bin\/acme$/,
  ],
  ["a source outside the folder", "docs/*.md\n    users", "../docs\n    users", "8:25", /^"\.\.\/docs" leads out of the recipe's folder/],
  ["a target that is not linux", "    user: acme", "    targets: [darwin/arm64]", "10:15", /^images: darwin\/arm64 is not linux/],
  [
    "a target that the recipe has not",
    "    user: acme",
    "    targets: [linux/riscv64]",
    "10:15",
    /^images: linux\/riscv64 is not among the targets of the recipe/,
  ],
  ["an archive named like another artifact", "    user: acme", "    archive: release.json", "10:14", /^manifest and image .* are both named release\.json$/],
  [
    "two images of one name",
    "    ports: [8080]\n",
    "  - { name: team/acme, archive: other.tar, entrypoint: [/usr/bin/acme] }\n",
    "12:5",
    /^images\[0\] and images\[1\] are both team\/acme:1\.4\.2$/,
  ],
  [
    "a registry with a scheme",
    "images:",
    "publish: { oci: https://registry.example }\nimages:",
    "1:17",
    /^publish\.oci: "https:\/\/registry\.example" does not begin with a registry's host/,
  ],
];
/** `slipway.yaml:<line>:<column>` of a place that is counted from `images:`. */
function placed(at: string): string {
  const [line, column] = at.split(":");
  return `slipway.yaml:${sampleRecipe.split("\n").length - 1 + Number(line)}:${column}`;
}

for (const [name, from, to, at, problem] of mistakes) {
  test(`an image with ${name} is refused at its place`, () => {
    const changed = sampleRecipe + imageLines.replace(from, () => to);
    assert.notEqual(changed, recipeText);
    assert.throws(
      () => plan(changed),
      (error: unknown) => {
        assert.ok(error instanceof RecipeError, String(error));
        assert.match(error.problems[0]?.message ?? "", problem);
        assert.equal(error.problems[0]?.place, placed(at));
        return true;
      },
    );
  });
}

test("whatever is cut out of an image and put in instead, it loads or is refused with a place in the file", () => {
  const pieces = ["", "{", "]", ":", "- ", "\n", '"', "~", "{version}", "{os}", "0", "oci:", "@sha256:", "\u0000"];
  const edit = fc.tuple(fc.nat(imageLines.length), fc.nat(30), fc.constantFrom(...pieces));
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      const text =
        sampleRecipe + edits.reduce((changed, [start, length, piece]) => changed.slice(0, start) + piece + changed.slice(start + length), imageLines);
      try {
        plan(text);
      } catch (error) {
        assert.ok(error instanceof RecipeError, `${String(error)}\n${text}`);
        for (const problem of error.problems) assert.match(problem.place, /^slipway\.yaml:[1-9]\d*:[1-9]\d*$/u);
      }
    }),
    { numRuns: 300 },
  );
});

const onBase = (base: string): string => `images:\n  - base: ${base}\n    entrypoint: [/usr/bin/acme]\n    caBundle: ca.pem\n`;

/** Builds that must fail at the recipe's line and leave nothing. */
const failures: readonly (readonly [name: string, images: string, error: { readonly code: string; readonly at: string; readonly message: RegExp }])[] = [
  [
    "a file that is not there",
    imageLines.replace("from: packaging/acme.yaml", "from: packaging/none.yaml"),
    { code: "source_missing", at: "6:36", message: /images\[0\]\.files: there is no packaging\/none\.yaml/ },
  ],
  [
    "an entrypoint that is not in it",
    imageLines.replace("[/usr/bin/acmed]", "[/usr/bin/other]"),
    { code: "recipe_invalid", at: "2:5", message: /starts \/usr\/bin\/other, which is not in it/ },
  ],
  ["a base that is not there", onBase("oci:base"), { code: "format_invalid", at: "2:11", message: /^the base: .*cannot read oci-layout/ }],
  ["a CA bundle that is not there", onBase("scratch"), { code: "source_missing", at: "2:5", message: /no CA bundle/ }],
];
for (const [name, images, { code, at, message }] of failures) {
  test(`a build of an image with ${name} fails at the recipe's line and leaves nothing`, async (t) => {
    const folder = await sampleProduct(t, sampleRecipe + images);
    const made = await planIn(folder, "1.4.2", onlyImage);
    await assert.rejects(buildIn(folder, made), { code, place: placed(at), message });
    assert.ok(!(await readdir(folder)).includes("dist"));
  });
}

test("C1 an image on a layout in the recipe's folder keeps the base's layer", async (t) => {
  if (!needClient(t, "skopeo", "busybox")) return;
  const folder = await sampleProduct(t, sampleRecipe + onBase("oci:base:1.2.0-rc.1"));
  await writeCaBundle(join(folder, "ca.pem"));
  await buildSample(join(folder, "base"));
  const result = await buildIn(folder, await planIn(folder, "1.4.2", onlyImage));
  const from = `oci-archive:${join(result.folder, "acme-1.4.2-oci.tar")}:1.4.2`;
  const seen = await skopeo<{ Layers: string[] }>("inspect", from);
  assert.equal(seen.Layers.length, 2);
  const { config } = await skopeo<Config>("inspect", "--config", from);
  assert.deepEqual([config["User"], config["Entrypoint"]], ["65532:65532", ["/usr/bin/acme"]]);
});

test("C1 an image on a base in a registry is pulled with the login that docker or podman left, and with no other", async (t) => {
  if (!needClient(t, "docker-registry", "skopeo", "busybox")) return;
  const registry = await startRegistry("basic");
  t.after(registry.close);
  const folder = await sampleProduct(t);
  await writeCaBundle(join(folder, "ca.pem"));
  const base = await buildSample(join(folder, "base"));
  const { image } = await imageBlobs(base.layout, base.built);
  const client = await connectRegistry(registry.host, { credentials: { username: registryUser, secret: registrySecret } });
  const { digest } = await pushImage({ client, repository: "acme/base", tags: ["1"], source: base.layout.source, image });
  await writeFile(join(folder, "slipway.yaml"), sampleRecipe + onBase(`${registry.host}/acme/base:1@${digest}`));
  const made = await planIn(folder, "1.4.2", onlyImage);
  assert.deepEqual(made.artifacts[0]?.inputs, [`${registry.host}/acme/base:1`, "acme", "acmed"]);
  await assert.rejects(buildIn(folder, made), { code: "unauthorized", place: placed("2:11"), message: /^the base: .*none were given/ });
  const env = await logIn(folder, registry.host);
  const result = await buildIn(folder, made, { connectRegistry: (host) => connectRegistry(host, { env }) });
  const raw = await skopeo<{ annotations: Record<string, string> }>("inspect", "--raw", `oci-archive:${join(result.folder, "acme-1.4.2-oci.tar")}:1.4.2`);
  assert.equal(raw.annotations["org.opencontainers.image.base.name"], `${registry.host}/acme/base:1`);
  assert.equal(raw.annotations["org.opencontainers.image.base.digest"], digest);
});

/** Logs in with skopeo itself; returns the environment that names its file. */
async function logIn(folder: string, host: string): Promise<Readonly<Record<string, string>>> {
  const file = join(folder, "auth.json");
  await requireCommand(["skopeo", "login", "--tls-verify=false", "--authfile", file, "--username", registryUser, "--password", registrySecret, host], {
    timeoutMs,
  });
  return { REGISTRY_AUTH_FILE: file };
}
