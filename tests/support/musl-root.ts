/**
 * The smallest system with musl, as a folder: Debian 13's musl (1.2.5, as Alpine since 3.20), a static busybox, and the C++ library as a wheel for
 * musl carries it along (of Alpine's own packages, which cannot be had from Debian, the executables need libstdc++ and libgcc). For arm64 programs
 * run by qemu-user.
 */
import { mkdir, readdir, symlink, copyFile, rename } from "node:fs/promises";
import { basename, join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { withArm64Programs } from "./arm64-root.ts";
import { cachedFolder } from "./cached-folder.ts";
import { needClient, needRoot } from "./clients.ts";
import { debianMirror, withCopyOf } from "./debian-base.ts";
import { unpackDebianPackage } from "./debian-tool.ts";

export type MuslRoot = {
  readonly path: string;
  /** Any program of the root, from an empty environment; look at exitCode. */
  readonly command: (argv: readonly string[]) => Promise<CommandResult>;
};

const timeoutMs = 200_000;
const words = { amd64: "x86_64", arm64: "aarch64" } as const;
/** Small, and pinned: it brings libstdc++ and libgcc of an Alpine. */
const wheel = "contourpy==1.3.3";

/** Runs `fn` with a fresh root. Skips loudly (fails with CI=true) where it cannot be had. */
export async function withMuslRoot(t: TestContext, arch: keyof typeof words, fn: (root: MuslRoot) => Promise<void>): Promise<void> {
  if (!needClient(t, "apt-get", "dpkg-deb", "pip3", "unzip", "chroot", ...(arch === "arm64" ? ["qemu-aarch64-static"] : []))) return;
  if (!needRoot(t, "a private root with musl")) return;
  const base = await muslBase(arch);
  const run = () =>
    withCopyOf(base, "musl", (path) =>
      fn({ path, command: (argv) => runCommand(["chroot", path, ...argv], { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" }, timeoutMs }) }),
    );
  await (arch === "arm64" ? withArm64Programs(run) : run());
}

async function muslBase(arch: keyof typeof words): Promise<string> {
  const mirror = await debianMirror();
  return cachedFolder(`musl root\n${arch}\n${wheel}\n${mirror}`, async (folder) => {
    const loader = `ld-musl-${words[arch]}.so.1`;
    for (const name of ["usr/lib", "usr/bin", "bin", "lib", "tmp", "root", "etc"]) await mkdir(join(folder, name), { recursive: true });
    const work = join(folder, "work");
    for (const name of ["musl", "busybox-static"]) await unpackDebianPackage({ release: "trixie", name, arch, mirror, folder: join(work, name) });
    const [libraries = ""] = await readdir(join(work, "musl/usr/lib")).then((names) => names.filter((name) => name.endsWith("-linux-musl")));
    await copyFile(join(work, "musl/usr/lib", libraries, "libc.so"), join(folder, "lib", loader));
    await symlink(loader, join(folder, "lib", `libc.musl-${words[arch]}.so.1`));
    await rename(join(work, "busybox-static/usr/bin/busybox"), join(folder, "bin/busybox"));
    await symlink("busybox", join(folder, "bin/sh"));
    const platform = `musllinux_1_2_${words[arch]}`;
    const argv = ["pip3", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--platform", platform, "--python-version", "3.12"];
    await requireCommand([...argv, "--implementation", "cp", "--abi", "cp312", "--dest", join(work, "wheel"), wheel], { timeoutMs });
    const [file = ""] = await readdir(join(work, "wheel"));
    await requireCommand(["unzip", "-q", join(work, "wheel", file), "*.libs/*", "-d", work], { timeoutMs });
    const bundled = join(work, `${basename(wheel.split("==")[0] ?? "")}.libs`);
    for (const name of await readdir(bundled))
      await rename(join(bundled, name), join(folder, "usr/lib", name.startsWith("libstdc++") ? "libstdc++.so.6" : name));
    await requireCommand(["rm", "-rf", work], { timeoutMs });
  });
}
