import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { z } from "zod";
import { createSbomWriter, type SbomArtifact, type SbomProgram, type SbomRelease } from "../../src/packaging/sbom-write.ts";
import { needClient } from "../support/clients.ts";
import { elfProgram } from "./program-fixture.ts";
import { assertCycloneDx, assertSpdx } from "./sbom-schemas.ts";

const project = new URL("../..", import.meta.url).pathname;
const golden = (name: string): Buffer => readFileSync(new URL(`golden/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "slipway-sbom-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const release: SbomRelease = {
  product: "jaco",
  version: "1.2.3",
  summary: "One line about it",
  license: "Apache-2.0",
  supplier: "Example GmbH",
  homepage: "https://jaco.example/",
  epochSeconds: 1_700_000_000,
  tool: { name: "slipway", version: "0.1.0" },
};

function program(name: string, bytes: Buffer): SbomProgram {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return { name, path, sha256: createHash("sha256").update(bytes).digest("hex") };
}
const wide = { is64: true, isLittle: true };
const goProgram = program("jaco", elfProgram(wide, { sections: [{ name: ".go.buildinfo", bytes: golden("go-build-information.bin") }] }));
const rustProgram = program("jacod", elfProgram(wide, { sections: [{ name: ".dep-v0", bytes: golden("cargo-auditable.dep-v0") }] }));
const silentProgram = program("jacoctl", elfProgram(wide, {}));

const artifact = (over: Partial<SbomArtifact> = {}): SbomArtifact => ({
  name: "jaco_1.2.3_amd64.deb",
  kind: "deb",
  sha256: "ab".repeat(32),
  programs: [goProgram, rustProgram],
  dependencies: {
    depends: [[{ name: "docker.io", operator: ">=", version: "20" }, { name: "docker-ce" }]],
    recommends: [[{ name: "ca-certificates" }]],
    conflicts: [[{ name: "old-jaco" }]],
  },
  ...over,
});

const bomSchema = z.object({
  serialNumber: z.string(),
  metadata: z.object({ timestamp: z.string(), component: z.object({ "bom-ref": z.string(), purl: z.string() }) }),
  components: z
    .array(z.object({ "bom-ref": z.string(), name: z.string(), type: z.string(), purl: z.string().optional(), scope: z.string().optional() }))
    .default([]),
  dependencies: z.array(z.object({ ref: z.string(), dependsOn: z.array(z.string()).default([]) })),
});

async function written(over: Partial<SbomArtifact> = {}, sources: { folder: string; lockFiles?: readonly string[] } = { folder }, of = release) {
  const writer = await createSbomWriter(of, sources);
  const files = await writer.write(artifact(over));
  const [cdx = "", spdx = ""] = files.map((file) => file.bytes.toString("utf8"));
  assertCycloneDx(cdx);
  return { files, cdx, spdx, bom: bomSchema.parse(JSON.parse(cdx)), document: assertSpdx(spdx), writer };
}

test("a package's SBOMs name its programs, what is linked into each, and what the system must bring", async () => {
  const { files, bom, document } = await written();
  assert.deepEqual(
    files.map((file) => file.name),
    ["jaco_1.2.3_amd64.deb.cdx.json", "jaco_1.2.3_amd64.deb.spdx.json"],
  );
  const refs = new Map(bom.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
  assert.deepEqual(refs.get("jaco_1.2.3_amd64.deb"), [
    "program:jaco",
    "program:jacod",
    "system:depends:docker.io (>= 20) | docker-ce",
    "system:recommends:ca-certificates",
  ]);
  assert.deepEqual(refs.get("program:jacod"), ["pkg:cargo/hex@0.4.3", "pkg:cargo/itoa@1.0.18"]);
  assert.equal(refs.get("program:jaco")?.length, 5);
  assert.equal(bom.metadata.timestamp, "2023-11-14T22:13:20.000Z");
  assert.deepEqual(
    bom.components.filter((component) => component.scope !== undefined).map(({ name, scope }) => [name, scope]),
    [
      ["docker.io", "required"],
      ["ca-certificates", "optional"],
    ],
  );
  const relations = document.relationships.map(({ relationshipType }) => relationshipType);
  assert.deepEqual(
    [...Map.groupBy(relations, (type) => type)].map(([type, all]) => [type, all.length]),
    [
      ["DESCRIBES", 1],
      ["CONTAINS", 9],
      ["DEPENDS_ON", 1],
      ["OPTIONAL_DEPENDENCY_OF", 1],
    ],
  );
  assert.equal(document.packages[0]?.checksums?.[0]?.checksumValue, "ab".repeat(32));
});

test("the same inputs give the same bytes, whatever their order, and other inputs another serial number", async () => {
  const one = await written();
  const two = await written({ programs: [rustProgram, goProgram] });
  assert.deepEqual(one.files, two.files);
  const other = await written({ sha256: "cd".repeat(32) });
  assert.notEqual(one.bom.serialNumber, other.bom.serialNumber);
  assert.notEqual(one.document.documentNamespace, other.document.documentNamespace);
  assert.match(one.bom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

const locks = new URL("golden/lock-files/", import.meta.url).pathname;

test("lock files are passed over where every program says itself what it is made of, and only those of its language", async () => {
  const sources = { folder: locks, lockFiles: ["npm/package-lock.json", "go/go.mod", "cargo/Cargo.lock"] };
  const purls = (bom: z.output<typeof bomSchema>): readonly string[] => bom.components.flatMap((component) => component.purl ?? []);
  const told = await written({}, sources);
  assert.ok(!purls(told.bom).includes("pkg:cargo/version_check@0.9.5"), "a crate that only the build used");
  assert.ok(purls(told.bom).includes("pkg:npm/once@1.4.0"), "no program speaks for npm");
  const untold = await written({ programs: [goProgram, silentProgram] }, sources);
  assert.ok(purls(untold.bom).includes("pkg:cargo/version_check@0.9.5"), "the silent program may be of Rust");
  assert.deepEqual(untold.writer.warnings(), ["cargo/Cargo.lock does not tell build and test crates apart: all are listed; cargo auditable says it exactly"]);
});

/** Declared licences and how the two documents say them. */
const licenses: readonly (readonly [declared: string, cycloneDx: unknown, spdx: string])[] = [
  ["Apache-2.0", { license: { id: "Apache-2.0", acknowledgement: "declared" } }, "Apache-2.0"],
  ["apache-2.0", { license: { id: "Apache-2.0", acknowledgement: "declared" } }, "Apache-2.0"],
  [
    "(MIT OR Apache-2.0) AND BSD-3-Clause",
    { expression: "(MIT OR Apache-2.0) AND BSD-3-Clause", acknowledgement: "declared" },
    "(MIT OR Apache-2.0) AND BSD-3-Clause",
  ],
  [
    "GPL-2.0-only with Classpath-exception-2.0",
    { expression: "GPL-2.0-only WITH Classpath-exception-2.0", acknowledgement: "declared" },
    "GPL-2.0-only WITH Classpath-exception-2.0",
  ],
  ["Proprietary", { license: { name: "Proprietary", acknowledgement: "declared" } }, "LicenseRef-Proprietary"],
  ["SEE LICENSE IN eula.txt", { license: { name: "SEE LICENSE IN eula.txt", acknowledgement: "declared" } }, "LicenseRef-SEE-LICENSE-IN-eula.txt"],
  ["MIT OR", { license: { name: "MIT OR", acknowledgement: "declared" } }, "LicenseRef-MIT-OR"],
  ["(MIT", { license: { name: "(MIT", acknowledgement: "declared" } }, "LicenseRef-MIT"],
];

for (const [declared, cycloneDx, spdx] of licenses) {
  test(`the licence ${declared} is said as each format can`, async () => {
    const { cdx, document } = await written({}, { folder }, { ...release, license: declared });
    const { metadata } = JSON.parse(cdx) as { metadata: { component: { licenses: unknown } } };
    assert.deepEqual(metadata.component.licenses, [cycloneDx]);
    assert.equal(document.packages[0]?.licenseDeclared, spdx);
  });
}

test("an image and an artifact without programs and lock files have SBOMs too", async () => {
  const registered = { repository: "team/jaco-server", tags: ["1.2.3"], digest: `sha256:${"cd".repeat(32)}` };
  const image = await written({ name: "jaco-1.2.3.oci.tar", kind: "image", image: registered, programs: [], dependencies: {} });
  assert.equal(image.bom.metadata.component.purl, `pkg:oci/jaco-server@sha256:${"cd".repeat(32)}?tag=1.2.3`);
  assert.equal(image.document.packages[0]?.checksums?.[0]?.checksumValue, "ab".repeat(32), "of the file");
  assert.equal(image.document.packages.length, 1);
});

const npmTree = z.object({ version: z.string().optional(), dependencies: z.record(z.string(), z.unknown()).default({}) });

/** `npm sbom --omit=dev` leaves out what development needs too, our own zod among it; `npm ls` does not. */
function namesInTree(tree: unknown): readonly string[] {
  return Object.entries(npmTree.parse(tree).dependencies).flatMap(([name, below]) => {
    const { version } = npmTree.parse(below);
    return version === undefined ? [] : [`${name}@${version}`, ...namesInTree(below)];
  });
}

test("our own lock file gives the components that npm itself finds", { timeout: 60_000 }, async (t) => {
  if (!needClient(t, "npm")) return;
  const { document } = await written({ programs: [], dependencies: {} }, { folder: project, lockFiles: ["package-lock.json"] });
  const ours = document.packages.slice(1).map(({ name, versionInfo }) => `${name}@${versionInfo ?? ""}`);
  const said = execFileSync("npm", ["ls", "--all", "--json", "--omit=dev", "--package-lock-only"], {
    cwd: project,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  assert.deepEqual(ours.toSorted(), [...new Set(namesInTree(JSON.parse(said)))].toSorted());
  assert.ok(ours.length > 20);
});

test("memory does not grow with the program", async () => {
  const big = program("big", elfProgram(wide, { sections: [{ name: ".go.buildinfo", bytes: golden("go-build-information.bin") }] }));
  truncateSync(big.path, 4 * 1024 ** 3); // sparse: what is behind the tables is never read
  const before = process.memoryUsage.rss();
  const { bom } = await written({ programs: [big] });
  assert.ok(bom.components.length > 5);
  assert.ok(process.memoryUsage.rss() - before < 100 * 1024 * 1024);
});
