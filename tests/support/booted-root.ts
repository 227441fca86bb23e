/**
 * A Debian 12 machine with a running systemd: a container booted from a shared base, with everything that is written kept in memory.
 *
 * systemd-nspawn lays an overlay on the base and dies with this process, so nothing is left behind: no mount, no folder, no process.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { debianMirror } from "./apt-root.ts";
import { cachedFolder } from "./cached-folder.ts";
import { needClient } from "./clients.ts";

export type BootedRoot = {
  /** Runs a shell script inside, as root; look at exitCode. */
  readonly run: (script: string) => Promise<CommandResult>;
  /** The same, but must exit 0; the trimmed standard output. */
  readonly require: (script: string) => Promise<string>;
};

const included = ["systemd-sysv", "dbus", "passwd", "procps", "rpm"];
const leftOut = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];
const bootLimitMs = 60_000;
const commandLimitMs = 120_000;
const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" };

/** Boots, runs `fn`, powers off. `folder` of this machine is /packages inside, to be read. Skips loudly (fails with CI=true) without root or nspawn. */
export async function withBootedRoot(t: TestContext, folder: string, fn: (root: BootedRoot) => Promise<void>): Promise<void> {
  if (!needClient(t, "mmdebstrap", "systemd-nspawn", "nsenter", "setpriv")) return;
  if (process.getuid?.() !== 0) {
    if (process.env["CI"] === "true") throw new Error("a booted container needs root");
    t.skip("a booted container needs root");
    return;
  }
  const base = await bootableBase();
  const options = ["--quiet", `--directory=${base}`, "--volatile=overlay", `--bind-ro=${folder}:/packages`, "--private-network"];
  const nspawn = ["systemd-nspawn", ...options, "--register=no", "--keep-unit", "--console=pipe", "--boot"];
  const container = spawn("setpriv", ["--pdeathsig", "KILL", ...nspawn], { stdio: ["ignore", "pipe", "pipe"], env });
  let console = "";
  for (const stream of [container.stdout, container.stderr]) stream.on("data", (piece: Buffer) => (console += piece.toString("utf8")));
  const ended = once(container, "exit");
  try {
    await fn(await enter(container.pid ?? 0, () => console));
  } finally {
    container.kill("SIGTERM"); // nspawn asks for an orderly shutdown
    const isOrderly = await Promise.race([ended.then(() => true), sleep(15_000, false, { ref: false })]);
    if (!isOrderly) container.kill("SIGKILL"); // ends its processes and mounts with it
    await ended;
  }
}

/** Waits until systemd says that everything is up. */
async function enter(nspawn: number, readConsole: () => string): Promise<BootedRoot> {
  const deadline = Date.now() + bootLimitMs;
  while (Date.now() < deadline) {
    const leader = await firstChild(nspawn);
    if (leader !== undefined) {
      const argv = ["nsenter", "-t", leader, "-m", "-u", "-i", "-p", "-n", "-r", "-w", "sh", "-c"];
      const run = (script: string): Promise<CommandResult> => runCommand([...argv, script], { env, timeoutMs: commandLimitMs });
      const state = await run("systemctl is-system-running");
      if (["running", "degraded"].includes(state.stdout.trim())) {
        return { run, require: async (script) => (await requireCommand([...argv, script], { env, timeoutMs: commandLimitMs })).trim() };
      }
    }
    await sleep(200);
  }
  throw new Error(`the container is not up after ${bootLimitMs} ms: ${readConsole().slice(-2_000)}`);
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

async function bootableBase(): Promise<string> {
  const options = [
    "--mode=root",
    "--variant=apt",
    '--aptopt=Acquire::Check-Valid-Until "false"',
    ...leftOut.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
  ];
  const argv = ["mmdebstrap", ...options, `--include=${included.join(",")}`, "bookworm"];
  const mirror = await debianMirror();
  return cachedFolder([...argv, mirror].join("\n"), async (folder) => {
    await requireCommand([...argv, folder, mirror], { timeoutMs: 230_000 });
    await rm(join(folder, "var/lib/apt/lists"), { recursive: true, force: true });
  });
}
