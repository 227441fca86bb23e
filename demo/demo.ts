/**
 * `npm run demo`: the main job end to end on a real program, as a release engineer, a customer and an operator would do it by hand.
 *
 * Everything happens in a throw-away folder, through the `slipway` command and plain HTTP; no root, no other program than Node, npm, tar and sh.
 * Ends with a table of steps and times; exit 0 only if every step held. `--keep` leaves the folder and the server for a look around.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import colors from "picocolors";
import { formatTable } from "../src/cli/output.ts";
import { fetchPrograms, makeBrokenPrograms } from "./esbuild-packages.ts";

const root = resolve(import.meta.dirname, "..");
const isKept = process.argv.includes("--keep");
const [first, second, broken] = ["0.28.1", "0.28.2", "0.28.3"] as const;
const work = await mkdtemp(join(tmpdir(), "slipway-demo-"));
const folders = { vendor: join(work, "vendor"), server: join(work, "server"), machine: join(work, "machine"), keys: join(work, "keys") };
const steps: { name: string; outcome: string; ms: number }[] = [];
const processes: ChildProcess[] = [];

type Result = { readonly exitCode: number; readonly json: readonly Record<string, unknown>[]; readonly text: string };

let environment: Record<string, string> = {
  ...(process.env as Record<string, string>),
  SLIPWAY_KEYS_DIR: folders.keys,
  SLIPWAY_KEY_PASSPHRASE: "demo passphrase",
  SOURCE_DATE_EPOCH: "1767225600",
};

/** Runs `slipway …` in a folder with --json and returns its events; throws on another exit code than expected. */
async function slipway(cwd: string, words: readonly string[], expected: readonly number[] = [0]): Promise<Result> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", join(root, "src/main.ts"), ...words, "--json"], {
    cwd,
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (piece: Buffer) => (stdout += piece.toString()));
  child.stderr.on("data", (piece: Buffer) => (stderr += piece.toString()));
  const exitCode = await new Promise<number>((done) => child.on("close", (code) => done(code ?? -1)));
  const json = stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  if (!expected.includes(exitCode)) throw new Error(`slipway ${words.join(" ")} ended with ${exitCode}\n${stdout.slice(-2000)}${stderr.slice(-2000)}`);
  return { exitCode, json, text: stdout + stderr };
}

/** One row of the table: does it, measures it, says it. */
async function step(name: string, body: () => Promise<string>): Promise<void> {
  const startedAt = performance.now();
  process.stdout.write(`${colors.dim("…")} ${name}`);
  const outcome = await body();
  const ms = performance.now() - startedAt;
  steps.push({ name, outcome, ms });
  process.stdout.write(`\r\u001b[K${colors.green("✔")} ${name}: ${outcome} ${colors.dim(`(${(ms / 1000).toFixed(1)} s)`)}\n`);
}

function check(isTrue: boolean, claim: string): void {
  if (!isTrue) throw new Error(`this did not hold: ${claim}`);
}

const freePort = (): Promise<number> =>
  new Promise((done) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => done(typeof address === "object" && address !== null ? address.port : 0));
    });
  });

