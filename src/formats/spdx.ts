/**
 * A bill of materials as SPDX 2.3 JSON (ISO/IEC 5962).
 *
 * The document describes the artifact; the artifact contains programs and components, a program contains what is linked into it, and
 * what the customer's package manager brings beside it stands as a dependency of the artifact.
 */
import { createHash } from "node:crypto";
import {
  allComponents,
  artifactPurl,
  type BillOfMaterials,
  billUuid,
  type Checksum,
  type Component,
  componentKey,
  type Program,
  type SystemDependency,
} from "./bill-of-materials.ts";
import { declaredLicense, licenseReference } from "./spdx-license.ts";

type SpdxPackage = {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo?: string;
  readonly packageFileName?: string;
  readonly supplier: string;
  readonly downloadLocation: "NOASSERTION";
  readonly filesAnalyzed: false;
  readonly homepage?: string;
  readonly sourceInfo?: string;
  readonly licenseConcluded: "NOASSERTION";
  readonly licenseDeclared: string;
  readonly copyrightText: "NOASSERTION";
  readonly summary?: string;
  readonly comment?: string;
  readonly checksums?: readonly { readonly algorithm: string; readonly checksumValue: string }[];
  readonly externalRefs?: readonly { readonly referenceCategory: "PACKAGE-MANAGER"; readonly referenceType: "purl"; readonly referenceLocator: string }[];
  readonly primaryPackagePurpose: "APPLICATION" | "ARCHIVE" | "CONTAINER" | "FILE" | "INSTALL" | "LIBRARY";
};
type Relationship = { readonly spdxElementId: string; readonly relationshipType: string; readonly relatedSpdxElement: string };

const documentId = "SPDXRef-DOCUMENT";
const artifactId = "SPDXRef-artifact";
const indentation = 2;
const unknown = "NOASSERTION";

/** The whole document with a line feed at its end: the same bill gives the same bytes. */
export function renderSpdx(bill: BillOfMaterials): string {
  const words = new Map<string, string>();
  const components = allComponents(bill);
  const contained = (from: string, to: readonly Component[]): readonly Relationship[] =>
    to.map((component) => relation(from, "CONTAINS", idOf("component", componentKey(component))));
  const packages: readonly SpdxPackage[] = [
    artifactPackage(bill, words),
    ...bill.programs.map((program) => programPackage(bill, program)),
    ...components.map((component) => componentPackage(component, words)),
    ...bill.systemDependencies.map(systemPackage),
  ];
  const relationships: readonly Relationship[] = [
    relation(documentId, "DESCRIBES", artifactId),
    ...bill.programs.flatMap((program) => {
      const id = idOf("program", program.name);
      return [relation(artifactId, "CONTAINS", id), ...contained(id, program.components)];
    }),
    ...contained(artifactId, bill.components),
    ...bill.systemDependencies.map((dependency) =>
      dependency.kind === "depends"
        ? relation(artifactId, "DEPENDS_ON", systemId(dependency))
        : relation(systemId(dependency), "OPTIONAL_DEPENDENCY_OF", artifactId),
    ),
  ];
  const document = {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: documentId,
    name: bill.artifact.name,
    documentNamespace: `urn:uuid:${billUuid(bill, "SPDX")}`,
    creationInfo: {
      created: new Date(bill.epochSeconds * 1000).toISOString().replace(".000Z", "Z"),
      creators: [`Organization: ${oneLine(bill.supplier)}`, `Tool: ${bill.tool.name}-${bill.tool.version}`],
    },
    packages,
    relationships,
    ...(words.size === 0 ? {} : { hasExtractedLicensingInfos: [...words].map(([licenseId, text]) => ({ licenseId, name: text, extractedText: text })) }),
  };
  return `${JSON.stringify(document, undefined, indentation)}\n`;
}

function relation(spdxElementId: string, relationshipType: string, relatedSpdxElement: string): Relationship {
  return { spdxElementId, relationshipType, relatedSpdxElement };
}

const purposes = { deb: "INSTALL", rpm: "INSTALL", apk: "INSTALL", archive: "ARCHIVE", image: "CONTAINER", binary: "APPLICATION" } as const;

