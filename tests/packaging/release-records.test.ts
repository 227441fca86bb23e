/** SBOMs and provenance in a whole build: planned, written, listed and signed like every other file, and the same on every rebuild. */
import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import { preAuthenticationEncoding } from "../../src/formats/in-toto.ts";
import { requireCommand } from "../../src/io/command.ts";
import { manifestSchema } from "../../src/model/manifest.ts";
import { generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { createReleaseSigner } from "../../src/trust/release-signature.ts";
import { needClient } from "../support/clients.ts";
import { buildIn, contentsOf, epochSeconds, planIn, sampleProduct, sampleRecipe, temporaryFolder } from "./fixture.ts";
import { assertCycloneDx, assertSpdx } from "./sbom-schemas.ts";

const lockFile = new URL("golden/lock-files/npm/package-lock.json", import.meta.url);
const recorded = `sbom: true\nprovenance: true\n${sampleRecipe}`;

async function recordedProduct(...[t, recipe = recorded]: Parameters<typeof sampleProduct>): Promise<string> {
  const folder = await sampleProduct(t, recipe);
  await cp(lockFile, join(folder, "package-lock.json"));
  return folder;
}

const statementSchema = z.object({
  subject: z.array(z.object({ name: z.string(), digest: z.object({ sha256: z.string() }) })),
  predicate: z.object({
    buildDefinition: z.object({
      externalParameters: z.object({ recipe: z.string(), targets: z.array(z.string()) }),
      resolvedDependencies: z.array(z.object({ name: z.string(), uri: z.string().optional(), digest: z.record(z.string(), z.string()) })),
    }),
    runDetails: z.object({ builder: z.object({ id: z.string(), version: z.object({ slipway: z.string() }) }) }),
  }),
});

async function statementIn(folder: string) {
  return statementSchema.parse(JSON.parse(await readFile(join(folder, "acme-1.4.2.provenance.json"), "utf8")));
}

test("SBOMs and provenance are asked for: without a word, and with false, a release has none", async (t) => {
  for (const recipe of [sampleRecipe, `sbom: false\nprovenance: false\n${sampleRecipe}`]) {
    const folder = await recordedProduct(t, recipe);
    const plan = await planIn(folder, "1.4.2", { only: ["deb"] });
    assert.deepEqual(
      plan.records.map(({ kind }) => kind),
      ["manifest", "sums"],
    );
    const { manifest, warnings } = await buildIn(folder, plan);
    assert.deepEqual([new Set(manifest.artifacts.map(({ kind }) => kind)), warnings], [new Set(["deb"]), []]);
  }
});

test("every artifact gets both SBOMs, the release one provenance; what was planned is in the sums, and sha256sum accepts it", async (t) => {
  if (!needClient(t, "sha256sum")) return;
  const folder = await recordedProduct(t);
  const plan = await planIn(folder, "1.4.2");
  const result = await buildIn(folder, plan);
  const planned = [...plan.artifacts, ...plan.records].map(({ name }) => name);
  assert.deepEqual(result.files, planned, "in the order of the plan");
  assert.equal(planned.length, 3 * plan.artifacts.length + 3);
  assert.deepEqual((await readdir(result.folder)).sort(), planned.toSorted());
  const listed = (await readFile(join(result.folder, "SHA256SUMS"), "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => line.slice(66));
  assert.deepEqual(listed, planned.filter((name) => name !== "SHA256SUMS").toSorted());
  await requireCommand(["sha256sum", "-c", "--strict", "SHA256SUMS"], { cwd: result.folder, timeoutMs: 60_000 });
  const manifest = manifestSchema.parse(JSON.parse(await readFile(join(result.folder, "release.json"), "utf8")));
  const kinds = Map.groupBy(manifest.artifacts, ({ kind }) => kind);
  assert.deepEqual([kinds.get("sbom")?.length, kinds.get("provenance")?.length], [2 * plan.artifacts.length, 1]);
  for (const { name } of kinds.get("sbom") ?? []) {
    const text = await readFile(join(result.folder, name), "utf8");
    if (name.endsWith(".cdx.json")) assertCycloneDx(text);
    else assertSpdx(text);
  }
  const { subject } = await statementIn(result.folder);
  assert.deepEqual(
    subject.map(({ name, digest }) => [name, digest.sha256]),
    manifest.artifacts.filter(({ kind }) => kind !== "provenance").map(({ name, sha256 }) => [name, sha256]),
  );
});

test("an SBOM holds the artifact's digest, its binaries, the lock file's components and what the package needs", async (t) => {
  const folder = await recordedProduct(t, recorded.replace("sbom: true", "sbom: { formats: [spdx] }"));
  const { folder: built, manifest } = await buildIn(
    folder,
    await planIn(folder, "1.4.2", { only: ["deb", "binary"], targets: [{ os: "linux", arch: "amd64" }] }),
  );
  const digestOf = (name: string): string | undefined => manifest.artifacts.find((artifact) => artifact.name === name)?.sha256;
  const { packages } = assertSpdx(await readFile(join(built, "acme_1.4.2_amd64.deb.spdx.json"), "utf8"));
  const digestIn = (name: string): string | undefined => packages.find((one) => one.packageFileName === name)?.checksums?.[0]?.checksumValue;
  assert.equal(digestIn("acme_1.4.2_amd64.deb"), digestOf("acme_1.4.2_amd64.deb"));
  assert.equal(digestIn("acme"), digestOf("acme-1.4.2-linux-amd64"), "the binary inside is the one that is shipped alone");
  assert.equal(digestIn("acmed"), digestOf("acmed-1.4.2-linux-amd64"));
  const names = packages.map(({ name }) => name);
  assert.ok(names.includes("once") && names.includes("docker.io"), names.join(" "));
  const alone = assertSpdx(await readFile(join(built, "acmed-1.4.2-linux-amd64.spdx.json"), "utf8")).packages.map(({ name }) => name);
  assert.ok(!alone.includes("docker.io") && !alone.includes("acme-1.4.2-linux-amd64"), "a binary has no packages beside it");
  assert.ok(!(await readdir(built)).some((name) => name.endsWith(".cdx.json")));
});

test("an image's SBOM tells its platforms apart and names it as a registry does", async (t) => {
  const folder = await recordedProduct(t, `images: [{ name: team/acme-server, entrypoint: [/usr/bin/acmed] }]\n${recorded}`);
  const { folder: built, manifest } = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["image"] }));
  const [image] = manifest.artifacts.filter(({ kind }) => kind === "image");
  const text = await readFile(join(built, `${image?.name}.cdx.json`), "utf8");
  assertCycloneDx(text);
  const { metadata, components } = z
    .object({ metadata: z.object({ component: z.object({ purl: z.string() }) }), components: z.array(z.object({ name: z.string(), type: z.string() })) })
    .parse(JSON.parse(text));
  assert.equal(metadata.component.purl, `pkg:oci/acme-server@${image?.image?.digest}?tag=1.4.2`);
  assert.deepEqual(components.flatMap(({ name, type }) => (type === "file" ? [name] : [])).toSorted(), [
    "linux/amd64/acme",
    "linux/amd64/acmed",
    "linux/arm64/acme",
    "linux/arm64/acmed",
  ]);
});

