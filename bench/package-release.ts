/** The release of the package benchmark: a program of 60 MB for six targets as twelve artifacts, summed and signed, by the whole command. */
import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { writePrograms } from "./package-input.ts";
import { findProgram, type Prepared, run } from "./package-peers.ts";

export type ReleaseContestant = {
  readonly name: string;
  readonly programs: readonly string[];
  readonly howToGet: string;
  readonly prepare: () => Promise<Prepared>;
};

const recipe = `name: tool
summary: Input of a benchmark
maintainer: Bench <bench@example.test>
license: MIT
targets: [linux/amd64, linux/arm64, darwin/amd64, darwin/arm64, windows/amd64, windows/arm64]
build:
  prebuilt: "prebuilt/{target}/{bin}{exe}"
  binaries: [tool]
archives:
  - files: [LICENSE]
packages:
  formats: [deb, rpm, apk]
  files:
    /usr/bin/: [tool]
sign:
  gpg: file:release.gpg
`;

/** Without a compiler of its own: its free edition takes no finished programs, but any command in place of Go's. */
const goreleaserSettings = {
  version: 2,
  project_name: "tool",
  builds: [
    {
      id: "tool",
      binary: "tool",
      tool: "./stand-in-compiler",
      no_main_check: true,
      goos: ["linux", "darwin", "windows"],
      goarch: ["amd64", "arm64"],
      mod_timestamp: "1700000000",
    },
  ],
  archives: [{ formats: ["tar.gz"], format_overrides: [{ goos: "windows", formats: ["zip"] }], files: ["LICENSE"] }],
  nfpms: [
    {
      maintainer: "Bench <bench@example.test>",
      description: "Input of a benchmark",
      license: "MIT",
      formats: ["deb", "rpm", "apk"],
      rpm: { compression: "gzip:6" },
    },
  ],
  // GoReleaser's own default arguments: what is signed and where the signature goes.
  signs: [{ artifacts: "checksum", cmd: "gpg" }],
  changelog: { disable: true },
};
const standInCompiler = `#!/bin/sh
# Puts the program that is there already where GoReleaser wants the compiled one.
case "$1" in
  version) echo "go version go1.26 linux/amd64"; exit 0 ;;
  build) ;;
  *) exit 0 ;;
esac
while [ $# -gt 0 ]; do case "$1" in -o) out=$2; shift ;; esac; shift; done
extension=
[ "$GOOS" = windows ] && extension=.exe
exec cp "prebuilt/$GOOS/$GOARCH/tool$extension" "$out"
`;

/** Programs, settings and a signing key in `folder`; the environment for both tools. */
export async function prepareRelease(folder: string): Promise<Readonly<Record<string, string>>> {
  await writePrograms(join(folder, "prebuilt"));
  const gnupg = join(folder, "gnupg");
  await mkdir(gnupg, { recursive: true });
  await chmod(gnupg, 0o700);
  const env = { GNUPGHOME: gnupg, SOURCE_DATE_EPOCH: "1700000000", HOME: folder };
  await run(["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "Bench <bench@example.test>", "rsa3072", "sign", "1y"], env);
  const files = {
    "release.gpg": await run(["gpg", "--batch", "--armor", "--export-secret-keys"], env),
    "slipway.yaml": recipe,
    ".goreleaser.yaml": JSON.stringify(goreleaserSettings),
    "stand-in-compiler": standInCompiler,
    LICENSE: "MIT License\n",
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: name === "stand-in-compiler" ? 0o755 : 0o600 });
  await run(["git", "init", "--quiet", folder], env);
  return env;
}

const program = resolve(import.meta.dirname, "../src/main.ts");

/** Both tools, and ours held on one core: that its time is shared between cores is a claim of its own. */
export function releaseContestants(folder: string, given: Readonly<Record<string, string | undefined>>): readonly ReleaseContestant[] {
  const own = (name: string, prefix: readonly string[]): ReleaseContestant => ({
    name,
    programs: prefix.slice(0, 1),
    howToGet: "apt-get install util-linux",
    prepare: async () => {
      const path = join(folder, name.replaceAll(/\W+/g, "-"));
      await rm(path, { recursive: true, force: true });
      const argv = [...prefix, process.execPath, "--disable-warning=ExperimentalWarning", program, "build", "--version", "1.0.0", "--out", path];
      return { argv, path: join(path, "1.0.0") };
    },
  });
  return [
    own("slipway build", []),
    own("slipway build, one core", ["taskset", "--cpu-list", "0"]),
    {
      name: "goreleaser release",
      programs: ["goreleaser"],
      howToGet: "go install github.com/goreleaser/goreleaser/v2@v2.12.5, then --goreleaser <path> or PATH",
      prepare: async () => {
        await rm(join(folder, "dist"), { recursive: true, force: true });
        const argv = [findProgram("goreleaser", given) ?? "goreleaser", "release", "--clean", "--snapshot", "--skip=publish"];
        return { argv, path: join(folder, "dist") };
      },
    },
  ];
}

/** Twelve artifacts, their sums and the signature over them; throws where one is missing, and where our two results differ. */
export async function checkRelease(paths: ReadonlyMap<string, string>): Promise<void> {
  const own: string[] = [];
  for (const [name, path] of paths) {
    const names = await readdir(path);
    const artifacts = names.filter((file) => /\.(?:deb|rpm|apk|tar\.gz|zip)$/.test(file));
    const sums = names.filter((file) => /^SHA256SUMS$|_checksums\.txt$/.test(file));
    if (artifacts.length !== 12 || sums.length !== 1 || !names.includes(`${sums[0]}.sig`)) throw new Error(`${name} made ${names.join(" ")}`);
    if (name.startsWith("slipway"))
      own.push(
        createHash("sha256")
          .update(await readFile(join(path, "SHA256SUMS")))
          .digest("hex"),
      );
  }
  if (new Set(own).size > 1) throw new Error("slipway wrote other bytes on one core than on all");
}
