/**
 * A private root for a real apt-get: a small Debian of its own, thrown away after the test, so that nothing of the machine is touched.
 *
 * The base is made once by mmdebstrap (20 s, 120 MB) and shared: /usr as hard links, since dpkg replaces files and never writes into them;
 * everything else as copies.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { needClient, needRoot } from "./clients.ts";
import { debianBase, withCopyOf } from "./debian-base.ts";

/** Debian 12 has apt 2.6 with gpgv, Debian 13 has apt 3.0 with sqv: two verifiers that disagree on keys. */
export type AptGeneration = "bookworm" | "trixie";

export type AptRoot = {
  /** The root's folder. */
  readonly path: string;
  /** apt-get with these arguments inside the root; dates and Valid-Until are checked whatever the machine's own settings. Look at exitCode. */
  readonly run: (args: readonly string[]) => Promise<CommandResult>;
  /** Any program inside the root, for example `["dpkg-query", "-W", "coequal"]`. */
  readonly command: (argv: readonly string[]) => Promise<CommandResult>;
  /** Writes the one deb822 file of the root. */
  readonly writeSource: (text: string) => Promise<void>;
  /** Writes /etc/apt/auth.conf.d/slipway.conf, mode 0600. */
  readonly writeAuth: (text: string) => Promise<void>;
};

const timeoutMs = 120_000;

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) without mmdebstrap or without root; the root is gone afterwards. */
export async function withAptRoot(t: TestContext, fn: (root: AptRoot) => Promise<void>, options: { readonly generation?: AptGeneration } = {}): Promise<void> {
  if (!needClient(t, "mmdebstrap", "chroot")) return;
  if (!needRoot(t, "a private root for apt-get")) return;
  await withCopyOf(await aptBase(options.generation ?? "bookworm"), "apt", (path) => fn(aptRoot(path)));
}

/** Shared; without any source of its own. */
const aptBase = (suite: AptGeneration): Promise<string> => {
  const leftOut = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/zoneinfo/*", "/usr/share/i18n/*"];
  return debianBase({ suite, leftOut, removed: ["etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "var/lib/apt/lists"] });
};

function aptRoot(path: string): AptRoot {
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" };
  const command = (argv: readonly string[]): Promise<CommandResult> => runCommand(["chroot", path, ...argv], { env, timeoutMs });
  const settings = ["Acquire::Check-Valid-Until=true", "Acquire::Check-Date=true", "Dpkg::Use-Pty=0", "APT::Get::Assume-Yes=true", "Acquire::Retries=0"];
  return {
    path,
    command,
    run: (args) => command(["apt-get", ...settings.flatMap((setting) => ["-o", setting]), ...args]),
    writeSource: (text) => writeFile(join(path, "etc/apt/sources.list.d/slipway.sources"), text),
    writeAuth: (text) => writeFile(join(path, "etc/apt/auth.conf.d/slipway.conf"), text, { mode: 0o600 }),
  };
}
