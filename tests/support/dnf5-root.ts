/**
 * A private Debian unstable with a real dnf 5 on rpm 6, thrown away after the test. dnf 5 is in no released Debian yet, so its exact version
 * moves; the base is made once by mmdebstrap (1 to 2 minutes) and shared.
 *
 * dnf installs into an empty installation inside it, where busybox stands in for a distribution.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { needClient, needRoot } from "./clients.ts";
import { debianBase, withCopyOf } from "./debian-base.ts";
import { installShell } from "./rpm-shell.ts";

export type Dnf5Root = {
  /** dnf5 with these arguments on the installation, always answering yes. Look at exitCode. */
  readonly run: (args: readonly string[]) => Promise<CommandResult>;
  /** rpm on the installation's database, for example `["-q", "coequal"]`. */
  readonly rpm: (args: readonly string[]) => Promise<CommandResult>;
  /** Any program of the root, in Debian's own system. */
  readonly command: (argv: readonly string[]) => Promise<CommandResult>;
  /** Writes the one .repo file. */
  readonly writeRepo: (text: string) => Promise<void>;
  /** A path of the installation, as seen from this machine. */
  readonly inside: (path: string) => string;
};

const timeoutMs = 120_000;
const target = "/target";

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) without mmdebstrap or without root; the root is gone afterwards. */
export async function withDnf5Root(t: TestContext, fn: (root: Dnf5Root) => Promise<void>): Promise<void> {
  if (!needClient(t, "mmdebstrap", "chroot")) return;
  if (!needRoot(t, "a private root for dnf 5")) return;
  const base = await debianBase({ suite: "sid", packages: ["rpm", "dnf5", "passwd", "busybox-static"] });
  await withCopyOf(base, "dnf5", async (path) => fn(await dnf5Root(path)));
}

async function dnf5Root(path: string): Promise<Dnf5Root> {
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8" };
  const inside = (name: string): string => join(path, target, name);
  const command = (argv: readonly string[]): Promise<CommandResult> => runCommand(["chroot", path, ...argv], { env, timeoutMs });
  const rpm = (args: readonly string[]): Promise<CommandResult> => command(["rpm", "--root", target, ...args]);
  for (const name of ["tmp", "var/tmp"]) await mkdir(inside(name), { recursive: true });
  await mkdir(join(path, "etc/slipway-repos"));
  await installShell(path, rpm);
  const settings = [
    "reposdir=/etc/slipway-repos",
    "install_weak_deps=False",
    "plugins=False",
    "retries=1",
    "gpgcheck=True",
    "repo_gpgcheck=True",
    "cachedir=/var/cache/slipway-dnf",
  ];
  const fixed = ["dnf5", `--installroot=${target}`, "--use-host-config", "--releasever=42", "--assumeyes", ...settings.map((one) => `--setopt=${one}`)];
  return {
    command,
    rpm,
    inside,
    run: (args) => command([...fixed, ...args]),
    writeRepo: (text) => writeFile(join(path, "etc/slipway-repos/slipway.repo"), text, { mode: 0o600 }),
  };
}