async function startServer(port: number): Promise<void> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", join(root, "src/main.ts"), "serve", "--data-dir", folders.server, "--listen", `127.0.0.1:${port}`],
    { env: environment, stdio: ["ignore", "ignore", "pipe"], detached: isKept },
  );
  processes.push(child);
  let errors = "";
  child.stderr.on("data", (piece: Buffer) => (errors = (errors + piece.toString()).slice(-4000)));
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}\n${errors}`);
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    if (answer?.ok === true) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`the server did not become ready\n${errors}`);
}

const isLinuxOnKnownCpu = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);
if (!isLinuxOnKnownCpu) throw new Error("the demonstration installs a linux program: run it on linux, amd64 or arm64");

async function runDemonstration(): Promise<void> {
  for (const folder of Object.values(folders)) await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folders.vendor, "slipway.yaml"), await readFile(join(import.meta.dirname, "slipway.yaml"), "utf8"));
  const input = join(folders.vendor, "input");

  await step("fetch the real program", async () => {
    await fetchPrograms([first, second], { cache: join(root, ".cache", "demo"), input });
    await makeBrokenPrograms(input, second, broken);
    return `esbuild ${first} and ${second} for six targets, integrity checked; ${broken} is ${second} cut short`;
  });
  await step("make release keys", async () => {
    await slipway(folders.vendor, ["keys", "new", "demo-packages", "--type", "openpgp"]);
    await slipway(folders.vendor, ["keys", "new", "demo-updates", "--type", "minisign"]);
    return "OpenPGP RSA-4096 and minisign, private halves encrypted";
  });
  for (const version of [first, second, broken]) {
    await step(`build ${version}`, async () => {
      await slipway(folders.vendor, ["build", "--version", version]);
      const names = await readdir(join(folders.vendor, "dist", version));
      check(names.includes("SHA256SUMS.sig") && names.includes("SHA256SUMS.minisig"), "both signatures are there");
      return `${names.filter((name) => name.endsWith(".deb")).length} deb, ${names.filter((name) => name.endsWith(".rpm")).length} rpm, ${names.filter((name) => /\.(tar\.gz|zip)$/.test(name)).length} archives, ${names.length} files, signed`;
    });
  }

  const port = await freePort();
  const server = `http://127.0.0.1:${port}`;
  await step("start the server on an empty folder", async () => {
    await startServer(port);
    environment = { ...environment, SLIPWAY_SERVER: server, SLIPWAY_TOKEN: (await readFile(join(folders.server, "admin-token"), "utf8")).trim() };
    return server;
  });
  await step(`publish ${first}`, async () => {
    await slipway(folders.vendor, ["publish", join("dist", first)]);
    await slipway(folders.vendor, ["release", "publish", `v${first}`, "--product", "esbuild"]);
    return "uploaded by digest, re-downloaded, verified, switched";
  });
  let pair = { id: "", secret: "" };
  await step("issue an access pair", async () => {
    await slipway(folders.vendor, ["customer", "add", "acme"]);
    const issued = (await slipway(folders.vendor, ["key", "issue", "acme", "--product", "esbuild"])).json.at(-1) as { id: string; secret: string };
    pair = { id: issued.id, secret: issued.secret };
    return `${pair.id} for acme, read-only, one product`;
  });
  const basic = (): Record<string, string> => ({ authorization: `Basic ${Buffer.from(`${pair.id}:${pair.secret}`).toString("base64")}` });
  const path = (version: string, file: string): string => `${server}/releases/esbuild/${version}/${file}`;
  await step("a stranger gets nothing", async () => {
    const tries = [
      path(first, "SHA256SUMS"),
      `${server}/apt/esbuild/dists/stable/InRelease`,
      `${server}/yum/esbuild/stable/repodata/repomd.xml`,
      `${server}/api/v1/products`,
    ];
    for (const url of tries) check((await fetch(url)).status === 401, `${url} is 401 without a pair`);
    const wrong = { authorization: `Basic ${Buffer.from(`${pair.id}:wrong`).toString("base64")}` };
    check((await fetch(path(first, "SHA256SUMS"), { headers: wrong })).status === 401, "a wrong secret is 401");
    await slipway(folders.vendor, ["publish", join("dist", second)]);
    check((await fetch(path(second, "SHA256SUMS"), { headers: basic() })).status === 404, "a draft is not there for a customer");
    return `${tries.length} addresses, a wrong secret and an unpublished draft refused`;
  });

  const servicePort = await freePort();
  await writeInstallation(server, pair, servicePort);
  const upgrade = (words: readonly string[], expected?: readonly number[]): Promise<Result> => slipway(folders.machine, ["upgrade", ...words], expected);
  const running = async (): Promise<string> => {
    check((await fetch(`http://127.0.0.1:${servicePort}/`)).ok, "the service answers");
    const { requireCommand } = await import("../src/io/command.ts");
    return (await requireCommand([join(folders.machine, "app", "current", "esbuild"), "--version"], { timeoutMs: 10_000 })).trim();
  };
  await step(`install ${first}`, async () => {
    await upgrade(["install"]);
    check((await running()) === first, `${first} runs`);
    return `verified, switched, healthy: ${await running()}`;
  });
  await writeFile(join(folders.machine, "data", "orders.txt"), "kept by the operator\n");
  await step(`upgrade to ${second}`, async () => {
    await slipway(folders.vendor, ["release", "publish", `v${second}`, "--product", "esbuild"]);
    await upgrade(["install"]);
    check((await running()) === second, `${second} runs`);
    return `state backed up, switched, healthy: ${await running()}`;
  });
  await step(`offer the broken ${broken}`, async () => {
    await slipway(folders.vendor, ["publish", join("dist", broken)]);
    await slipway(folders.vendor, ["release", "publish", `v${broken}`, "--product", "esbuild"]);
    const result = await upgrade(["install"], [40]);
    check((await running()) === second, `${second} runs again`);
    check((await readFile(join(folders.machine, "data", "orders.txt"), "utf8")) === "kept by the operator\n", "the operator's data is there");
    check(JSON.stringify(result.json).includes("health_failed"), "the failure is named");
    return `signed and verified, but dies at start: rolled back by itself to ${await running()}`;
  });
  await step(`withdraw ${broken}`, async () => {
    await upgrade(["install"], [0, 43]);
    check((await running()) === second, `${second} still runs: this machine remembers ${broken} as bad`);
    await slipway(folders.vendor, ["release", "withdraw", `v${broken}`, "--product", "esbuild"]);
    const index = (await (await fetch(`${server}/releases/esbuild/index.json`, { headers: basic() })).json()) as { channels: Record<string, string> };
    check(index.channels["stable"] === second, `stable is ${second} again for everybody`);
    return `not tried again here, and stable points to ${second} again for everybody else`;
  });
  await step(`retire ${first}`, async () => {
    const plan = (await slipway(folders.vendor, ["release", "retain", "--product", "esbuild", "--dry-run"])).json.at(-1);
    check(JSON.stringify(plan).includes(first), `the plan names ${first}`);
    await slipway(folders.vendor, ["release", "retain", "--product", "esbuild", "--apply"]);
    const answer = await fetch(path(first, "SHA256SUMS"), { headers: basic() });
    check(answer.status === 410, "a retired file is 410");
    return `keep 1: HTTP 410, "${JSON.stringify(await answer.json()).match(/"message":"([^"]+)"/)?.[1] ?? ""}"`;
  });
  await step("read the audit trail", async () => {
    const events = (await slipway(folders.vendor, ["audit", "--product", "esbuild"])).json.at(-1) as { events: readonly { action: string }[] };
    const downloads = events.events.filter((event) => event.action === "download").length;
    check(downloads > 0, "downloads were recorded");
    return `${events.events.length} events, ${downloads} of them downloads`;
  });
}

