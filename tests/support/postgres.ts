/** A throw-away PostgreSQL from Debian's package, on a socket in a temporary folder; it ends with the test, even when the test is killed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { requireCommand } from "../../src/io/command.ts";

export type Postgres = {
  /** A fresh, empty database in the cluster. */
  createDatabase(): Promise<string>;
  /** Kills it as a crash would; `start` brings it back with what was committed. */
  crash(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
};

const root = "/usr/lib/postgresql";

/** The folder of the newest installed server's programs, or undefined where none is installed. */
export async function postgresPrograms(): Promise<string | undefined> {
  const versions = await readdir(root).catch(() => []);
  const newest = versions
    .map(Number)
    .filter(Number.isInteger)
    .sort((left, right) => right - left)[0];
  return newest === undefined ? undefined : join(root, String(newest), "bin");
}

/** PostgreSQL refuses to run as root: then it runs as the user that Debian's package made. */
async function unprivileged(): Promise<{ readonly uid: number; readonly gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const uid = Number(await requireCommand(["id", "-u", "postgres"], { timeoutMs: 5_000 }));
  const gid = Number(await requireCommand(["id", "-g", "postgres"], { timeoutMs: 5_000 }));
  return { uid, gid };
}

export async function startPostgres(programs: string): Promise<Postgres> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-pg-"));
  const user = await unprivileged();
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const asUser = user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"];
  // The kernel stops the server when this process ends in any way.
  const wrapper = ["setpriv", ...asUser, "--pdeathsig=QUIT"];
  const cluster = join(folder, "data");
  await requireCommand([...wrapper, join(programs, "initdb"), "-D", cluster, "-U", "slipway", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"], {
    timeoutMs: 120_000,
    cwd: folder,
  });
  const settings = [`unix_socket_directories=${folder}`, "listen_addresses=", "fsync=off", "max_connections=60"];
  const [program = "setpriv", ...args] = [...wrapper, join(programs, "postgres"), "-D", cluster, ...settings.flatMap((setting) => ["-c", setting])];
  const lines: string[] = [];
  const launch = () => {
    const child = spawn(program, args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
    child.stderr.on("data", (piece: Buffer) => lines.push(piece.toString("utf8")));
    return { child, ended: once(child, "exit") };
  };
  let server = launch();

  const urlOf = (database: string): string => `postgresql://slipway@localhost/${database}?host=${encodeURIComponent(folder)}`;
  async function run(statement: string): Promise<void> {
    const client = new Client({ connectionString: urlOf("postgres") });
    await client.connect();
    try {
      await client.query(statement);
    } finally {
      await client.end();
    }
  }
  async function crash(): Promise<void> {
    server.child.kill("SIGQUIT");
    await server.ended;
  }
  async function stop(): Promise<void> {
    await crash();
    await rm(folder, { recursive: true, force: true });
  }
  async function answering(): Promise<void> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      try {
        await run("select 1");
        return;
      } catch (error) {
        if (server.child.exitCode !== null || Date.now() > deadline) {
          await stop();
          throw new Error(`PostgreSQL did not start: ${lines.join("")}`, { cause: error });
        }
        await sleep(50);
      }
    }
  }
  await answering();

  let count = 0;
  return {
    createDatabase: async () => {
      count += 1;
      await run(`create database test_${count}`);
      return urlOf(`test_${count}`);
    },
    crash,
    start: async () => {
      server = launch();
      await answering();
    },
    stop,
  };
}
