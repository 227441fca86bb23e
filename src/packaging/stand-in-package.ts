/** A package without files that provides whatever the tested ones need, so that real package managers resolve real dependencies in an empty root. */
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { writeApk } from "../formats/apk.ts";
import { bytesSource } from "../formats/byte-source.ts";
import { writeDeb } from "../formats/deb.ts";
import type { Dependency, PackageSpec, Spool } from "../formats/package.ts";
import { writeRpm } from "../formats/rpm.ts";
import { parseVersion } from "../model/version.ts";

const standInName = "slipway-stand-in";

/** Writes it into `folder` and returns its path. The version that each name is provided in satisfies the relation that asked for it. */
export async function writeStandInPackage(kind: "deb" | "rpm" | "apk", needs: readonly Dependency[], folder: string): Promise<string> {
  const path = join(folder, `${standInName}.${kind}`);
  const provided = new Map(needs.flat().map((one) => [`${one.name} ${one.operator ?? ""} ${one.version ?? ""}`, one]));
  // The shell itself: rpm and apk ask for it by path.
  if (kind !== "deb") provided.set("/bin/sh", { name: "/bin/sh" });
  const spec: PackageSpec = {
    name: standInName,
    version: parseVersion("1.0.0"),
    arch: "all",
    summary: "Stands in for what the tested packages depend on",
    description: "",
    maintainer: "Slipway <nobody@localhost>",
    license: "CC0-1.0",
    section: "misc",
    dependencies: { provides: [...provided.values()].filter(({ name }) => kind !== "deb" || !name.startsWith("/")).map(satisfying) },
    scripts: {},
    entries: [],
    compression: { codec: "gzip", level: 6 },
    epochSeconds: 0,
  };
  const out = createWriteStream(path);
  const sink = (piece: Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      out.write(Buffer.from(piece), (error) => (error === null || error === undefined ? resolve() : reject(error)));
    });
  const output = { sink, makeSpool: () => Promise.resolve(memorySpool()) };
  if (kind === "deb") await writeDeb(spec, output);
  else if (kind === "rpm") await writeRpm(spec, output);
  else await writeApk(spec, output);
  await new Promise<void>((resolve) => {
    out.end(resolve);
  });
  return path;
}

/** `foo >= 20` is satisfied by 20, `foo << 2` by 0, `foo >> 2` by 2.1. */
function satisfying({ name, operator, version }: Dependency[number]): Dependency {
  if (operator === undefined || version === undefined) return [{ name }];
  const provided = operator === "<<" ? "0" : operator === ">>" ? `${version}.1` : version;
  return [{ name, operator: "=", version: provided }];
}

/** The package has no files: some hundred bytes. */
function memorySpool(): Spool {
  const pieces: Uint8Array[] = [];
  return {
    write: (piece) => {
      pieces.push(Uint8Array.from(piece));
    },
    finish: () => Promise.resolve(bytesSource(Buffer.concat(pieces))),
    remove: () => Promise.resolve(),
  };
}
