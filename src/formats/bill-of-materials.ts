/** What a bill of materials (SBOM) says about one artifact, before it is spelled as CycloneDX or SPDX. */
import { createHash } from "node:crypto";
import type { ArtifactKind, ManifestArtifact } from "../model/manifest.ts";
import { packageUrl } from "./package-url.ts";
import type { DependencyKind } from "./package.ts";

export type Checksum = { readonly algorithm: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512"; readonly hex: string };

/** Somebody else's code that went in. */
export type Component = {
  /** As its ecosystem writes it: `@scope/name`, `golang.org/x/sys`. */
  readonly name: string;
  /** Absent where nothing says it. */
  readonly version?: string;
  /** Package URL; absent for code that no registry has. */
  readonly purl?: string;
  /** As declared: an SPDX expression, or any words. */
  readonly license?: string;
  /** Of the package as its registry serves it. */
  readonly checksums: readonly Checksum[];
  /** What says that it went in: `package-lock.json`, `Go build information of jaco`. Sorted, each once. */
  readonly origins: readonly string[];
};

/** One executable inside the artifact, and what is known to be linked into it. */
export type Program = {
  readonly name: string;
  /** 64 hex digits. */
  readonly sha256: string;
  readonly components: readonly Component[];
  /** What the build wrote into it, in the order of printing: compiler, commit. */
  readonly facts: readonly (readonly [name: string, value: string])[];
};

/** A package that the package manager of the customer's machine installs beside ours; it is not inside the artifact. */
export type SystemDependency = {
  readonly kind: DependencyKind;
  readonly name: string;
  /** The whole relation: `docker.io (>= 20) | docker-ce`. */
  readonly relation: string;
};

export type BillOfMaterials = {
  /** `sha256` is of the file, 64 hex digits; `image` says what registries know an image by. */
  readonly artifact: { readonly name: string; readonly kind: ArtifactKind; readonly sha256: string; readonly image?: NonNullable<ManifestArtifact["image"]> };
  readonly product: string;
  readonly version: string;
  readonly summary: string;
  readonly license: string;
  /** The organisation that ships it. */
  readonly supplier: string;
  readonly homepage?: string;
  readonly programs: readonly Program[];
  /** What lock files say went in, without a word about which program has it. */
  readonly components: readonly Component[];
  readonly systemDependencies: readonly SystemDependency[];
  readonly epochSeconds: number;
  readonly tool: { readonly name: string; readonly version: string };
};

/** What makes two mentions the same component. */
export function componentKey(component: Component): string {
  return component.purl ?? `${component.name}@${component.version ?? ""}`;
}

/** Each component once, sorted by key in byte order; of several mentions the first that knows a licence or checksums gives them, and all origins are kept. */
export function mergeComponents(components: Iterable<Component>): readonly Component[] {
  const byKey = new Map<string, Component>();
  for (const component of components) {
    const key = componentKey(component);
    const known = byKey.get(key);
    byKey.set(key, known === undefined ? component : merged(known, component));
  }
  return [...byKey].toSorted(([left], [right]) => (left < right ? -1 : 1)).map(([, component]) => component);
}

function merged(first: Component, second: Component): Component {
  const license = first.license ?? second.license;
  return {
    ...first,
    ...(license === undefined ? {} : { license }),
    checksums: first.checksums.length > 0 ? first.checksums : second.checksums,
    origins: [...new Set([...first.origins, ...second.origins])].toSorted(),
  };
}

/** Everything that the programs and the lock files bring, each once. */
export function allComponents(bill: BillOfMaterials): readonly Component[] {
  return mergeComponents([...bill.programs.flatMap((program) => program.components), ...bill.components]);
}

/** The artifact itself: named by its digest, because no registry of packages has it under this name. */
export function artifactPurl({ artifact, product, version }: BillOfMaterials): string {
  const { image } = artifact;
  if (image !== undefined) {
    const [tag = version] = image.tags;
    return packageUrl({ ecosystem: "oci", name: image.repository.split("/").at(-1) ?? product, version: image.digest, qualifiers: { tag } });
  }
  return packageUrl({ ecosystem: "generic", name: product, version, qualifiers: { checksum: `sha256:${artifact.sha256}`, file_name: artifact.name } });
}

/**
 * A UUID made of the content (RFC 9562 version 8), so that the same bill has the same serial number on any machine and another bill another.
 * `format` keeps the CycloneDX and the SPDX document apart.
 */
export function billUuid(bill: BillOfMaterials, format: string): string {
  const bytes = createHash("sha256")
    .update(`${format}\n${JSON.stringify(bill)}`)
    .digest()
    .subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
