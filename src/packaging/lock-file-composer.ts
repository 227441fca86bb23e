/** composer.lock of PHP's Composer; packages for development stand in a list of their own, which is left out. */
import { z } from "zod";
import type { Component } from "../formats/bill-of-materials.ts";
import { packageUrl } from "../formats/package-url.ts";
import { type LockFile, type LockReading, readLockJson } from "./lock-file-text.ts";

const word = z.string().min(1).max(1_000);
const lock = z.object({
  packages: z.array(
    z.object({
      name: word,
      version: word,
      license: z.array(z.string()).default([]),
      dist: z.object({ type: z.string(), shasum: z.string().nullable().optional() }).nullable().optional(),
    }),
  ),
});

export function readComposerLock(file: LockFile): LockReading {
  const components = readLockJson(file, lock).packages.flatMap(({ name, version, license, dist }): readonly Component[] => {
    if (dist?.type === "path") return [];
    const shasum = dist?.shasum ?? "";
    // Several licences are a choice (Composer's schema, "license").
    const declared = license.length > 1 ? `(${license.join(" OR ")})` : license[0];
    return [
      {
        name,
        version,
        purl: packageUrl({ ecosystem: "composer", name, version }),
        ...(declared === undefined || declared === "" ? {} : { license: declared }),
        checksums: /^[0-9a-f]{40}$/.test(shasum) ? [{ algorithm: "SHA-1", hex: shasum }] : [],
        origins: [file.name],
      },
    ];
  });
  return { components, warnings: [] };
}
