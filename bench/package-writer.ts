/** Our side of the package benchmark, as a process of its own: `node package-writer.ts <tree> deb|rpm|apk|oci gzip|zstd <level> <output>`. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { FileEntry, PackageCompression, PackageSpec } from "../src/formats/package.ts";
import { createHashedFile } from "../src/io/hashed-file.ts";
import { createSpool, lentFileBytes } from "../src/io/spool.ts";
import { parseVersion } from "../src/model/version.ts";

const [tree = "", format = "", codec = "", levelText = "", target = ""] = process.argv.slice(2);
const epochSeconds = 1_700_000_000;

function fileEntries(): readonly FileEntry[] {
  const entries: FileEntry[] = [];
  for (const found of readdirSync(tree, { recursive: true, withFileTypes: true })) {
    if (!found.isFile()) continue;
    const path = join(found.parentPath, found.name);
    const source = lentFileBytes(path, statSync(path).size);
    entries.push({ kind: "file", path: path.slice(tree.length), mode: 0o644, owner: "root", group: "root", source });
  }
  return entries.sort((left, right) => (left.path < right.path ? -1 : 1)); // ASCII
}

async function writePackage(compression: PackageCompression): Promise<void> {
  const spec: PackageSpec = {
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
    entries: fileEntries(),
    compression,
    epochSeconds,
  };
  const file = await createHashedFile(target, 0o644);
  let spools = 0;
  const makeSpool = (): ReturnType<typeof createSpool> => {
    spools += 1;
    return createSpool(`${target}.spool-${spools}`);
  };
  const output = { sink: file.write, makeSpool };
  // As in `slipway build`, what another format needs is not paid for.
  if (format === "deb") await (await import("../src/formats/deb.ts")).writeDeb(spec, output);
  else if (format === "rpm") await (await import("../src/formats/rpm.ts")).writeRpm(spec, output);
  else await (await import("../src/formats/apk.ts")).writeApk(spec, output);
  await file.close();
}

/** A layout with one image of one layer. */
async function writeImage(compression: PackageCompression): Promise<void> {
  const [{ writeOciLayer }, { renderOciConfig }, { renderOciManifest }, { createImageLayout }] = await Promise.all([
    import("../src/formats/oci-layer.ts"),
    import("../src/formats/oci-config.ts"),
    import("../src/formats/oci-manifest.ts"),
    import("../src/packaging/image-layout.ts"),
  ]);
  if (compression.codec === "xz") throw new Error("an image has no xz");
  const layerCompression = { codec: compression.codec, level: compression.level };
  const layout = await createImageLayout(target);
  const entries = fileEntries().map((entry) => ({ ...entry, uid: 0, gid: 0 }));
  const layer = await layout.putStream((sink) => writeOciLayer({ entries, parents: "declare", compression: layerCompression, epochSeconds }, sink));
  const platform = { os: "linux", architecture: "amd64" };
  const config = renderOciConfig({ platform, epochSeconds, runtime: {}, layers: [{ diffId: layer.diffId, createdBy: "bench" }] });
  await layout.putDocument(config);
  const manifest = renderOciManifest({ config: config.descriptor, layers: [layer.descriptor], annotations: {} });
  await layout.putDocument(manifest);
  await layout.putTags([{ tag: "bench", descriptor: manifest.descriptor }]);
}

if (!["deb", "rpm", "apk", "oci"].includes(format) || (codec !== "gzip" && codec !== "zstd")) {
  throw new Error("usage: package-writer.ts <tree> deb|rpm|apk|oci gzip|zstd <level> <output>");
}
const compression = { codec, level: Number(levelText) } as const;
await (format === "oci" ? writeImage(compression) : writePackage(compression));