/** A repository with the product in a folder of it, tagged, whose remote holds a password. */
async function taggedProduct(t: Parameters<typeof sampleProduct>[0]): Promise<{ readonly folder: string; readonly commit: string }> {
  const product = await recordedProduct(t);
  const repository = await temporaryFolder(t);
  const folder = join(repository, "products/acme");
  await cp(product, folder, { recursive: true });
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: repository,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_AUTHOR_DATE: "@1700000000 +0000",
    GIT_COMMITTER_DATE: "@1700000000 +0000",
  };
  const git = (...args: readonly string[]): Promise<string> =>
    requireCommand(["git", "-c", "user.name=t", "-c", "user.email=t@t.example", ...args], { cwd: repository, timeoutMs: 60_000, env });
  await git("init", "-q");
  await git("add", ".");
  await git("commit", "-qm", "one");
  await git("tag", "-a", "v1.4.2", "-m", "v1.4.2");
  await git("remote", "add", "origin", "https://robot:hunter2@git.example/team/acme.git");
  return { folder, commit: (await git("rev-parse", "HEAD")).trim() };
}

test("the provenance names commit, tag, recipe and lock file as the repository has them, no password, and two builds are the same bytes", async (t) => {
  if (!needClient(t, "git")) return;
  const builds: ReadonlyMap<string, Buffer>[] = [];
  for (const jobs of [1, 4]) {
    const { folder, commit } = await taggedProduct(t);
    const { folder: built } = await buildIn(folder, await planIn(folder, "1.4.2", { commit }), { jobs });
    const { buildDefinition, runDetails } = (await statementIn(built)).predicate;
    assert.deepEqual(
      buildDefinition.resolvedDependencies.map(({ name, uri, digest }) => [name, uri, Object.keys(digest)[0]]),
      [
        ["source", "git+https://git.example/team/acme.git@refs/tags/v1.4.2", "gitCommit"],
        ["products/acme/package-lock.json", undefined, "sha256"],
        ["products/acme/slipway.yaml", undefined, "sha256"],
      ],
    );
    assert.equal(buildDefinition.resolvedDependencies[0]?.digest["gitCommit"], commit);
    assert.deepEqual([buildDefinition.externalParameters.recipe, runDetails.builder.id], ["products/acme/slipway.yaml", "urn:slipway:builder:local"]);
    builds.push(await contentsOf(built));
  }
  const [one, two] = builds;
  assert.deepEqual([...(one?.keys() ?? [])].sort(), [...(two?.keys() ?? [])].sort());
  for (const [name, bytes] of one ?? []) {
    assert.ok(two?.get(name)?.equals(bytes) === true, `${name} differs`);
    assert.ok(!bytes.includes("hunter2"), `${name} holds the password of the remote`);
  }
});

