/** What the package benchmark compares with: how each tool is found, is told to build the same package, and how its result is counted. */
import { accessSync, constants } from "node:fs";
import { mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { cleanEnvironment, requireCommand } from "../src/io/command.ts";

export type Codec = { readonly codec: "gzip" | "zstd"; readonly level: number };
/** `tree` holds `opt/bench/…`; `folder` is for everything that a run leaves. */
export type Case = { readonly tree: string; readonly folder: string } & Codec;

/** A command and the file or folder that it makes. */
export type Prepared = { readonly argv: readonly string[]; readonly path: string };

export type Contestant = {
  readonly name: string;
  /** Programs that it needs; the first that is missing leaves it out, with this line of how to get it. */
  readonly programs: readonly string[];
  readonly howToGet: string;
  /** Codecs that it has for this format. */
  readonly codecs: readonly Codec["codec"][];
  /** Outside the measurement; whatever an earlier round left is gone. */
  readonly prepare: (one: Case) => Promise<Prepared>;
};

export type Contest = { readonly format: string; readonly contestants: readonly Contestant[]; readonly countFiles: (path: string) => Promise<number> };

const commandTimeoutMs = 600_000;
export const run = (argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> =>
  requireCommand(argv, { timeoutMs: commandTimeoutMs, outputLimit: 16 * 1024 * 1024, env: { ...cleanEnvironment(), ...env } });
const lines = (text: string): readonly string[] => text.split("\n").filter((line) => line !== "");

/** The program's path: as given by a flag, or on PATH. */
export function findProgram(name: string, given: Readonly<Record<string, string | undefined>> = {}): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  for (const path of [...(given[name] === undefined ? [] : [resolve(given[name])]), ...folders.map((folder) => join(folder, name))]) {
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // looked for in the next place
    }
  }
  return undefined;
}

const writer = resolve(import.meta.dirname, "package-writer.ts");
const slipway = (format: string): Contestant => ({
  name: "slipway",
  programs: [],
  howToGet: "",
  codecs: format === "apk" ? ["gzip"] : ["gzip", "zstd"],
  prepare: async ({ tree, folder, codec, level }) => {
    const path = join(folder, `own.${format}`);
    await rm(path, { recursive: true, force: true });
    return { argv: [process.execPath, writer, tree, format, codec, String(level), path], path };
  },
});

/** What other compressors call 6 packs about as small as our 4: a fair comparison has a row for each. */
const slipwayAtFour = (format: string): Contestant => ({
  ...slipway(format),
  name: "slipway, gzip -4",
  codecs: ["gzip"],
  prepare: (one) => slipway(format).prepare({ ...one, level: 4 }),
});

const nfpm = (format: string, given: Readonly<Record<string, string | undefined>>): Contestant => ({
  name: "nfpm",
  programs: ["nfpm"],
  howToGet: "go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4, then --nfpm <path> or PATH",
  codecs: format === "apk" ? ["gzip"] : ["gzip", "zstd"],
  prepare: async ({ tree, folder, codec, level }) => {
    const path = join(folder, `nfpm.${format}`);
    await rm(path, { force: true });
    // deb takes no level of its own: its default is 6 for gzip and about 3 for zstd.
    const compression = format === "rpm" ? `${codec}:${level}` : codec;
    const settings = {
      name: "bench",
      arch: "all",
      platform: "linux",
      version: "1.0.0",
      maintainer: "Bench <bench@example.test>",
      description: "Input of a benchmark",
      license: "MIT",
      contents: [{ src: join(tree, "opt/bench"), dst: "/opt/bench", type: "tree" }],
      ...(format === "apk" ? {} : { [format]: { compression } }),
    };
    await writeFile(join(folder, "nfpm.yaml"), JSON.stringify(settings)); // JSON is YAML
    return { argv: [findProgram("nfpm", given) ?? "nfpm", "package", "-f", join(folder, "nfpm.yaml"), "-p", format, "-t", path], path };
  },
});

const dpkgDeb: Contestant = {
  name: "md5sum + dpkg-deb",
  programs: ["dpkg-deb"],
  howToGet: "apt-get install dpkg",
  codecs: ["gzip", "zstd"],
  prepare: async ({ tree, folder, codec, level }) => {
    const staged = join(folder, "deb-tree");
    await rm(staged, { recursive: true, force: true });
    await run(["cp", "-al", tree, staged]);
    await mkdir(join(staged, "DEBIAN"));
    const control = "Package: bench\nVersion: 1.0.0\nArchitecture: all\nMaintainer: Bench <bench@example.test>\nDescription: Input of a benchmark\n";
    await writeFile(join(staged, "DEBIAN/control"), control);
    const path = join(folder, "peer.deb");
    // A deb has md5sums, which dpkg-deb leaves to its caller (dh_md5sums); without them the peer would build less than we do.
    const script = 'cd "$1" && find opt -type f -exec md5sum {} + > DEBIAN/md5sums && exec dpkg-deb --root-owner-group "$2" "$3" -b . "$4"';
    return { argv: ["sh", "-c", script, "sh", staged, `-Z${codec}`, `-z${level}`, path], path };
  },
};

