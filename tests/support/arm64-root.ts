/**
 * A private Debian 12 for arm64, run by qemu-user on whatever this machine is, thrown away after the test: packages are installed by arm64's own
 * dpkg and rpm, and their programs and scripts run.
 *
 * The kernel is told of qemu (binfmt_misc) for the time of the test, where it does not know already. Flag F opens the interpreter at once, so
 * that it needs no copy inside the root. The base is made once by mmdebstrap (90 s, 200 MB) and shared.
 */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { findProgram, needClient, needRoot } from "./clients.ts";
import { debianBase, withCopyOf } from "./debian-base.ts";

export type Arm64Root = {
  readonly path: string;
  /** Any program of the root; look at exitCode. */
  readonly command: (argv: readonly string[]) => Promise<CommandResult>;
};

const timeoutMs = 300_000;
const binfmt = "/proc/sys/fs/binfmt_misc";
/** The name that Debian's package gives it, by which `slipway test-install` finds it. */
const entryName = "qemu-aarch64";
/** ELF, 64 bit, little-endian, an executable or a shared object, machine 183. */
const magic = String.raw`\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`;
const mask = String.raw`\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`;

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) without qemu-user-static, mmdebstrap or root. */
export async function withArm64Root(t: TestContext, fn: (root: Arm64Root) => Promise<void>): Promise<void> {
  if (!needClient(t, "qemu-aarch64-static", "mmdebstrap", "chroot")) return;
  if (!needRoot(t, "a private root for arm64")) return;
  await withArm64Programs(async () => {
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" };
    await withCopyOf(await arm64Base(), "arm64", (path) => fn({ path, command: (argv) => runCommand(["chroot", path, ...argv], { env, timeoutMs }) }));
  });
}

/** Runs `fn` while this kernel runs programs for arm64; what was not known to it before is not known afterwards. */
export async function withArm64Programs(fn: () => Promise<void>): Promise<void> {
  const isMounted = existsSync(join(binfmt, "register"));
  if (!isMounted) await requireCommand(["mount", "-t", "binfmt_misc", "binfmt_misc", binfmt], { timeoutMs });
  const isKnown = process.arch === "arm64" || existsSync(join(binfmt, entryName));
  try {
    if (!isKnown) await writeFile(join(binfmt, "register"), `:${entryName}:M::${magic}:${mask}:${findProgram("qemu-aarch64-static") ?? ""}:OCF`);
    await fn();
  } finally {
    if (!isKnown) await writeFile(join(binfmt, entryName), "-1");
    if (!isMounted) await requireCommand(["umount", binfmt], { timeoutMs });
  }
}

/** Shared: not to be written to. `qemu-aarch64-static -L` finds the C library in it. */
export const arm64Base = (): Promise<string> =>
  debianBase({
    suite: "bookworm",
    packages: ["rpm", "passwd"],
    options: ["--arch=arm64", "--skip=check/qemu"], // it asks for arch-test, and we know
  });
