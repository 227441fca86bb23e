/** A bill of materials as CycloneDX 1.6 JSON (ECMA-424), by the CycloneDX project's own library. */
import { Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library";
import {
  allComponents,
  artifactPurl,
  type BillOfMaterials,
  billUuid,
  type Component,
  componentKey,
  type Program,
  type SystemDependency,
} from "./bill-of-materials.ts";
import { declaredLicense } from "./spdx-license.ts";

/** Names of our properties; `slipway` is the namespace, as the CycloneDX property taxonomy asks for. */
const property = { artifact: "slipway:artifact", origin: "slipway:origin", dependency: "slipway:dependency", build: "slipway:build" } as const;

const indentation = 2;

/** The whole document with a line feed at its end: the same bill gives the same bytes. */
export function renderCycloneDx(bill: BillOfMaterials): string {
  const bom = new Models.Bom({ serialNumber: `urn:uuid:${billUuid(bill, "CycloneDX")}` });
  bom.metadata.timestamp = new Date(bill.epochSeconds * 1000);
  bom.metadata.lifecycles.add(new Models.NamedLifecycle(Enums.LifecyclePhase.Build));
  bom.metadata.tools.components.add(new Models.Component(Enums.ComponentType.Application, bill.tool.name, { version: bill.tool.version }));
  const subject = subjectOf(bill);
  bom.metadata.component = subject;
  if (subject.supplier !== undefined) bom.metadata.supplier = subject.supplier;
  const components = new Map(allComponents(bill).map((component) => [componentKey(component), libraryOf(component)]));
  for (const component of components.values()) bom.components.add(component);
  const link = (from: Models.Component, to: readonly Component[]): void => {
    for (const component of to) {
      const found = components.get(componentKey(component));
      if (found !== undefined) from.dependencies.add(found.bomRef);
    }
  };
  link(subject, bill.components);
  for (const program of bill.programs) {
    const file = programOf(bill, program);
    link(file, program.components);
    subject.dependencies.add(file.bomRef);
    bom.components.add(file);
  }
  for (const dependency of bill.systemDependencies) {
    const component = systemComponent(dependency);
    subject.dependencies.add(component.bomRef);
    bom.components.add(component);
  }
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  return `${serializer.serialize(bom, { sortLists: true, space: indentation })}\n`;
}

function subjectOf(bill: BillOfMaterials): Models.Component {
  const { artifact, product, version } = bill;
  const isImage = artifact.kind === "image";
  const component = new Models.Component(isImage ? Enums.ComponentType.Container : Enums.ComponentType.Application, product, {
    bomRef: artifact.name,
    version,
    description: bill.summary,
    purl: artifactPurl(bill),
    supplier: new Models.OrganizationalEntity({ name: bill.supplier }),
    hashes: new Models.HashDictionary([[Enums.HashAlgorithm["SHA-256"], artifact.sha256]]),
    licenses: licensesOf(bill.license),
    properties: propertiesOf([[property.artifact, artifact.name]]),
  });
  if (bill.homepage !== undefined) component.externalReferences.add(new Models.ExternalReference(bill.homepage, Enums.ExternalReferenceType.Website));
  return component;
}

function programOf(bill: BillOfMaterials, program: Program): Models.Component {
  return new Models.Component(Enums.ComponentType.File, program.name, {
    bomRef: `program:${program.name}`,
    version: bill.version,
    hashes: new Models.HashDictionary([[Enums.HashAlgorithm["SHA-256"], program.sha256]]),
    properties: propertiesOf(program.facts.map(([name, value]) => [`${property.build}:${name}`, value])),
  });
}

function libraryOf(component: Component): Models.Component {
  return new Models.Component(Enums.ComponentType.Library, component.name, {
    bomRef: componentKey(component),
    ...(component.version === undefined ? {} : { version: component.version }),
    ...(component.purl === undefined ? {} : { purl: component.purl }),
    ...(component.license === undefined ? {} : { licenses: licensesOf(component.license) }),
    hashes: new Models.HashDictionary(component.checksums.map(({ algorithm, hex }) => [Enums.HashAlgorithm[algorithm], hex])),
    properties: propertiesOf(component.origins.map((origin) => [property.origin, origin])),
  });
}

/** Not inside the artifact: needed at run time (required) or going well with it (optional). */
function systemComponent(dependency: SystemDependency): Models.Component {
  return new Models.Component(Enums.ComponentType.Application, dependency.name, {
    bomRef: `system:${dependency.kind}:${dependency.relation}`,
    scope: dependency.kind === "depends" ? Enums.ComponentScope.Required : Enums.ComponentScope.Optional,
    properties: propertiesOf([[`${property.dependency}:${dependency.kind}`, dependency.relation]]),
  });
}

function licensesOf(text: string): Models.LicenseRepository {
  const license = declaredLicense(text);
  const repository = new Models.LicenseRepository();
  switch (license.kind) {
    case "identifier":
      repository.add(new Models.SpdxLicense(license.id, { acknowledgement: Enums.LicenseAcknowledgement.Declared }));
      break;
    case "expression": {
      const expression = new Models.LicenseExpression(license.expression);
      expression.acknowledgement = Enums.LicenseAcknowledgement.Declared;
      repository.add(expression);
      break;
    }
    case "words":
      repository.add(new Models.NamedLicense(license.words, { acknowledgement: Enums.LicenseAcknowledgement.Declared }));
      break;
    default:
      license satisfies never;
  }
  return repository;
}

function propertiesOf(pairs: readonly (readonly [name: string, value: string])[]): Models.PropertyRepository {
  return new Models.PropertyRepository(pairs.map(([name, value]) => new Models.Property(name, value)));
}
