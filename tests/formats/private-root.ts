/** A private root for dpkg and rpm: static busybox as /bin/sh, so that they chroot into it and really run the packages' scripts. */
import { chmod, copyFile, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { findProgram, needClient } from "../support/clients.ts";
import { temporaryFolder } from "./sample.ts";

/** False (and the test is skipped) where we are not root: chroot is root's. */
export function needRoot(t: TestContext, ...clients: readonly string[]): boolean {
  if (!needClient(t, "busybox", ...clients)) return false;
  if (process.getuid?.() === 0) return true;
  t.skip("dpkg and rpm chroot into a private root, which only root may");
  return false;
}

export type PrivateRoot = {
  readonly path: string;
  readonly dpkg: (...args: readonly string[]) => Promise<string>;
  readonly rpm: (...args: readonly string[]) => Promise<string>;
  readonly read: (path: string) => Promise<string>;
  readonly write: (path: string, content: string) => Promise<void>;
  readonly exists: (path: string) => Promise<boolean>;
  /** The lines that the scripts have logged since the last call. */
  readonly takeLog: () => Promise<readonly string[]>;
};

export async function privateRoot(t: TestContext): Promise<PrivateRoot> {
  const path = await temporaryFolder(t);
  const inside = (name: string): string => join(path, name);
  for (const folder of ["bin", "etc", "var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/dpkg/triggers", "var/lib/rpm", "tmp"]) {
    await mkdir(inside(folder), { recursive: true });
  }
  await copyFile(findProgram("busybox") ?? "/bin/busybox", inside("bin/busybox"));
  await chmod(inside("bin/busybox"), 0o755);
  await symlink("busybox", inside("bin/sh"));
  await writeFile(inside("var/lib/dpkg/status"), "");
  const run = (argv: readonly string[]): Promise<string> =>
    requireCommand(argv, { timeoutMs: 60_000, env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C.UTF-8" } });
  const read = (name: string): Promise<string> => readFile(inside(name), "utf8");
  return {
    path,
    dpkg: (...args) => run(["dpkg", `--root=${path}`, "--log=/dev/null", "--force-confold", "--no-debsig", ...args]),
    // Debian's rpm wants to be told that it may.
    rpm: (...args) => run(["rpm", "--root", path, "--dbpath", "/var/lib/rpm", "--force-debian", "--nosignature", ...args]),
    read,
    write: async (name, content) => {
      await mkdir(dirname(inside(name)), { recursive: true });
      await writeFile(inside(name), content);
    },
    exists: (name) =>
      read(name).then(
        () => true,
        () => false,
      ),
    takeLog: async () => {
      const log = await read("log").catch(() => "");
      await rm(inside("log"), { force: true });
      return log.split("\n").filter((line) => line !== "");
    },
  };
}
