/** pnpm-lock.yaml of pnpm 8 (lockfileVersion 6) and of pnpm 9 and newer (lockfileVersion 9). */
import { z } from "zod";
import type { Component } from "../formats/bill-of-materials.ts";
import { packageUrl, vcsUrl } from "../formats/package-url.ts";
import { checksumsOfIntegrity, type LockFile, type LockReading, lockFileError, reachable, readLockYaml } from "./lock-file-text.ts";

const references = z.record(z.string(), z.string()).default({});
const direct = z.record(z.string(), z.object({ version: z.string() })).default({});
const lockedPackage = z.object({
  name: z.string().min(1).optional(),
  version: z.string().min(1).optional(),
  dev: z.boolean().default(false),
  resolution: z.object({
    integrity: z.string().optional(),
    type: z.string().optional(),
    repo: z.string().optional(),
    commit: z.string().optional(),
    directory: z.string().optional(),
  }),
});
const lock = z.object({
  lockfileVersion: z.union([z.string(), z.number()]).transform(String),
  importers: z.record(z.string(), z.object({ dependencies: direct, optionalDependencies: direct })).default({}),
  packages: z.record(z.string(), lockedPackage).default({}),
  snapshots: z.record(z.string(), z.object({ dependencies: references, optionalDependencies: references }).nullable()).default({}),
});
type Lock = z.output<typeof lock>;

/** Packages that only development needs are left out. Throws `source_unusable` for another lockfileVersion. */
export function readPnpmLock(file: LockFile): LockReading {
  const content = readLockYaml(file, lock);
  const major = content.lockfileVersion.split(".", 1)[0];
  if (major !== "6" && major !== "9") {
    throw lockFileError(file, `has lockfileVersion ${content.lockfileVersion}; 6 and 9 are read`, {
      hint: "run `pnpm install --lockfile-only` with pnpm 8 or newer",
    });
  }
  const shipped = major === "9" ? shippedPackages(content) : undefined;
  const components = Object.entries(content.packages).flatMap(([key, entry]): readonly Component[] => {
    const id = withoutPeers(key);
    if (entry.dev || entry.resolution.directory !== undefined || shipped?.has(id) === false) return [];
    const at = id.lastIndexOf("@");
    const named = /^(@?[^@]+)@(.+)$/.exec(id);
    const name = entry.name ?? named?.[1];
    const version = entry.version ?? named?.[2];
    if (at < 1 || name === undefined || version === undefined) throw lockFileError(file, `packages.${key} is not name@version`);
    const { repo, commit, integrity } = entry.resolution;
    const vcs = repo === undefined ? undefined : vcsUrl(repo, commit);
    const purl = packageUrl({ ecosystem: "npm", name, version, ...(vcs === undefined ? {} : { qualifiers: { vcs_url: vcs } }) });
    return [{ name, version, purl, checksums: checksumsOfIntegrity(integrity), origins: [file.name] }];
  });
  return { components, warnings: [] };
}

/** `/name@1.0.0(peer@2.0.0)` -> `name@1.0.0` */
function withoutPeers(key: string): string {
  return key.replace(/^\//, "").replace(/\(.*$/, "");
}

/** From what the projects need, along the snapshots: the format itself no longer says what is for development. */
function shippedPackages({ importers, snapshots }: Lock): ReadonlySet<string> {
  /** A version, or, under another name than the package's own, `real@version`. */
  const keyOf = (name: string, version: string): string => (`${name}@${version}` in snapshots ? `${name}@${version}` : version);
  const roots = Object.values(importers).flatMap(({ dependencies, optionalDependencies }) =>
    Object.entries({ ...dependencies, ...optionalDependencies }).map(([name, { version }]) => keyOf(name, version)),
  );
  const all = reachable(roots, (key) => {
    const snapshot = snapshots[key];
    if (snapshot === undefined || snapshot === null) return [];
    return Object.entries({ ...snapshot.dependencies, ...snapshot.optionalDependencies }).map(([name, version]) => keyOf(name, version));
  });
  return new Set([...all].map(withoutPeers));
}