test("a version that is no tag of the repository is not said to be one", async (t) => {
  if (!needClient(t, "git")) return;
  const { folder, commit } = await taggedProduct(t);
  const { folder: built } = await buildIn(folder, await planIn(folder, "1.4.3", { commit, only: ["deb"] }));
  const text = await readFile(join(built, "acme-1.4.3.provenance.json"), "utf8");
  const [source] = statementSchema.parse(JSON.parse(text)).predicate.buildDefinition.resolvedDependencies;
  assert.equal(source?.uri, `git+https://git.example/team/acme.git@${commit}`);
});

test("with a minisign key the statement is signed in a DSSE envelope, which openssl verifies with the same public key", async (t) => {
  if (!needClient(t, "openssl")) return;
  const folder = await recordedProduct(t, `sign: { minisign: "key:updates", gpg: "key:packages" }\n${recorded}`);
  const key = generateMinisignKey();
  const plan = await planIn(folder, "1.4.2", { isUnsigned: false, only: ["deb"] });
  const withoutGpg = { ...plan, records: plan.records.filter(({ kind }) => kind !== "openpgp") };
  const { folder: built, files } = await buildIn(folder, withoutGpg, { signer: createReleaseSigner({ minisign: key, epochSeconds }) });
  assert.deepEqual(
    files,
    [...withoutGpg.artifacts, ...withoutGpg.records].map(({ name }) => name),
  );
  const envelope = z
    .object({ payloadType: z.string(), payload: z.base64(), signatures: z.array(z.object({ keyid: z.string(), sig: z.base64() })).length(1) })
    .parse(JSON.parse(await readFile(join(built, "acme-1.4.2.intoto.jsonl"), "utf8")));
  const statement = Buffer.from(envelope.payload, "base64");
  assert.ok(statement.equals(await readFile(join(built, "acme-1.4.2.provenance.json"))));
  assert.equal(envelope.signatures[0]?.keyid, key.keyId);
  const spki = createPublicKey(key.privateKey).export({ format: "pem", type: "spki" });
  await writeFile(join(folder, "key.pem"), spki);
  await writeFile(join(folder, "message"), preAuthenticationEncoding(statement, envelope.payloadType));
  await writeFile(join(folder, "signature"), Buffer.from(envelope.signatures[0]?.sig ?? "", "base64"));
  const verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "message", "-sigfile", "signature"];
  await requireCommand(verify, { cwd: folder, timeoutMs: 60_000 });
  await writeFile(join(folder, "message"), preAuthenticationEncoding(Buffer.concat([statement, Buffer.from(" ")]), envelope.payloadType));
  await assert.rejects(requireCommand(verify, { cwd: folder, timeoutMs: 60_000 }));
});

