/** What our SBOMs are held against: the official CycloneDX 1.6 schema, and the fields of SPDX 2.3 that we use with all their references. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";
import { z } from "zod";

const schemas = join(createRequire(import.meta.url).resolve("@cyclonedx/cyclonedx-library/package.json"), "../res/schema");
const schema = (name: string): object => JSON.parse(readFileSync(join(schemas, `${name}.SNAPSHOT.schema.json`), "utf8")) as object;

const ajv = new Ajv({ strict: false });
for (const name of ["spdx", "jsf-0.82"]) ajv.addSchema(schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
addFormats.default(ajv);
// Of the internationalised formats ajv-formats has only the plain ones, which are narrower: what we write must pass those.
ajv.addFormat("iri-reference", /^[^\s<>"{}|\\^`]*$/u);
ajv.addFormat("idn-email", /^[^\s@]+@[^\s@]+$/u);
const cycloneDx = ajv.compile(schema("bom-1.6"));

export function assertCycloneDx(text: string): void {
  assert.ok(cycloneDx(JSON.parse(text)), JSON.stringify(cycloneDx.errors, undefined, 1));
}

const id = z.string().regex(/^SPDXRef-[A-Za-z0-9.-]+$/);
const spdxPackage = z.strictObject({
  SPDXID: id,
  name: z.string().min(1),
  versionInfo: z.string().min(1).optional(),
  packageFileName: z.string().min(1).optional(),
  supplier: z.string().regex(/^(?:(?:Organization|Person): \S|NOASSERTION$)/),
  downloadLocation: z.literal("NOASSERTION"),
  filesAnalyzed: z.literal(false),
  homepage: z.url().optional(),
  sourceInfo: z.string().optional(),
  licenseConcluded: z.literal("NOASSERTION"),
  licenseDeclared: z.string().min(1),
  copyrightText: z.literal("NOASSERTION"),
  summary: z.string().optional(),
  comment: z.string().optional(),
  checksums: z
    .array(z.strictObject({ algorithm: z.enum(["SHA1", "SHA256", "SHA384", "SHA512"]), checksumValue: z.string().regex(/^[0-9a-f]{40,128}$/) }))
    .min(1)
    .optional(),
  externalRefs: z
    .array(
      z.strictObject({
        referenceCategory: z.literal("PACKAGE-MANAGER"),
        referenceType: z.literal("purl"),
        referenceLocator: z.string().regex(/^pkg:[a-z]+\/\S+$/),
      }),
    )
    .optional(),
  primaryPackagePurpose: z.enum(["APPLICATION", "ARCHIVE", "CONTAINER", "FILE", "INSTALL", "LIBRARY"]),
});
const spdxDocument = z.strictObject({
  spdxVersion: z.literal("SPDX-2.3"),
  dataLicense: z.literal("CC0-1.0"),
  SPDXID: z.literal("SPDXRef-DOCUMENT"),
  name: z.string().min(1),
  documentNamespace: z.string().regex(/^[a-z]+:[^\s#]+$/),
  creationInfo: z.strictObject({
    created: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    creators: z.array(z.string().regex(/^(?:Tool|Organization|Person): \S/)).min(1),
  }),
  packages: z.array(spdxPackage).min(1),
  relationships: z.array(
    z.strictObject({
      spdxElementId: id,
      relationshipType: z.enum(["CONTAINS", "DEPENDS_ON", "DESCRIBES", "OPTIONAL_DEPENDENCY_OF"]),
      relatedSpdxElement: id,
    }),
  ),
  hasExtractedLicensingInfos: z
    .array(z.strictObject({ licenseId: z.string().regex(/^LicenseRef-[A-Za-z0-9.-]+$/), name: z.string(), extractedText: z.string().min(1) }))
    .optional(),
});

/** Shape, unique identifiers, no reference to nothing, everything reachable, and every LicenseRef defined. */
export function assertSpdx(text: string): z.output<typeof spdxDocument> {
  const document = spdxDocument.parse(JSON.parse(text));
  const ids = new Set([document.SPDXID, ...document.packages.map((one) => one.SPDXID)]);
  assert.equal(ids.size, document.packages.length + 1, "an identifier stands twice");
  for (const { spdxElementId, relatedSpdxElement } of document.relationships) {
    assert.ok(ids.has(spdxElementId) && ids.has(relatedSpdxElement), `${spdxElementId} or ${relatedSpdxElement} is nowhere`);
  }
  const related = new Set(document.relationships.flatMap((relation) => [relation.spdxElementId, relation.relatedSpdxElement]));
  for (const one of ids) assert.ok(related.has(one), `${one} is related to nothing`);
  const defined = new Set((document.hasExtractedLicensingInfos ?? []).map((license) => license.licenseId));
  for (const one of document.packages) {
    for (const reference of one.licenseDeclared.match(/LicenseRef-[A-Za-z0-9.-]+/g) ?? []) assert.ok(defined.has(reference), `${reference} is not defined`);
  }
  return document;
}
