/**
 * Windows programs under Wine: Debian 13's wine64 unpacked into a folder of its own with a prefix that is set up once, thrown away after the test.
 * (Debian 12's Wine 8 lacks bcryptprimitives.dll, which the runtime of our executables wants.) Each command has a process namespace of its own, so
 * that Wine's services end with it.
 */
import { access, copyFile, mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { cachedFolder } from "./cached-folder.ts";
import { needClient, needRoot } from "./clients.ts";
import { debianMirror, withCopyOf } from "./debian-base.ts";

export type WineRoot = {
  /** This machine's name of `Z:\work`, the folder that is shared. */
  readonly work: string;
  /** This machine's name of `C:\`. */
  readonly driveC: string;
  /** A Windows program by its Windows path, from an empty environment but for `env`; look at exitCode. */
  readonly command: (argv: readonly string[], env?: Readonly<Record<string, string>>) => Promise<CommandResult>;
};

const timeoutMs = 600_000;
const systemEnv = {
  PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
  XDG_RUNTIME_DIR: "/tmp",
  WINEPREFIX: "/prefix",
  WINESERVER: "/usr/lib/wine/wineserver64",
  WINEDEBUG: "-all",
  WINEDLLOVERRIDES: "mscoree,mshtml=", // neither .NET nor a browser is offered
};

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) where it cannot be had, and on other machines than amd64. */
export async function withWineRoot(t: TestContext, fn: (root: WineRoot) => Promise<void>): Promise<void> {
  if (process.arch !== "x64") return t.skip("wine64 runs programs of amd64 on amd64");
  if (!needClient(t, "mmdebstrap", "unshare", "chroot")) return;
  if (!needRoot(t, "a private root for Wine")) return;
  await withCopyOf(await wineBase(), "wine", async (path) => {
    await mkdir(join(path, "work"));
    await fn({
      work: join(path, "work"),
      driveC: join(path, "prefix/drive_c"),
      command: (argv, env = {}) => runCommand(inside(path, argv), { timeoutMs, env: { ...systemEnv, ...env } }),
    });
  });
}

/** `$1` is the root. Wine's server writes the registry when it is told to end, not when it is killed. */
const enter = `mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev" && root="$1" && shift || exit 1
chroot "$root" /usr/lib/wine/wine64 "$@"; code=$?
chroot "$root" "$WINESERVER" --kill; chroot "$root" "$WINESERVER" --wait
exit $code`;
const inside = (path: string, argv: readonly string[]): readonly string[] => {
  const alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child"];
  return [...alone, "sh", "-c", enter, "sh", path, ...argv];
};

async function wineBase(): Promise<string> {
  const mirror = await debianMirror();
  const argv = ["mmdebstrap", "--mode=root", "--variant=extract", '--aptopt=Acquire::Check-Valid-Until "false"', "--include=wine64", "trixie"];
  return cachedFolder([...argv, mirror, "prefix 2"].join("\n"), async (folder) => {
    await requireCommand([...argv, folder, mirror], { timeoutMs });
    // Nothing was configured: what base-files and wine's own scripts would do.
    for (const name of ["bin", "sbin", "lib", "lib64"]) await symlink(`usr/${name}`, join(folder, name)).catch(() => undefined);
    for (const name of ["proc", "sys", "run", "tmp", "root", "dev"]) await mkdir(join(folder, name), { recursive: true });
    for (const name of ["usr/share/doc", "usr/share/locale", "usr/i686-w64-mingw32"]) await rm(join(folder, name), { recursive: true, force: true });
    const system = join(folder, "prefix/drive_c/windows/system32");
    await mkdir(system, { recursive: true });
    await copyFile(join(folder, "usr/x86_64-w64-mingw32/lib/zlib1.dll"), join(system, "zlib1.dll")); // Debian's user32.dll wants it
    // It ends with 53, because the 32-bit half of Windows is not there; what matters is whether it did its work.
    await runCommand(inside(folder, ["wineboot", "--init"]), { timeoutMs, env: systemEnv });
    await access(join(folder, "prefix/system.reg"));
    const shell = await runCommand(inside(folder, ["cmd.exe", "/c", "ver"]), { timeoutMs, env: systemEnv });
    if (shell.exitCode !== 0) throw new Error(`Windows' shell ended with ${shell.exitCode}: ${shell.stderr}`);
  });
}
