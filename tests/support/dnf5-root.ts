/**
 * A private Debian unstable with a real dnf 5 on rpm 6, thrown away after the test. dnf 5 is in no released Debian yet, so its exact version
 * moves; the base is made once by mmdebstrap (1 to 2 minutes) and shared.
 *
 * dnf installs into an empty installation inside it, where busybox stands in for a distribution.
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
const included = ["rpm", "dnf5", "passwd", "busybox-static"];
const leftOut = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];
const target = "/target";
const applets = ["sh", "cat", "echo", "grep", "id", "mkdir", "rm", "sed", "test", "touch", "true"];

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) without mmdebstrap or without root; the root is gone afterwards. */
export async function withDnf5Root(t: TestContext, fn: (root: Dnf5Root) => Promise<void>): Promise<void> {
  if (!needClient(t, "mmdebstrap", "chroot")) return;
  if (process.getuid?.() !== 0) {
    if (process.env["CI"] === "true") throw new Error("a private root for dnf 5 needs root");
    t.skip("a private root for dnf 5 needs root");
    return;
  }
  const base = await dnf5Base();
  const path = await mkdtemp(join(dirname(base), "dnf5-root-"));
  try {
    await copyRoot(base, path);
    await fn(await dnf5Root(path));
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

async function dnf5Base(): Promise<string> {
  const options = [
    "--mode=root",
    "--variant=apt",
    '--aptopt=Acquire::Check-Valid-Until "false"',
    ...leftOut.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
  ];
  const argv = ["mmdebstrap", ...options, `--include=${included.join(",")}`, "sid"];
  const mirror = await debianMirror();
  return cachedFolder([...argv, mirror].join("\n"), async (folder) => {
    await requireCommand([...argv, folder, mirror], { timeoutMs: 230_000 });
    await rm(join(folder, "var/lib/apt/lists"), { recursive: true, force: true });
  });
}

async function dnf5Root(path: string): Promise<Dnf5Root> {
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8" };
  const inside = (name: string): string => join(path, target, name);
  const command = (argv: readonly string[]): Promise<CommandResult> => runCommand(["chroot", path, ...argv], { env, timeoutMs });
  const rpm = (args: readonly string[]): Promise<CommandResult> => command(["rpm", "--root", target, ...args]);
  for (const name of ["tmp", "var/tmp"]) await mkdir(inside(name), { recursive: true });
  await mkdir(join(path, "etc/slipway-repos"));
  await installBase(path, rpm);
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

/** busybox as the installation's shell, so that rpm runs the packages' scripts there. */
async function installBase(path: string, rpm: Dnf5Root["rpm"]): Promise<void> {
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
