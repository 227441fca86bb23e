/** A Debian 13 with real container engines (Docker, podman), made once and shared; what runs in it gets mounts of its own, which end with it. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { debianMirror } from "./apt-root.ts";
import { cachedFolder } from "./cached-folder.ts";

const included = ["ca-certificates", "docker.io", "docker-cli", "docker-compose", "containerd", "runc", "podman", "iptables", "oras"];
const leftOut = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/** Made by mmdebstrap: 1 to 2 minutes, 550 MB. */
export async function engineRoot(): Promise<string> {
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

/** Engines want "/" to be a mount point, and proc, sys and dev; /run is theirs alone and holds everything that they write. */
const enter = `set -e
root=$1
shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
exec chroot "$root" "$@"`;

/** Runs a shell script in the root, on this machine's network. When it ends, so do all processes that it started and all mounts. */
export function runInEngineRoot(root: string, script: string, input = ""): Promise<CommandResult> {
  const isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"];
  return runCommand([...isolated, "sh", "-c", enter, "sh", root, "sh", "-c", script], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8" },
    timeoutMs: 120_000,
    input,
  });
}