test("an OpenPGP key alone makes no envelope: the statement is proven by the signed sums", async (t) => {
  const folder = await recordedProduct(t, `sign: { gpg: "key:packages" }\n${recorded}`);
  const plan = await planIn(folder, "1.4.2", { isUnsigned: false });
  assert.deepEqual(
    plan.records.filter(({ kind }) => kind === "provenance").map(({ name }) => name),
    ["acme-1.4.2.provenance.json"],
  );
});

/** What the recipe says of SBOMs, and where a mistake in it is named. */
const refused: readonly { readonly name: string; readonly sbom: string; readonly code: string; readonly place: string; readonly message: RegExp }[] = [
  {
    name: "a file that is no lock file",
    sbom: "{ lockFiles: [package.json] }",
    code: "recipe_invalid",
    place: "slipway.yaml:1:21",
    message: /package\.json is no lock file that is known here/,
  },
  {
    name: "a mistyped lock file",
    sbom: "{ lockFiles: [sub/cargo.lock] }",
    code: "recipe_invalid",
    place: "slipway.yaml:1:21",
    message: /cargo\.lock is no lock file .* did you mean "Cargo\.lock"\?/,
  },
  {
    name: "a lock file outside the folder",
    sbom: "{ lockFiles: [../package-lock.json] }",
    code: "recipe_invalid",
    place: "slipway.yaml:1:21",
    message: /leads out of the recipe's folder/,
  },
  { name: "an unknown format", sbom: "{ formats: [spdx, swid] }", code: "recipe_invalid", place: "slipway.yaml:1:25", message: /"swid" is not one of/ },
  { name: "an unknown key", sbom: "{ lock_files: [] }", code: "recipe_invalid", place: "slipway.yaml:1:9", message: /did you mean "lockFiles"\?/ },
  {
    name: "a lock file that is not there",
    sbom: "{ lockFiles: [package-lock.json, web/yarn.lock] }",
    code: "source_missing",
    place: "slipway.yaml:1:40",
    message: /there is no web\/yarn\.lock/,
  },
  {
    name: "a damaged lock file",
    sbom: "{ lockFiles: [broken/Cargo.lock] }",
    code: "source_unusable",
    place: "broken/Cargo.lock:2:1",
    message: /broken\/Cargo\.lock: /,
  },
];

for (const { name, sbom, code, place, message } of refused) {
  test(`${name} is refused where it stands, and dist/ stays as it was`, async (t) => {
    const folder = await recordedProduct(t, recorded.replace("sbom: true", `sbom: ${sbom}`));
    await mkdir(join(folder, "broken"));
    await writeFile(join(folder, "broken/Cargo.lock"), "version = 3\n[[package]]\nname = 1\n");
    await assert.rejects(
      async () => buildIn(folder, await planIn(folder, "1.4.2", { only: ["deb"] })),
      (error: Error & { code: string; place: string }) => {
        assert.match(error.message, message);
        assert.deepEqual([error.code, error.place], [code, place]);
        return true;
      },
    );
    assert.ok(!(await readdir(folder)).includes("dist"));
  });
}

test("an artifact with the name of another's SBOM, and sums with the manifest's, are refused in the plan", async (t) => {
  const named = recorded.replace("  - files:", '  - name: "a-{os}-{arch}.tar.gz"\n    files: []\n  - name: "a-{os}-{arch}.tar.gz.cdx.json.zip"\n    files:');
  await planIn(await recordedProduct(t, named), "1.4.2");
  const binary = named.replace('"{bin}-{version}-{os}-{arch}{exe}"', '"a-{os}-{arch}.tar.gz.cdx.json"').replace("[acme, acmed]\nbinaries", "[acme]\nbinaries");
  const folder = await recordedProduct(t, binary.replace("/usr/bin/: [acme, acmed]", "/usr/bin/: acme"));
  await assert.rejects(planIn(folder, "1.4.2"), {
    code: "recipe_invalid",
    message: /binary acme \(linux\/amd64\) and sbom of a-linux-amd64\.tar\.gz are both named/,
  });
  const sums = await recordedProduct(t, `checksums: release.json\n${recorded}`);
  await assert.rejects(planIn(sums, "1.4.2"), { code: "recipe_invalid", message: /manifest and sums are both named release\.json/ });
});
