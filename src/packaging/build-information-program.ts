/** What the build tools wrote into a program: Go's module list, and the crates that `cargo auditable` leaves. */
import { type FileHandle, open } from "node:fs/promises";
import type { Component } from "../formats/bill-of-materials.ts";
import { type GoBuildInformation, type GoModule, readGoBuildInformation } from "../formats/go-build-information.ts";
import { type Ecosystem, packageUrl } from "../formats/package-url.ts";
import type { ProgramImage, RandomAccess } from "../formats/program-image.ts";
import { readProgramImages } from "../formats/program-read.ts";
import { type RustCrate, readRustBuildInformation } from "../formats/rust-build-information.ts";
import { SlipwayError } from "../model/errors.ts";
import { cratePurl } from "./lock-file-cargo.ts";

export type ProgramInformation = {
  /** Those whose tools said what they linked in: exact, so that their lock files have nothing to add. */
  readonly ecosystems: readonly Ecosystem[];
  readonly components: readonly Component[];
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly warnings: readonly string[];
};

/** Tables and texts of an executable are far smaller; a bigger read means that a damaged file asks for it. */
const readLimit = 64 * 1024 * 1024;
/** Settings that say how the program was made. Paths of the build machine and flags, which may hold anything, are left out. */
const toldSettings: ReadonlySet<string> = new Set(["CGO_ENABLED", "GOARCH", "GOOS", "vcs", "vcs.modified", "vcs.revision", "vcs.time"]);

/**
 * Reads only headers and the pieces that it needs: memory does not grow with the program. A file that is no executable has no information.
 * `name` is how origins and warnings name it.
 */
export async function readProgramInformation(path: string, name: string): Promise<ProgramInformation> {
  const handle = await open(path, "r");
  try {
    const file = await randomAccess(handle, name);
    const found = await Promise.all((await readProgramImages(file)).map((image) => informationOf(file, image, name)));
    // The images of a universal program are the same source for several machines: the first that says something speaks for all.
    return found.find((information) => information.ecosystems.length > 0) ?? found[0] ?? nothing;
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== "format_invalid") throw error;
    // A packed or otherwise unusual executable is still a good artifact: the lock files then say what went in, and the warning that they had to.
    return { ...nothing, warnings: [`${name}: ${error.message}; its build information is left out`] };
  } finally {
    await handle.close();
  }
}

const nothing: ProgramInformation = { ecosystems: [], components: [], facts: [], warnings: [] };

async function randomAccess(handle: FileHandle, name: string): Promise<RandomAccess> {
  const { size } = await handle.stat();
  return {
    size,
    read: async (offset, length) => {
      if (!Number.isSafeInteger(offset) || offset < 0 || length < 0 || length > readLimit || offset + length > size) {
        throw new SlipwayError("format_invalid", `${name} of ${size} bytes has no ${length} bytes at ${offset}`);
      }
      const bytes = Buffer.alloc(length);
      const { bytesRead } = length === 0 ? { bytesRead: 0 } : await handle.read(bytes, 0, length, offset);
      if (bytesRead !== length) throw new SlipwayError("source_unusable", `${name} became shorter while it was read`);
      return bytes;
    },
  };
}

async function informationOf(file: RandomAccess, image: ProgramImage, name: string): Promise<ProgramInformation> {
  const go = await readGoBuildInformation(file, image);
  if (go !== undefined) return goInformation(go, name);
  const crates = await readRustBuildInformation(file, image);
  return crates === undefined ? nothing : rustInformation(crates, name);
}

function goInformation(go: GoBuildInformation, name: string): ProgramInformation {
  const origins = [`Go build information of ${name}`];
  const moduleOf = ({ path, version }: GoModule): Component => {
    // A module that a folder replaces is no registry's module, whatever its path looks like.
    const isReleased = version !== "" && version !== "(devel)";
    return {
      name: path,
      ...(isReleased ? { version, purl: packageUrl({ ecosystem: "golang", name: path, version }) } : {}),
      checksums: [], // the h1: sums are over a listing of files, not over a file that anybody serves
      origins,
    };
  };
  const version = /^go(\d[^\s-]*)/.exec(go.goVersion)?.[1];
  const standardLibrary: Component = {
    name: "stdlib",
    ...(version === undefined ? {} : { version }),
    purl: packageUrl({ ecosystem: "golang", name: "stdlib", ...(version === undefined ? {} : { version }) }),
    license: "BSD-3-Clause",
    checksums: [],
    origins,
  };
  return {
    // Without modules (GOPATH builds, as Debian's, and obfuscators) only the compiler is known, and go.mod has to say the rest.
    ecosystems: go.mainModule === undefined && go.modules.length === 0 ? [] : ["golang"],
    components: [standardLibrary, ...go.modules.map(moduleOf)],
    facts: [
      ["compiler", go.goVersion],
      ...(go.mainModule === undefined ? [] : [["module", go.mainModule.path] as const]),
      ...go.settings.filter(([setting]) => toldSettings.has(setting)),
    ],
    warnings: [],
  };
}

/** Crates that only build scripts and macros used are not in the program. */
function rustInformation(crates: readonly RustCrate[], name: string): ProgramInformation {
  const components = crates
    .filter((crate) => crate.kind === "runtime" && !crate.root)
    .map(({ name: crateName, version, source }): Component => {
      return {
        name: crateName,
        version,
        ...(source === "local" ? {} : { purl: cratePurl(crateName, version, source) }),
        checksums: [],
        origins: [`cargo auditable data of ${name}`],
      };
    });
  const root = crates.find((crate) => crate.root);
  return { ecosystems: ["cargo"], components, facts: root === undefined ? [] : [["crate", `${root.name} ${root.version}`]], warnings: [] };
}
