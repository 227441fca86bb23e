/**
 * A private Debian 13 with a real zypper 1.14.89 on rpm 4.20, thrown away after the test: the second resolver and the second verifier (Sequoia)
 * of rpms, beside dnf 4 on rpm 4.18 of this machine.
 *
 * The base is made once by mmdebstrap (45 s, 144 MB) and shared. zypper installs into an empty installation inside it, where one package of
 * ours stands in for a distribution: busybox as /bin/sh, so that rpm runs the packages' scripts.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { needClient, needRoot } from "./clients.ts";
import { debianBase, withCopyOf } from "./debian-base.ts";
import { installShell } from "./rpm-shell.ts";

export type ZypperRoot = {
  /** The root's folder. */
  readonly path: string;
  /** zypper with these arguments on the installation in /target, never asking. Look at exitCode. */
  readonly run: (args: readonly string[]) => Promise<CommandResult>;
  /** rpm on the installation's database, for example `["-q", "coequal"]`. */
  readonly rpm: (args: readonly string[]) => Promise<CommandResult>;
  /** Any program of the root, in Debian's own system. */
  readonly command: (argv: readonly string[]) => Promise<CommandResult>;
  /** Writes the one .repo file of the installation; zypper takes a pair from /etc/zypp/credentials.d, named by `?credentials=` in the address. */
  readonly writeRepo: (text: string, credentials?: { readonly id: string; readonly secret: string }) => Promise<void>;
  /** A path of the installation, as seen from this machine. */
  readonly inside: (path: string) => string;
};

const timeoutMs = 120_000;
const target = "/target";
/** Name of the file in credentials.d. */
export const credentialsName = "slipway";

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) without mmdebstrap or without root; the root is gone afterwards. */
export async function withZypperRoot(t: TestContext, fn: (root: ZypperRoot) => Promise<void>): Promise<void> {
  if (!needClient(t, "mmdebstrap", "chroot")) return;
  if (!needRoot(t, "a private root for zypper")) return;
  await withCopyOf(await zypperBase(), "zypper", async (path) => fn(await zypperRoot(path)));
}

/** Debian 13 with rpm and zypper, shared: to be copied, not to be written to. */
export const zypperBase = (): Promise<string> => debianBase({ suite: "trixie", packages: ["rpm", "zypper", "passwd", "busybox-static"] });

async function zypperRoot(path: string): Promise<ZypperRoot> {
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8" };
  const inside = (name: string): string => join(path, target, name);
  const command = (argv: readonly string[]): Promise<CommandResult> => runCommand(["chroot", path, ...argv], { env, timeoutMs });
  const rpm = (args: readonly string[]): Promise<CommandResult> => command(["rpm", "--root", target, "--dbpath", "/var/lib/rpm", ...args]);
  for (const name of ["tmp", "var/tmp", "var/lib/rpm", "etc/zypp/repos.d", "etc/zypp/credentials.d"]) await mkdir(inside(name), { recursive: true });
  await installShell(path, rpm);
  return {
    path,
    inside,
    command,
    rpm,
    run: (args) => command(["zypper", "--non-interactive", "--gpg-auto-import-keys", "--root", target, ...args]),
    writeRepo: async (text, credentials) => {
      await writeFile(inside("etc/zypp/repos.d/slipway.repo"), text, { mode: 0o600 });
      if (credentials === undefined) return;
      const pair = `username=${credentials.id}\npassword=${credentials.secret}\n`;
      await writeFile(inside(`etc/zypp/credentials.d/${credentialsName}`), pair, { mode: 0o600 });
    },
  };
}
