/** Our side of the package benchmark, as a process of its own: `node package-writer.ts <tree> <format> <codec> <level> <output>`. */
import { createWriteStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeDeb } from "../src/formats/deb.ts";
import { comparePaths } from "../src/formats/entry-path.ts";
import type { FileEntry, PackageOutput, PackageSpec } from "../src/formats/package.ts";
import { writeRpm } from "../src/formats/rpm.ts";
import { createSpool, fileBytes } from "../src/io/spool.ts";
import { parseVersion } from "../src/model/version.ts";

const writers: Readonly<Record<string, (spec: PackageSpec, output: PackageOutput) => Promise<unknown>>> = { deb: writeDeb, rpm: writeRpm };

const [tree = "", format = "", codec = "", level = "", target = ""] = process.argv.slice(2);
const write = writers[format];
if (write === undefined || (codec !== "gzip" && codec !== "zstd")) throw new Error("usage: package-writer.ts <tree> deb|rpm gzip|zstd <level> <output>");

const found = await readdir(tree, { recursive: true, withFileTypes: true });
const entries: FileEntry[] = [];
for (const one of found) {
  if (!one.isFile()) continue;
  const path = join(one.parentPath, one.name);
  const source = fileBytes(path, (await stat(path)).size);
  entries.push({ kind: "file", path: path.slice(tree.length), mode: 0o644, owner: "root", group: "root", source });
}
entries.sort((left, right) => comparePaths(left.path, right.path));

const stream = createWriteStream(target);
let spools = 0;
await write(
  {
    name: "bench",
    version: parseVersion("1.0.0"),
    arch: "all",
    summary: "Input of a benchmark",
    description: "",
    maintainer: "Bench <bench@example.test>",
    license: "MIT",
    section: "misc",
    dependencies: {},
    scripts: {},
    entries,
    compression: { codec, level: Number(level) },
    epochSeconds: 1_700_000_000,
  },
  {
    sink: (piece) => new Promise((resolve, reject) => stream.write(piece, (error) => (error ? reject(error) : resolve()))),
    makeSpool: () => {
      spools += 1;
      return createSpool(`${target}.spool-${spools}`);
    },
  },
);
await new Promise((resolve) => stream.end(resolve));
