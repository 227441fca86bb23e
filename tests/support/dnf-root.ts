/**
 * A private root for a real dnf: an empty `--installroot` with its own configuration, caches and rpm database, thrown away after the test.
 *
 * One package of ours stands in for a distribution: busybox as /bin/sh, so that rpm runs the packages' scripts inside the root.
 */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, cleanEnvironment, requireCommand, runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { needClient, needRoot } from "./clients.ts";
import { writeTestRpm } from "./test-packages.ts";

export type DnfRoot = {
  /** The installroot. */
  readonly path: string;
  /** dnf with these arguments on the root, always answering yes. Look at exitCode. */
  readonly run: (args: readonly string[]) => Promise<CommandResult>;
  /** rpm on the root's database, for example `["-q", "coequal"]`. */
  readonly rpm: (args: readonly string[]) => Promise<CommandResult>;
  /** Writes the one .repo file, mode 0600. */
  readonly writeRepo: (text: string) => Promise<void>;
};

const timeoutMs = 120_000;
const busyboxPath = "/bin/busybox";
const applets = [
  "sh",
  "cat",
  "chmod",
  "chown",
  "cp",
  "echo",
  "false",
  "grep",
  "id",
  "install",
  "ln",
  "ls",
  "mkdir",
  "mv",
  "rm",
  "sed",
  "test",
  "touch",
  "true",
];

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) without dnf, rpm and busybox, or without root. */
export async function withDnfRoot(t: TestContext, fn: (root: DnfRoot) => Promise<void>): Promise<void> {
  if (!needClient(t, "dnf", "rpm", "busybox")) return;
  if (!needRoot(t, "a private root for dnf")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-dnf-root-"));
  try {
    await fn(await dnfRoot(folder));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function dnfRoot(folder: string): Promise<DnfRoot> {
  const path = join(folder, "root");
  const reposFolder = join(folder, "repos.d");
  for (const name of [path, reposFolder, join(path, "tmp"), join(path, "var/tmp")]) await mkdir(name, { recursive: true });
  const settings = {
    reposdir: reposFolder,
    cachedir: join(folder, "cache"),
    persistdir: join(folder, "persist"),
    logdir: join(folder, "log"),
    assumeyes: "1",
    gpgcheck: "1",
    repo_gpgcheck: "1",
    install_weak_deps: "0",
    plugins: "0",
    retries: "1",
  };
  const configuration = join(folder, "dnf.conf");
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  await writeFile(configuration, `[main]\n${lines.join("\n")}\n`);
  // Debian's rpm keeps its database under HOME: the same one for every call.
  const env = { ...cleanEnvironment(), HOME: folder, LANG: "C.UTF-8" };
  await installBase(folder, path, env);
  return {
    path,
    run: (args) =>
      runCommand(["dnf", "-c", configuration, `--installroot=${path}`, `--setopt=reposdir=${reposFolder}`, "--releasever=9", ...args], { env, timeoutMs }),
    rpm: (args) => runCommand(["rpm", "--root", path, ...args], { env, timeoutMs }),
    writeRepo: async (text) => {
      const file = join(reposFolder, "slipway.repo");
      await writeFile(file, text, { mode: 0o600 });
      await chmod(file, 0o600);
    },
  };
}

async function installBase(folder: string, path: string, env: Readonly<Record<string, string>>): Promise<void> {
  const file = join(folder, "toybase.rpm");
  const bytes = await writeTestRpm({
    name: "toybase",
    version: parseVersion("1.0.0"),
    files: [{ path: busyboxPath, mode: 0o755, bytes: await readFile(busyboxPath) }],
    links: applets.map((applet) => ({ path: `/bin/${applet}`, target: "busybox" })),
  });
  await writeFile(file, bytes);
  await requireCommand(["rpm", "--root", path, "--nosignature", "-i", file], { timeoutMs, env });
}
