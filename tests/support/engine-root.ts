/** A Debian 13 with real container engines (Docker, podman), made once and shared; what runs in it gets mounts of its own, which end with it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { debianBase } from "./debian-base.ts";

/** Made by mmdebstrap: 1 to 2 minutes, 550 MB. */
export const engineRoot = (): Promise<string> =>
  debianBase({
    suite: "trixie",
    packages: ["ca-certificates", "docker.io", "docker-cli", "docker-compose", "containerd", "runc", "podman", "iptables", "oras"],
  });

/** Engines want "/" to be a mount point, and proc, sys and dev; /run is theirs alone and holds everything that they write. */
const enter = `set -e
root=$1
shared=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
if [ -n "$shared" ]; then
  mkdir -p "$root/$shared"
  mount --bind "$shared" "$root/$shared"
fi
exec chroot "$root" "$@"`;

const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8" };
const isolated = [
  "setpriv",
  "--pdeathsig",
  "KILL",
  "unshare",
  "--mount",
  "--pid",
  "--fork",
  "--kill-child",
  "--propagation",
  "private",
  "sh",
  "-c",
  enter,
  "sh",
];

/** Runs a shell script in the root, on this machine's network. When it ends, so do all processes that it started and all mounts. */
export function runInEngineRoot(root: string, script: string, input = ""): Promise<CommandResult> {
  return runCommand([...isolated, root, "", "sh", "-c", script], { env, timeoutMs: 300_000, input });
}

/** For a script in the root: waits until a command succeeds. */
const waitFor = (command: string, logs: string): string => `tries=0
until ${command} >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 240 ] || { cat ${logs} >&2; exit 1; }
  sleep 0.25
done`;

/** For a script in the root: containerd, ready at /run/containerd.sock. */
export const startContainerd = `ulimit -n 4096
containerd --root /run/containerd/root --state /run/containerd/state --address /run/containerd.sock >/run/containerd.log 2>&1 &
${waitFor("ctr --address /run/containerd.sock version", "/run/containerd.log")}`;

/** For a script in the root: Docker at its usual socket. No bridge and no iptables, so that the machine's network stays as it is. From here on a failure ends the script. */
export const startDocker = `${startContainerd}
dockerd --containerd /run/containerd.sock -H unix:///run/docker.sock --data-root /run/docker/data --exec-root /run/docker/exec -p /run/docker.pid \
  --bridge=none --iptables=false --ip6tables=false --ip-forward=false --storage-driver=vfs --exec-opt native.cgroupdriver=cgroupfs >/run/dockerd.log 2>&1 &
export DOCKER_CONFIG=/run/docker-config
${waitFor("docker version", "/run/containerd.log /run/dockerd.log")}
set -e`;

/** For a script in the root: podman with everything below /run, and the limits of a machine that may not raise them. */
const podmanOptions = "--root /run/podman/root --runroot /run/podman/run --storage-driver vfs --runtime runc --cgroup-manager=cgroupfs";
export const definePodman = `set -e
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
podman() { command podman ${podmanOptions} "$@"; }`;

/**
 * Docker and podman for programs outside of the root, until the end of the test: `folder`/bin/docker and podman are programs that call them. This machine's
 * temporary files, `folder` among them, are at the same place inside, so that their paths mean the same on both sides. Returns how any command is run inside.
 */
export async function startOuterEngines(t: Pick<TestContext, "after">, folder: string): Promise<(argv: readonly string[]) => Promise<CommandResult>> {
  const root = await engineRoot();
  const [program, ...args] = [...isolated, root, tmpdir(), "sh", "-c", `${startDocker}\n: > ${folder}/docker-is-up\nexec sleep 3600`];
  const engine = spawn(program, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  engine.stderr.on("data", (piece: Buffer) => (log += piece.toString("utf8")));
  const ended = once(engine, "exit");
  t.after(async () => {
    engine.kill("SIGKILL"); // --kill-child: its whole name space goes with it
    await ended;
  });
  for (let tries = 0; (await readFile(join(folder, "docker-is-up")).catch(() => undefined)) === undefined; tries += 1) {
    if (engine.exitCode !== null || tries > 1200) throw new Error(`docker did not come up: ${log.slice(-4000)}`);
    await sleep(50);
  }
  const inside = (await readFile(`/proc/${engine.pid ?? 0}/task/${engine.pid ?? 0}/children`, "utf8")).trim().split(" ")[0] ?? "";
  const into = ["nsenter", "-t", inside, "-m", "-p", "--", "chroot", root, "env", "PODMAN_IGNORE_CGROUPSV1_WARNING=1"];
  await mkdir(join(folder, "bin"), { recursive: true });
  for (const [name, call] of Object.entries({ docker: "/usr/bin/docker", podman: `/usr/bin/podman ${podmanOptions}` }))
    await writeFile(join(folder, "bin", name), `#!/bin/sh\nexec ${into.join(" ")} ${call} "$@"\n`, { mode: 0o755 });
  return (argv) => runCommand([...into, ...argv], { env, timeoutMs: 300_000 });
}

/** podman's socket, which `podman compose` speaks through; ends with the engines. `inside` comes from startOuterEngines. */
export async function servePodman(inside: (argv: readonly string[]) => Promise<CommandResult>): Promise<void> {
  const socket = "/run/podman/podman.sock";
  const serve = `command podman ${podmanOptions} system service --time=0 unix://${socket} >/run/podman-service.log 2>&1 </dev/null &`;
  const result = await inside(["sh", "-c", `mkdir -p /run/podman\n${serve}\n${waitFor(`test -S ${socket}`, "/run/podman-service.log")}`]);
  if (result.exitCode !== 0) throw new Error(`podman's socket: ${result.stderr}`);
}
