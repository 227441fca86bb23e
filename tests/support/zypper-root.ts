/**
 * A private Debian 13 with a real zypper 1.14.89 on rpm 4.20, thrown away after the test: the second resolver and the second verifier (Sequoia)
 * of rpms, beside dnf 4 on rpm 4.18 of this machine.
 *
 * The base is made once by mmdebstrap (45 s, 144 MB) and shared. zypper installs into an empty installation inside it, where one package of
 * ours stands in for a distribution: busybox as /bin/sh, so that rpm runs the packages' scripts.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { debianMirror } from "./apt-root.ts";
import { cachedFolder } from "./cached-folder.ts";
import { needClient } from "./clients.ts";
import { copyRoot } from "./root-copy.ts";
import { writeTestRpm } from "./test-packages.ts";

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
const included = ["rpm", "zypper", "passwd", "busybox-static"];
const leftOut = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];
const target = "/target";
/** Name of the file in credentials.d. */
export const credentialsName = "slipway";

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) without mmdebstrap or without root; the root is gone afterwards. */
export async function withZypperRoot(t: TestContext, fn: (root: ZypperRoot) => Promise<void>): Promise<void> {
  if (!needClient(t, "mmdebstrap", "chroot")) return;
  if (process.getuid?.() !== 0) {
    if (process.env["CI"] === "true") throw new Error("a private root for zypper needs root");
    t.skip("a private root for zypper needs root");
    return;
  }
  const base = await zypperBase();
  const path = await mkdtemp(join(dirname(base), "zypper-root-"));
  try {
    await copyRoot(base, path);
    await fn(await zypperRoot(path));
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

/** Debian 13 with rpm and zypper, shared: to be copied, not to be written to. */
export async function zypperBase(): Promise<string> {
  const options = [
    "--mode=root",
    "--variant=apt",
    '--aptopt=Acquire::Check-Valid-Until "false"',
    ...leftOut.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
  ];
  const argv = ["mmdebstrap", ...options, `--include=${included.join(",")}`, "trixie"];
  const mirror = await debianMirror();
  return cachedFolder([...argv, mirror].join("\n"), async (folder) => {
    await requireCommand([...argv, folder, mirror], { timeoutMs: 230_000 });
    await rm(join(folder, "var/lib/apt/lists"), { recursive: true, force: true });
  });
}

async function zypperRoot(path: string): Promise<ZypperRoot> {
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8" };
  const inside = (name: string): string => join(path, target, name);
  const command = (argv: readonly string[]): Promise<CommandResult> => runCommand(["chroot", path, ...argv], { env, timeoutMs });
  const rpm = (args: readonly string[]): Promise<CommandResult> => command(["rpm", "--root", target, "--dbpath", "/var/lib/rpm", ...args]);
  for (const name of ["tmp", "var/tmp", "var/lib/rpm", "etc/zypp/repos.d", "etc/zypp/credentials.d"]) await mkdir(inside(name), { recursive: true });
  await installBase(path, rpm);
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

/** busybox as the installation's shell, so that rpm runs the packages' scripts there. */
async function installBase(path: string, rpm: ZypperRoot["rpm"]): Promise<void> {
  const applets = ["sh", "cat", "echo", "grep", "id", "mkdir", "rm", "sed", "test", "touch", "true"];
  const bytes = await writeTestRpm({
    name: "toybase",
    version: parseVersion("1.0.0"),
    files: [{ path: "/usr/bin/busybox", mode: 0o755, bytes: await readFile(join(path, "usr/bin/busybox")) }],
    links: [...applets.map((applet) => ({ path: `/usr/bin/${applet}`, target: "busybox" })), { path: "/bin", target: "usr/bin" }],
  });
  await writeFile(join(path, "toybase.rpm"), bytes);
  const done = await rpm(["--nosignature", "-i", "/toybase.rpm"]);
  if (done.exitCode !== 0) throw new Error(`the base of the installation: ${done.stderr}`);
}
