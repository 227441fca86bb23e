/** A package with everything in it, and the writers run to files: what the format tests share. */
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { writeDeb } from "../../src/formats/deb.ts";
import { parseDependency } from "../../src/formats/dependency.ts";
import { comparePaths } from "../../src/formats/entry-path.ts";
import type { ByteSink, ConfigPolicy, FileEntry, MakeXzCompressor, PackageCompression, PackageEntry, PackageSpec } from "../../src/formats/package.ts";
import { type RpmOutput, writeRpm } from "../../src/formats/rpm.ts";
import { createSpool } from "../../src/io/spool.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { parseVersion } from "../../src/model/version.ts";

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-formats-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export const text = (content: string): FileEntry["source"] => bytesSource(Buffer.from(content));

export function file(path: string, content: string, options: { mode?: number; config?: ConfigPolicy; isDoc?: boolean; isLicense?: boolean } = {}): FileEntry {
  return { kind: "file", path, mode: 0o644, owner: "root", group: "root", source: text(content), ...options };
}

/** Scripts that write their name and arguments to /log, which is where a real shell of a private root puts them. */
const script = (name: string): string => `#!/bin/sh\nset -e\necho "${name} $*" >> /log\n`;

export const loggingScripts: PackageSpec["scripts"] = {
  preinstall: script("preinstall"),
  postinstall: script("postinstall"),
  preremove: script("preremove"),
  postremove: script("postremove"),
};

export const gzip: PackageCompression = { codec: "gzip", level: 6 };
export const zstd: PackageCompression = { codec: "zstd", level: 3 };

/** 130 bytes below usr/share: beyond tar's 100, and 290: beyond the ustar prefix (regression 17). */
export const longPaths = [`/usr/share/toy/${"a".repeat(60)}/${"b".repeat(60)}.txt`, `/usr/share/toy/${"c".repeat(140)}/${"d".repeat(140)}.txt`] as const;

const unsorted: readonly PackageEntry[] = [
  file("/usr/bin/toy", "#!/bin/sh\necho toy\n", { mode: 0o755 }),
  file("/usr/bin/toy-setuid", "binary", { mode: 0o4755 }),
  { kind: "symlink", path: "/usr/bin/toyctl", target: "toy", owner: "root", group: "root" },
  file("/etc/toy/toy.conf", "port = 1\n", { config: "noreplace" }),
  file("/etc/toy/extra.conf", "x = 1\n", { config: "replace" }),
  { kind: "directory", path: "/var/lib/toy", mode: 0o1770, owner: "root", group: "root" },
  { kind: "ghost", path: "/var/lib/toy/state", mode: 0o640, owner: "root", group: "root" },
  file("/usr/share/doc/toy/README", "read me\n", { isDoc: true }),
  file("/usr/share/licenses/toy/LICENSE", "Apache-2.0\n", { isLicense: true }),
  file("/usr/share/toy/naïve-Ünïcode.txt", "ü\n"),
  file("/usr/share/toy/empty", ""),
  ...longPaths.map((path) => file(path, path)),
];
export const sampleEntries = unsorted.toSorted((left, right) => comparePaths(left.path, right.path));

/** The code of a failure; a failure without one (a bug) gives its own text, which no pattern of a test accepts. */
export function codeOf(error: unknown): string {
  return error instanceof SlipwayError ? error.code : String(error);
}

/** All bytes of a source. */
export async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(Uint8Array.from(piece));
  return Buffer.concat(pieces);
}

export function sampleSpec(changes: Partial<PackageSpec> = {}): PackageSpec {
  return {
    name: "toy",
    version: parseVersion("1.4.0"),
    arch: "amd64",
    summary: "A toy for tests",
    description: "First paragraph of it.\n\nSecond paragraph.",
    maintainer: "Toy Makers <toy@example.test>",
    license: "Apache-2.0",
    homepage: "https://toy.example.test",
    vendor: "Toy Makers",
    section: "utils",
    dependencies: {},
    scripts: {},
    entries: sampleEntries,
    compression: gzip,
    epochSeconds: 1_700_000_000,
    ...changes,
  };
}

export const dependencies = (...texts: readonly string[]): NonNullable<PackageSpec["dependencies"]["depends"]> => texts.map(parseDependency);

/** Runs a writer into a new file. */
export async function writeFileBy(path: string, write: (sink: ByteSink) => Promise<unknown>): Promise<string> {
  const stream = createWriteStream(path);
  const sink: ByteSink = (piece) => new Promise((resolve, reject) => stream.write(Uint8Array.from(piece), (error) => (error ? reject(error) : resolve())));
  try {
    await write(sink);
  } finally {
    await new Promise((resolve) => stream.end(resolve));
  }
  return path;
}

/** Spools below `folder`, numbered. */
export function spoolMaker(folder: string): RpmOutput["makeSpool"] {
  let count = 0;
  return () => {
    count += 1;
    return createSpool(join(folder, `spool-${process.pid}-${count}-${Math.random().toString(36).slice(2)}`));
  };
}

export async function debFile(folder: string, spec: PackageSpec, options: { name?: string; makeXzCompressor?: MakeXzCompressor } = {}): Promise<string> {
  const { name = `${spec.name}_${spec.version}.deb`, ...rest } = options;
  return writeFileBy(join(folder, name), (sink) => writeDeb(spec, { sink, makeSpool: spoolMaker(folder), ...rest }));
}

export async function rpmFile(
  folder: string,
  spec: PackageSpec,
  options: { name?: string; signHeader?: NonNullable<RpmOutput["signHeader"]> } = {},
): Promise<string> {
  const { name = `${spec.name}-${spec.version}.rpm`, ...rest } = options;
  return writeFileBy(join(folder, name), (sink) => writeRpm(spec, { sink, makeSpool: spoolMaker(folder), ...rest }));
}
