/** The apks that the tests pin: written anew by each run, with keys that sign nothing but tests. Real apk-tools accepted these very bytes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writeApk } from "../../src/formats/apk.ts";
import type { SignApk } from "../../src/formats/apk-segment.ts";
import { comparePaths } from "../../src/formats/entry-path.ts";
import type { PackageEntry, PackageSpec } from "../../src/formats/package.ts";
import { parseVersion } from "../../src/model/version.ts";
import { type ApkSigningKey, readApkSigningKey, signApkMember } from "../../src/trust/apk-signature.ts";
import { memoryOutput } from "../support/memory-output.ts";
import { dependencies, file, sampleEntries, sampleSpec, spoolMaker, writeFileBy } from "./sample.ts";

function testKey(name: string): ApkSigningKey {
  return readApkSigningKey(readFileSync(new URL(`../fixtures/${name}`, import.meta.url), "utf8"));
}

/** The key in use, and the one that takes over in a rotation. */
export const apkKey = testKey("apk-test-key.pem");
export const nextApkKey = testKey("apk-next-key.pem");

export const signWith =
  (...keys: readonly ApkSigningKey[]): SignApk =>
  async (member) =>
    keys.flatMap((key) => signApkMember(member, key));

/** Writes a package into memory, signed with the test key; `signControl: undefined` leaves it unsigned. */
export async function apkBytes(
  spec: PackageSpec,
  options: { readonly signControl?: SignApk | undefined } = { signControl: signWith(apkKey) },
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  const { signControl } = options;
  await writeApk(spec, { ...memoryOutput(pieces), ...(signControl === undefined ? {} : { signControl }) });
  return Buffer.concat(pieces);
}

/** Writes a signed package to disk, with spools on disk: memory stays the same for any size. */
export async function apkFile(folder: string, spec: PackageSpec, name: string): Promise<string> {
  return writeFileBy(join(folder, name), (sink) => writeApk(spec, { sink, makeSpool: spoolMaker(folder), signControl: signWith(apkKey) }));
}

const script = (name: string): string => `#!/bin/sh\nset -e\necho "${name} $*" >> /log\n`;

/** All six moments at which apk runs a script. */
export const apkLoggingScripts: PackageSpec["scripts"] = Object.fromEntries(
  ["preinstall", "postinstall", "preupgrade", "postupgrade", "preremove", "postremove"].map((name) => [name, script(name)]),
);

/** The sample with a link beyond tar's 100 bytes, and per version another program and configuration. */
function versioned(version: string, conf: string): readonly PackageEntry[] {
  const entries = sampleEntries.map((entry) => {
    if (entry.path === "/etc/toy/toy.conf") return file(entry.path, conf, { config: "noreplace" });
    return entry.path === "/usr/bin/toy" ? file(entry.path, `#!/bin/sh\necho ${version}\n`, { mode: 0o755 }) : entry;
  });
  const link: PackageEntry = { kind: "symlink", path: "/usr/share/toy/long", target: `../${"t".repeat(150)}`, owner: "root", group: "root" };
  return [...entries, link].sort((left, right) => comparePaths(left.path, right.path));
}

const toy = (version: string, conf: string): PackageSpec =>
  sampleSpec({
    version: parseVersion(version),
    scripts: apkLoggingScripts,
    entries: versioned(version, conf),
    dependencies: { depends: dependencies("toy-shell"), conflicts: dependencies("toy-rival"), provides: dependencies("cmd:toy = 1.4.0") },
  });

/** By the name that each has in a repository. */
export const apkSamples: Readonly<Record<string, PackageSpec>> = {
  "toy-1.4.0_rc1-r0": toy("1.4.0-rc.1", "port = 1\n"),
  "toy-1.4.0-r0": toy("1.4.0", "port = 2\n"),
  // What the scripts of the others are run by; the tests' roots have a busybox there.
  "toy-shell-1.0.0-r3": sampleSpec({
    name: "toy-shell",
    version: parseVersion("1.0.0"),
    release: "3",
    arch: "all",
    entries: [],
    dependencies: { provides: dependencies("/bin/sh") },
  }),
  "toy-links-1.4.0-r0": sampleSpec({
    name: "toy-links",
    entries: [{ kind: "symlink", path: "/usr/bin/linked", target: "toy", owner: "root", group: "root" }],
  }),
};
