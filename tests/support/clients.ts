/** The real clients that the tests use: which Debian packages bring them, and the check that skips loudly, or fails in CI, when one is missing. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "node:test";

/** Installed by `npm test` as root with apt-get. Each line says who needs it. */
export const debianPackages: readonly string[] = [
  "ca-certificates",
  "git",
  "dpkg-dev", // dpkg-deb and friends on minimal images
  "apt-utils",
  "rpm", // rpm, rpmkeys, rpm2cpio
  "dnf",
  "createrepo-c", // the judge of the YUM fragments; a peer in bench/publish.ts
  "busybox-static", // /bin/sh for package scripts in private roots
  "gnupg",
  "gpgv",
  "minisign",
  "openssl", // reads our apk keys and checks their signatures
  "mmdebstrap", // private roots for apt
  "postgresql", // the store's contract suite on PostgreSQL
  "strace", // the crash matrix
  "acl", // what a file carries besides its content: ACL, attributes, capabilities
  "attr",
  "libcap2-bin",
  "skopeo", // reads and copies images
  "umoci", // unpacks images
  "docker-registry", // a real registry to push to
  "unzip",
  "zstd",
  "xz-utils",
  "cpio", // lists rpm payloads
  "binutils", // ar, for debs
  "time", // peak memory in the benchmarks
  "curl",
  "awscli", // the bucket API and ECR logins
  "python3-aiosmtpd", // a real mail server for notices
  "faketime", // clients with a wrong clock
  "nginx-light", // serves a mirror's tree
  "systemd", // systemd-analyze reads the units that we print
];

/** Installed besides for `npm test -- --slow`: too large for every run. */
export const slowDebianPackages: readonly string[] = [
  "lintian", // the judges of `slipway lint`
  "rpmlint",
  "systemd-container", // systemd-nspawn: a booted machine for the packages' services
  "golang-go", // cross-builds a product for every target
  "gcc", // a real program for them to look at
  "libc6-dev",
  "rustc", // compiles the Rust example
  "qemu-user-static", // packages and executables for arm64, run where they belong
  "python3-pip", // fetches the C++ library for musl
  "zsh", // complete our words
  "fish",
  "e2fsprogs", // disks of their own, whose power fails under the updater
  "xfsprogs",
];

/** The path of a program on PATH, or undefined. */
export function findProgram(name: string): string | undefined {
  for (const folder of [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"]) {
    try {
      const path = join(folder, name);
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}

/**
 * True when the client is here. Otherwise: in CI (CI=true) the test fails, elsewhere it is skipped with a line that says what to install.
 * Use it as `if (!needClient(t, "dpkg-deb")) return;`.
 */
export function needClient(t: TestContext, ...names: readonly string[]): boolean {
  const missing = names.filter((name) => findProgram(name) === undefined);
  if (missing.length === 0) return true;
  const text = `missing real client: ${missing.join(", ")} (run npm test as root to install them)`;
  if (process.env["CI"] === "true") throw new Error(text);
  t.skip(text);
  return false;
}

/** True for root. Otherwise as `needClient`; `what` begins the sentence, for example "a private root for dnf". */
export function needRoot(t: TestContext, what: string): boolean {
  if (process.getuid?.() === 0) return true;
  if (process.env["CI"] === "true") throw new Error(`${what} needs root`);
  t.skip(`${what} needs root`);
  return false;
}
