/** nginx with basic auth: the peer of the serving benchmark. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { requireCommand } from "../src/io/command.ts";
import { type FileSide, freePort, program, untilReady } from "./serve-side.ts";

export type Nginx = { readonly sides: readonly FileSide[]; readonly process: ChildProcess };

/** One worker with sendfile, an access log, and the files twice: behind a {PLAIN} and behind an apr1 password. Undefined where nginx is not installed. */
export async function startNginx(folder: string, files: Readonly<Record<string, Buffer>>): Promise<Nginx | undefined> {
  const nginx = program("nginx");
  if (nginx === undefined || program("openssl") === undefined) return undefined;
  const site = join(folder, "site");
  await mkdir(join(folder, "nginx"));
  await mkdir(site);
  for (const [name, content] of Object.entries(files)) await writeFile(join(site, name), content);
  for (const path of [folder, site]) await chmod(path, 0o755);
  const secret = randomBytes(32).toString("base64url");
  const apr1 = (await requireCommand(["openssl", "passwd", "-apr1", "-stdin"], { input: `${secret}\n`, timeoutMs: 10_000 })).trim();
  const kinds = { "{PLAIN}": `reader:{PLAIN}${secret}\n`, apr1: `reader:${apr1}\n` };
  const ports: number[] = [];
  const servers: string[] = [];
  for (const [kind, line] of Object.entries(kinds)) {
    const port = await freePort();
    const passwords = join(folder, "nginx", `passwords-${ports.length}`);
    await writeFile(passwords, line);
    ports.push(port);
    servers.push(`server { listen 127.0.0.1:${port}; root ${site}; auth_basic slipway; auth_basic_user_file ${passwords}; } # ${kind}`);
  }
  const scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((word) => `${word}_temp_path ${join(folder, "nginx", word)};`);
  const configuration = `worker_processes 1; daemon off; pid ${join(folder, "nginx", "pid")}; error_log stderr crit;
events { worker_connections 4096; }
http {
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000; open_file_cache max=100;
  access_log ${join(folder, "nginx", "access.log")}; ${scratch.join(" ")}
  ${servers.join("\n  ")}
}
`;
  const file = join(folder, "nginx", "nginx.conf");
  await writeFile(file, configuration);
  const child = spawn(nginx, ["-p", folder, "-c", file], { stdio: ["ignore", "ignore", "inherit"] });
  const authorization = `Basic ${Buffer.from(`reader:${secret}`).toString("base64")}`;
  for (const port of ports) await untilReady(`http://127.0.0.1:${port}/index.bin`, { authorization });
  const version = spawnSync(nginx, ["-v"]).stderr.toString().trim().replace("nginx version: ", "");
  // The worker, not the master, serves.
  const worker = Number((await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8")).trim().split(" ")[0]);
  const sides = Object.keys(kinds).map((kind, place) => ({
    name: `nginx ${kind}`,
    version,
    pid: worker,
    authorization,
    indexUrl: `http://127.0.0.1:${ports[place]}/index.bin`,
    artifactUrl: `http://127.0.0.1:${ports[place]}/artifact.bin`,
  }));
  return { sides, process: child };
}