function artifactPackage(bill: BillOfMaterials, words: Map<string, string>): SpdxPackage {
  const { artifact } = bill;
  return {
    SPDXID: artifactId,
    name: bill.product,
    versionInfo: bill.version,
    packageFileName: artifact.name,
    supplier: `Organization: ${oneLine(bill.supplier)}`,
    downloadLocation: unknown,
    filesAnalyzed: false,
    ...(bill.homepage === undefined ? {} : { homepage: bill.homepage }),
    licenseConcluded: unknown,
    licenseDeclared: licenseOf(bill.license, words),
    copyrightText: unknown,
    summary: bill.summary,
    checksums: checksumsOf([{ algorithm: "SHA-256", hex: artifact.sha256 }]),
    externalRefs: purlReference(artifactPurl(bill)),
    primaryPackagePurpose: artifact.kind in purposes ? purposes[artifact.kind as keyof typeof purposes] : "FILE",
  };
}

function programPackage(bill: BillOfMaterials, program: Program): SpdxPackage {
  return {
    SPDXID: idOf("program", program.name),
    name: program.name,
    versionInfo: bill.version,
    packageFileName: program.name,
    supplier: `Organization: ${oneLine(bill.supplier)}`,
    downloadLocation: unknown,
    filesAnalyzed: false,
    ...(program.facts.length === 0 ? {} : { sourceInfo: program.facts.map(([name, value]) => `${name}=${value}`).join("; ") }),
    licenseConcluded: unknown,
    licenseDeclared: unknown,
    copyrightText: unknown,
    checksums: checksumsOf([{ algorithm: "SHA-256", hex: program.sha256 }]),
    primaryPackagePurpose: "APPLICATION",
  };
}

function componentPackage(component: Component, words: Map<string, string>): SpdxPackage {
  return {
    SPDXID: idOf("component", componentKey(component)),
    name: component.name,
    ...(component.version === undefined ? {} : { versionInfo: component.version }),
    supplier: unknown,
    downloadLocation: unknown,
    filesAnalyzed: false,
    sourceInfo: `named by ${component.origins.join(", ")}`,
    licenseConcluded: unknown,
    licenseDeclared: component.license === undefined ? unknown : licenseOf(component.license, words),
    copyrightText: unknown,
    ...(component.checksums.length === 0 ? {} : { checksums: checksumsOf(component.checksums) }),
    ...(component.purl === undefined ? {} : { externalRefs: purlReference(component.purl) }),
    primaryPackagePurpose: "LIBRARY",
  };
}

function systemPackage(dependency: SystemDependency): SpdxPackage {
  return {
    SPDXID: systemId(dependency),
    name: dependency.name,
    supplier: unknown,
    downloadLocation: unknown,
    filesAnalyzed: false,
    licenseConcluded: unknown,
    licenseDeclared: unknown,
    copyrightText: unknown,
    comment: `not inside the artifact; the package manager installs it: ${dependency.kind} ${dependency.relation}`,
    primaryPackagePurpose: "APPLICATION",
  };
}

/** An expression; words that are none become a reference, which the document must define (SPDX 2.3, 10.1). */
function licenseOf(text: string, words: Map<string, string>): string {
  const license = declaredLicense(text);
  switch (license.kind) {
    case "identifier":
      return license.id;
    case "expression":
      return license.expression;
    case "words": {
      if (license.words === "") return unknown;
      const reference = licenseReference(license.words);
      const known = words.get(reference);
      const id = known === undefined || known === license.words ? reference : `${reference}-${shortHash(license.words)}`;
      words.set(id, license.words);
      return id;
    }
    default:
      return license satisfies never;
  }
}

function checksumsOf(checksums: readonly Checksum[]): SpdxPackage["checksums"] & {} {
  return checksums.map(({ algorithm, hex }) => ({ algorithm: algorithm.replace("-", ""), checksumValue: hex }));
}

function purlReference(purl: string): SpdxPackage["externalRefs"] & {} {
  return [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl }];
}

function systemId(dependency: SystemDependency): string {
  return idOf("system", `${dependency.kind} ${dependency.relation}`);
}

/** Letters, digits, dot and dash only (SPDX 2.3, 3.2): a readable part, and a hash that keeps what it lost. */
function idOf(kind: string, key: string): string {
  const readable = key
    .replace(/^pkg:/, "")
    .replaceAll(/[^A-Za-z0-9.]+/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 80);
  return `SPDXRef-${kind}-${readable}-${shortHash(key)}`;
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}
