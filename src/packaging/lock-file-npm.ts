/** package-lock.json and npm-shrinkwrap.json of npm 7 and newer (lockfileVersion 2 and 3, npm's package-lock.json(5)). */
import { z } from "zod";
import type { Component } from "../formats/bill-of-materials.ts";
import { packageUrl, vcsUrl } from "../formats/package-url.ts";
import { checksumsOfIntegrity, type LockFile, type LockReading, lockFileError, readLockJson } from "./lock-file-text.ts";

const word = z.string().min(1).max(1_000);
const lockedPackage = z.object({
  name: word.optional(),
  version: word.optional(),
  resolved: z.union([z.string(), z.boolean()]).optional(),
  integrity: z.string().max(10_000).optional(),
  license: z.unknown().optional(),
  dev: z.boolean().default(false),
  link: z.boolean().default(false),
});
const lock = z.object({ lockfileVersion: z.int(), packages: z.record(z.string(), lockedPackage).optional() });

const modulesFolder = "node_modules/";

/**
 * What is installed for production: packages that only development needs, the project itself and its workspaces are left out.
 * Throws `source_unusable` for another version of the format and for a package without a version.
 */
export function readPackageLock(file: LockFile): LockReading {
  const { lockfileVersion, packages } = readLockJson(file, lock);
  if (packages === undefined || (lockfileVersion !== 2 && lockfileVersion !== 3)) {
    throw lockFileError(file, `has lockfileVersion ${lockfileVersion}; 2 and 3 are read`, {
      hint: "run `npm install --package-lock-only` with npm 7 or newer",
    });
  }
  const components = Object.entries(packages).flatMap(([path, entry]): readonly Component[] => {
    const at = path.lastIndexOf(modulesFolder);
    if (at < 0 || entry.link || entry.dev) return [];
    const name = entry.name ?? path.slice(at + modulesFolder.length);
    if (entry.version === undefined) throw lockFileError(file, `packages.${path} has no version`);
    return [
      {
        name,
        version: entry.version,
        ...purlOf(name, entry.version, entry.resolved),
        ...(typeof entry.license === "string" && entry.license !== "" ? { license: entry.license } : {}),
        checksums: checksumsOfIntegrity(entry.integrity),
        origins: [file.name],
      },
    ];
  });
  return { components, warnings: [] };
}

/** A package from git says where from; one from a local file is not the registry's package of that name, so it gets no package URL. */
export function purlOf(name: string, version: string, resolved: unknown): { readonly purl?: string } {
  if (typeof resolved === "string" && resolved.startsWith("file:")) return {};
  if (typeof resolved !== "string" || !/^git[+:@]/.test(resolved)) return { purl: packageUrl({ ecosystem: "npm", name, version }) };
  const [address = "", commit] = resolved.split("#");
  const vcs = vcsUrl(address, commit);
  return vcs === undefined ? {} : { purl: packageUrl({ ecosystem: "npm", name, version, qualifiers: { vcs_url: vcs } }) };
}