const rpmbuild: Contestant = {
  name: "rpmbuild",
  programs: ["rpmbuild"],
  howToGet: "apt-get install rpm",
  codecs: ["gzip", "zstd"],
  prepare: async ({ tree, folder, codec, level }) => {
    // Given the tree as build root and told to leave out every check, so that only packing is measured.
    const spec = ["Name: bench", "Version: 1.0.0", "Release: 1", "Summary: Input of a benchmark", "License: MIT", "BuildArch: noarch", "AutoReqProv: no"];
    await writeFile(join(folder, "bench.spec"), [...spec, "%description", "Text.", "%files", "/opt/bench", ""].join("\n"));
    const defines = [
      `_topdir ${folder}/top`,
      `_binary_payload ${codec === "gzip" ? `w${level}.gzdio` : `w${level}.zstdio`}`,
      "__os_install_post %{nil}",
      "__spec_install_pre %{___build_pre}",
      "_build_id_links none",
    ];
    const flags = ["-bb", "--quiet", "--noclean", "--buildroot", tree, ...defines.flatMap((define) => ["--define", define])];
    return { argv: ["rpmbuild", ...flags, join(folder, "bench.spec")], path: join(folder, "top/RPMS/noarch/bench-1.0.0-1.noarch.rpm") };
  },
};

const umoci: Contestant = {
  name: "umoci insert",
  programs: ["umoci"],
  howToGet: "apt-get install umoci",
  codecs: ["gzip"],
  prepare: async ({ tree, folder }) => {
    const path = join(folder, "umoci");
    await rm(path, { recursive: true, force: true });
    await run(["umoci", "init", "--layout", path]);
    await run(["umoci", "new", "--image", `${path}:bench`]);
    return { argv: ["umoci", "insert", "--image", `${path}:bench`, join(tree, "opt/bench"), "/opt/bench"], path };
  },
};

/**
 * Regular files below opt/bench in a tar that GNU tar lists, whatever else stands in it. Its failure is let pass, the count decides: umoci
 * 0.4.7 leaves out the end of the archive, and tar says so after the last member.
 */
async function countInTar(path: string, options: readonly string[] = []): Promise<number> {
  const listed = await run(["sh", "-c", 'tar "$@" 2>&1 || true', "sh", ...options, "-tvf", path]);
  return lines(listed).filter((line) => /^-.* (?:\.?\/)?opt\/bench\//.test(line)).length;
}

/** GNU tar tells the compression by the name of the file, and the largest blob of the layout is its one layer. */
async function countInLayout(path: string): Promise<number> {
  const folder = join(path, "blobs/sha256");
  const index = JSON.parse(await readFile(join(path, "index.json"), "utf8")) as { manifests: { digest: string }[] };
  const digest = index.manifests[0]?.digest.slice("sha256:".length) ?? "";
  if (!(await readdir(folder)).includes(digest)) throw new Error(`${path} lacks its manifest`);
  const { layers } = JSON.parse(await readFile(join(folder, digest), "utf8")) as { layers: { digest: string; mediaType: string }[] };
  const [layer] = layers;
  if (layer === undefined) throw new Error(`${path} has no layer`);
  const named = join(path, layer.mediaType.endsWith("zstd") ? "layer.tar.zst" : "layer.tar.gz");
  await rm(named, { force: true });
  await symlink(join(folder, layer.digest.slice("sha256:".length)), named);
  return countInTar(named);
}

async function countInApk(path: string): Promise<number> {
  const named = `${path}.tar.gz`;
  await rm(named, { force: true });
  await symlink(path, named);
  return countInTar(named, ["--ignore-zeros"]); // nfpm closes each of its segments
}

/** `given` are paths of programs from the command line, by name. */
export function contests(given: Readonly<Record<string, string | undefined>>): readonly Contest[] {
  return [
    {
      format: "deb",
      contestants: [slipway("deb"), slipwayAtFour("deb"), dpkgDeb, nfpm("deb", given)],
      countFiles: async (path) => lines(await run(["dpkg-deb", "-c", path])).filter((line) => line.startsWith("-")).length,
    },
    {
      format: "rpm",
      contestants: [slipway("rpm"), slipwayAtFour("rpm"), rpmbuild, nfpm("rpm", given)],
      countFiles: async (path) =>
        lines(await run(["rpm", "-qp", "--nosignature", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]", path])).filter((line) => line.startsWith("-")).length,
    },
    { format: "apk", contestants: [slipway("apk"), slipwayAtFour("apk"), nfpm("apk", given)], countFiles: countInApk },
    { format: "oci", contestants: [slipway("oci"), slipwayAtFour("oci"), umoci], countFiles: countInLayout },
  ];
}
