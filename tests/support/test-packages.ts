/** Small real packages in memory, for tests that need something to install: a program, perhaps a configuration file and links. */
import type { AptEntry } from "../../src/repositories/apt.ts";
import { aptStanza } from "../../src/repositories/apt.ts";
import { type YumFragments, yumFragments } from "../../src/repositories/yum-fragments.ts";
import { createHash } from "node:crypto";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { readDeb } from "../../src/formats/deb-read.ts";
import { writeDeb } from "../../src/formats/deb.ts";
import type { PackageEntry, PackageSpec } from "../../src/formats/package.ts";
import { readRpm } from "../../src/formats/rpm-read.ts";
import { type SignRpmHeader, writeRpm } from "../../src/formats/rpm.ts";
import type { Version } from "../../src/model/version.ts";
import { memoryOutput } from "./memory-output.ts";

/** What the YUM indexes give as the time of every test file. */
export const testModifiedAt = new Date("2026-06-01T00:00:00Z");

export type TestPackage = {
  readonly name: string;
  readonly version: Version;
  readonly arch?: PackageSpec["arch"];
  readonly files: readonly { readonly path: string; readonly mode: number; readonly bytes: Uint8Array; readonly config?: "noreplace" }[];
  readonly links?: readonly { readonly path: string; readonly target: string }[];
  readonly scripts?: PackageSpec["scripts"];
  /** Names of packages. */
  readonly depends?: readonly string[];
};

/** A package whose one program prints `<name> <version>`. */
export function printingPackage(name: string, version: Version, arch: PackageSpec["arch"] = "amd64"): TestPackage {
  return {
    name,
    version,
    arch,
    files: [
      { path: `/etc/${name}/${name}.conf`, mode: 0o644, bytes: Buffer.from("port = 8080\n"), config: "noreplace" },
      { path: `/usr/bin/${name}`, mode: 0o755, bytes: Buffer.from(`#!/bin/sh\necho "${name} ${version}"\n`) },
    ],
  };
}

export async function writeTestDeb(one: TestPackage): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  await writeDeb(specOf(one), memoryOutput(pieces));
  return Buffer.concat(pieces);
}

export async function writeTestRpm(one: TestPackage, signHeader?: SignRpmHeader): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  await writeRpm(specOf(one), { ...memoryOutput(pieces), ...(signHeader === undefined ? {} : { signHeader }) });
  return Buffer.concat(pieces);
}

/** What the APT index says of a deb that lies at `filename`. */
export async function aptEntryOf(bytes: Uint8Array, filename: string): Promise<AptEntry> {
  const deb = await readDeb(bytesSource(bytes));
  return { arch: deb.architecture, stanza: aptStanza(deb, { filename, sha256: sha256Of(bytes) }) };
}

/** What the YUM indexes say of an rpm that lies at `href`. */
export async function yumFragmentsOf(bytes: Uint8Array, href: string): Promise<YumFragments> {
  return yumFragments(await readRpm(bytesSource(bytes)), { href, sha256: sha256Of(bytes), modifiedAt: testModifiedAt });
}

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

function specOf(one: TestPackage): PackageSpec {
  const own = { owner: "root", group: "root" };
  const entries: PackageEntry[] = [
    ...one.files.map(
      ({ path, mode, bytes, config }): PackageEntry => ({
        kind: "file",
        path,
        mode,
        ...own,
        source: bytesSource(bytes),
        ...(config === undefined ? {} : { config }),
      }),
    ),
    ...(one.links ?? []).map(({ path, target }): PackageEntry => ({ kind: "symlink", path, target, ...own })),
  ];
  return {
    name: one.name,
    version: one.version,
    arch: one.arch ?? "amd64",
    summary: `The ${one.name} of the tests`,
    description: `First paragraph <with> "marks" & more.\n\nSecond paragraph.`,
    maintainer: "Test Release <release@test.example>",
    license: "Apache-2.0",
    section: "admin",
    dependencies: one.depends === undefined ? {} : { depends: one.depends.map((name) => [{ name }]) },
    scripts: one.scripts ?? {},
    entries: entries.sort((left, right) => Buffer.compare(Buffer.from(left.path), Buffer.from(right.path))),
    compression: { codec: "gzip", level: 6 },
    epochSeconds: 1_780_000_000,
  };
}