/** The machine's installation file: where from, whom to trust, what to back up, how to start, what healthy means. */
async function writeInstallation(server: string, pair: { readonly id: string; readonly secret: string }, servicePort: number): Promise<void> {
  const machine = folders.machine;
  await mkdir(join(machine, "data"), { recursive: true });
  await writeFile(join(machine, "secret"), pair.secret, { mode: 0o600 });
  const minisign = (await slipway(folders.vendor, ["keys", "export", "demo-updates"])).json.at(-1) as { text: string };
  const key = minisign.text.trim().split("\n").at(-1) ?? "";
  await writeFile(join(machine, "start.sh"), startScript(machine, servicePort), { mode: 0o755 });
  await writeFile(join(machine, "stop.sh"), stopScript(machine), { mode: 0o755 });
  await writeFile(
    join(machine, "slipway-installation.yaml"),
    `product: esbuild
source:
  url: ${server}
  key_id: ${pair.id}
  secret: file:${join(machine, "secret")}
channel: stable
strategy: versions
root: ${join(machine, "app")}
state_dir: ${join(machine, "state")}
trust:
  minisign: ["${key}"]
  require: [minisign]
backup:
  paths: [${join(machine, "data")}]
service:
  start: [sh, ${join(machine, "start.sh")}]
  stop: [sh, ${join(machine, "stop.sh")}]
health:
  deadline_seconds: 3
  tries: 2
  interval_seconds: 0.2
  consecutive: 2
  bake_seconds: 1
  checks:
    - http: { url: "http://127.0.0.1:${servicePort}/" }
    - command: { argv: ["${join(machine, "app", "current", "esbuild")}", "--version"], version: "^([0-9.]+)$" }
`,
  );
}

const startScript = (machine: string, port: number): string => `#!/bin/sh
cd '${machine}/data' || exit 1
setsid '${machine}/app/current/esbuild' --serve=127.0.0.1:${port} --servedir=. --watch=forever </dev/null >'${machine}/service.log' 2>&1 &
echo $! > '${machine}/service.pid'
`;

const stopScript = (machine: string): string => `#!/bin/sh
[ -f '${machine}/service.pid' ] || exit 0
pid=$(cat '${machine}/service.pid')
kill "$pid" 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
rm -f '${machine}/service.pid'
`;

async function cleanUp(): Promise<void> {
  const { runCommand } = await import("../src/io/command.ts");
  await runCommand(["sh", join(folders.machine, "stop.sh")], { timeoutMs: 10_000 }).catch(() => undefined);
  for (const child of processes) child.kill("SIGTERM");
  await Promise.all(processes.filter((child) => child.exitCode === null).map((child) => new Promise((done) => child.once("exit", done))));
  await rm(work, { recursive: true, force: true });
}

process.once("SIGINT", () => void cleanUp().then(() => process.exit(130)));
const startedAt = performance.now();
let exitCode = 0;
try {
  await runDemonstration();
} catch (error) {
  exitCode = 1;
  process.stdout.write(`\n${colors.red("✖")} ${error instanceof Error ? error.message : String(error)}\n`);
}
process.stdout.write("\n");
for (const line of formatTable(
  ["step", "time", "outcome"],
  steps.map((entry) => [entry.name, `${(entry.ms / 1000).toFixed(1)} s`.padStart(7), entry.outcome]),
))
  process.stdout.write(`${line}\n`);
process.stdout.write(`\n${exitCode === 0 ? "every step held" : "a step did not hold"}, ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
if (isKept && exitCode === 0) {
  process.stdout.write(
    `server: ${environment["SLIPWAY_SERVER"]}  admin token: ${join(folders.server, "admin-token")}  folder: ${work}\nstop it with: kill ${processes[0]?.pid}\n`,
  );
  for (const child of processes) {
    child.stderr?.destroy();
    child.unref();
  }
} else {
  await cleanUp();
}
process.exit(exitCode);
