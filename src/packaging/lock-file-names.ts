/** The lock files that are read: the names that their tools give them, and the ecosystem of each. Apart from the readers, so that a recipe is checked without them. */
import type { Ecosystem } from "../formats/package-url.ts";

/** In the order of reading. */
export const lockFileEcosystems = {
  "package-lock.json": "npm",
  "npm-shrinkwrap.json": "npm",
  "yarn.lock": "npm",
  "pnpm-lock.yaml": "npm",
  "Cargo.lock": "cargo",
  "go.mod": "golang",
  "uv.lock": "pypi",
  "poetry.lock": "pypi",
  "Pipfile.lock": "pypi",
  "requirements.txt": "pypi",
  "Gemfile.lock": "gem",
  "composer.lock": "composer",
} as const satisfies Readonly<Record<string, Ecosystem>>;

export type LockFileName = keyof typeof lockFileEcosystems;

export function isLockFileName(name: string): name is LockFileName {
  return Object.hasOwn(lockFileEcosystems, name);
}
