/**
 * A Debian 12 machine with a running systemd: a container booted from a shared base, with what is written kept in an overlay.
 *
 * The mounts belong to a name space of their own, and systemd-nspawn dies with this process, so nothing is left behind: no mount, no folder,
 * no process. The overlay's folder lives as long as the machine, so that it can be reset and booted again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { needClient, needRoot } from "./clients.ts";
import { debianBase } from "./debian-base.ts";

export type BootedRoot = {
  /** Runs a shell script inside, as root; look at exitCode. */
  readonly run: (script: string) => Promise<CommandResult>;
  /** The same, but must exit 0; the trimmed standard output. */
  readonly require: (script: string) => Promise<string>;
  /** As a reset button: everything stands still and is killed, then the machine boots from what it had written. */
  readonly reset: () => Promise<void>;
};

export type BootedOptions = {
  /** Folders of this machine -> where they are inside, to be read. */
  readonly readOnly?: Readonly<Record<string, string>>;
  /** This machine's network, where servers of the test listen; by default one of its own. */
  readonly hasHostNetwork?: boolean;
  /** A Debian with systemd-sysv and dbus, by debianBase; Debian 12 with rpm by default. */
  readonly base?: () => Promise<string>;
};

const bootLimitMs = 120_000;
const commandLimitMs = 300_000;
const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" };

/** Boots, runs `fn`, powers off. `folder` of this machine is /packages inside, to be read. Skips loudly (fails with CI=true) without root or nspawn. */
export async function withBootedRoot(
  t: TestContext,
  folder: string,
  fn: (root: BootedRoot) => Promise<void>,
  { readOnly = {}, hasHostNetwork = false, base = bootableBase }: BootedOptions = {},
): Promise<void> {
  if (!needClient(t, "mmdebstrap", "systemd-nspawn", "nsenter", "setpriv", "unshare")) return;
  if (!needRoot(t, "a booted container")) return;
  const disk = await mkdtemp(join(tmpdir(), "slipway-booted-"));
  for (const name of ["upper", "work", "root"]) await mkdir(join(disk, name), { mode: 0o755 });
  const binds = Object.entries({ [folder]: "/packages", ...readOnly }).map(([from, to]) => `--bind-ro=${from}:${to}`);
  const options = [...binds, ...(hasHostNetwork ? [] : ["--private-network"])];
  let machine = powerOn({ base: await base(), disk, options });
  try {
    let entrance = await enter(machine.process.pid ?? 0, machine.readConsole);
    await fn({
      run: (script) => entrance.run(script),
      require: (script) => entrance.require(script),
      reset: async () => {
        await cutOff(entrance.leader);
        await machine.ended;
        machine = powerOn({ base: await base(), disk, options });
        entrance = await enter(machine.process.pid ?? 0, machine.readConsole);
      },
    });
  } finally {
    machine.process.kill("SIGTERM"); // nspawn asks for an orderly shutdown
    const isOrderly = await Promise.race([machine.ended.then(() => true), sleep(15_000, false, { ref: false })]);
    if (!isOrderly) machine.process.kill("SIGKILL"); // ends its processes and mounts with it
    await machine.ended;
    await rm(disk, { recursive: true, force: true });
  }
}

type PoweredMachine = { readonly process: ChildProcess; readonly ended: Promise<unknown>; readonly readConsole: () => string };

function powerOn({ base, disk, options }: { readonly base: string; readonly disk: string; readonly options: readonly string[] }): PoweredMachine {
  const overlay = `lowerdir=${base},upperdir=${join(disk, "upper")},workdir=${join(disk, "work")}`;
  const root = join(disk, "root");
  const nspawn = ["systemd-nspawn", "--quiet", `--directory=${root}`, ...options, "--register=no", "--keep-unit", "--console=pipe", "--boot"];
  // Each program replaces the one before it: the process that we started becomes nspawn itself.
  const argv = ["--mount", "--propagation", "private", "sh", "-ec", 'mount -t overlay overlay -o "$0" "$1"; shift; exec "$@"', overlay, root, ...nspawn];
  const container = spawn("setpriv", ["--pdeathsig", "KILL", "unshare", ...argv], { stdio: ["ignore", "pipe", "pipe"], env });
  let console = "";
  for (const stream of [container.stdout, container.stderr]) stream.on("data", (piece: Buffer) => (console += piece.toString("utf8")));
  return { process: container, ended: once(container, "exit"), readConsole: () => console };
}

/** Waits until systemd says that everything is up. */
async function enter(nspawn: number, readConsole: () => string): Promise<Omit<BootedRoot, "reset"> & { readonly leader: number }> {
  const deadline = Date.now() + bootLimitMs;
  while (Date.now() < deadline) {
    const leader = await firstChild(nspawn);
    if (leader !== undefined) {
      const argv = ["nsenter", "-t", leader, "-m", "-u", "-i", "-p", "-n", "-r", "-w", "sh", "-c"];
      const run = (script: string): Promise<CommandResult> => runCommand([...argv, script], { env, timeoutMs: commandLimitMs });
      const state = await run("systemctl is-system-running");
      if (["running", "degraded"].includes(state.stdout.trim())) {
        return { leader: Number(leader), run, require: async (script) => (await requireCommand([...argv, script], { env, timeoutMs: commandLimitMs })).trim() };
      }
    }
    await sleep(200);
  }
  throw new Error(`the container is not up after ${bootLimitMs} ms: ${readConsole().slice(-2_000)}`);
}

/** Nobody lives to see another die: with init alone killed, a program would see `systemctl` fail, and have time to write that down. */
async function cutOff(leader: number): Promise<void> {
  const spaceOf = (pid: number): Promise<string | undefined> => readlink(`/proc/${pid}/ns/pid`).catch(() => undefined);
  const space = await spaceOf(leader);
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const spaces = await Promise.all(pids.map(spaceOf));
  for (const pid of pids.filter((_, index) => spaces[index] === space)) {
    try {
      process.kill(pid, "SIGSTOP");
    } catch {
      // it is gone already
    }
  }
  process.kill(leader, "SIGKILL");
}

async function firstChild(pid: number): Promise<string | undefined> {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => []);
  for (const task of tasks) {
    const children = await readFile(`/proc/${pid}/task/${task}/children`, "utf8").catch(() => "");
    const [first] = children.trim().split(" ");
    if (first !== undefined && first !== "") return first;
  }
  return undefined;
}

const bootableBase = (): Promise<string> => debianBase({ suite: "bookworm", packages: ["systemd-sysv", "dbus", "passwd", "procps", "rpm"] });
