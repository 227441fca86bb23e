/** The form of dependencies in a recipe: parsed once, and refused where a format that they are for cannot say them. */
import { z } from "zod";
import { apkDependency, debDependency, parseDependency, rpmDependency } from "../formats/dependency.ts";
import type { Dependency, DependencyKind, RelationKind } from "../formats/package.ts";
import { line, reading } from "./recipe-fields.ts";

export const packageFormats = ["deb", "rpm", "apk"] as const;
export type PackageFormat = (typeof packageFormats)[number];

/** Printing it is the proof that the format can say it: each has other names, versions and places for alternatives. */
const printers = { deb: debDependency, rpm: rpmDependency, apk: apkDependency } as const;

export const dependencyFor = (kind: RelationKind, formats: readonly PackageFormat[]) =>
  line(500).transform(
    reading((text: string): Dependency => {
      const dependency = parseDependency(text);
      for (const format of formats) printers[format](dependency, kind);
      return dependency;
    }),
  );

/** A list that one format alone has. */
export const dependenciesOf = (format: PackageFormat, kind: RelationKind, meaning: string) =>
  z
    .array(dependencyFor(kind, [format]))
    .optional()
    .describe(meaning);

const listsPerFormat = (kind: DependencyKind) => ({
  deb: z.array(dependencyFor(kind, ["deb"])).default([]),
  rpm: z.array(dependencyFor(kind, ["rpm"])).default([]),
});

/** Whether apk can say a list for all formats is asked where apk is among them (packages): it has no alternatives, which deb's lists are full of. */
export const dependencies = (kind: DependencyKind, meaning: string) =>
  z
    .union([z.array(dependencyFor(kind, ["deb", "rpm"])), z.strictObject({ ...listsPerFormat(kind), apk: z.array(dependencyFor(kind, ["apk"])).default([]) })])
    .transform((value) => (Array.isArray(value) ? { deb: value, rpm: value, apk: value } : value))
    .optional()
    .describe(`${meaning}: a list for all formats, or one list per format`);

export const weakDependencies = (kind: DependencyKind, meaning: string) =>
  z
    .union([z.array(dependencyFor(kind, ["deb", "rpm"])), z.strictObject(listsPerFormat(kind))])
    .transform((value) => ({ ...(Array.isArray(value) ? { deb: value, rpm: value } : value), apk: [] }))
    .optional()
    .describe(`${meaning} (apk has no such advice and goes without): a list for all formats, or one list per format`);
