/**
 * A small vendor for end-to-end tests: a throw-away folder with a recipe, keys and a product of two shell programs,
 * the real `slipway` command as a child process, and a real server on a free port.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestContext } from "node:test";
import { compiled } from "./compiled.ts";

const entry = resolve(import.meta.dirname, "..", "..", "src", "main.ts");

export type CommandEnd = { readonly exitCode: number; readonly stdout: string; readonly stderr: string };

/** How the command is started: from source, or the executable that SLIPWAY_EXECUTABLE names (tests/cli/executable.slow.ts). */
const program: readonly string[] =
  process.env["SLIPWAY_EXECUTABLE"] === undefined ? [process.execPath, "--disable-warning=ExperimentalWarning", entry] : [process.env["SLIPWAY_EXECUTABLE"]];

/** Runs the real command; never throws for an exit code. */
export function runSlipway(
  words: readonly string[],
  options: { readonly cwd: string; readonly env: Readonly<Record<string, string>>; readonly input?: string },
): Promise<CommandEnd> {
  return new Promise((done, fail) => {
    const child = spawn(program[0] ?? "", [...program.slice(1), ...words], {
      cwd: options.cwd,
      env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: options.cwd, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (piece: Buffer) => (stdout += piece.toString()));
    child.stderr.on("data", (piece: Buffer) => (stderr += piece.toString()));
    child.stdin.end(options.input ?? "");
    child.on("error", fail);
    child.on("close", (code) => done({ exitCode: code ?? -1, stdout, stderr }));
  });
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((done) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => done(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** The product of the tests as far as every recipe of it agrees: what it is, and its two programs. */
export const acmeProduct = `name: acme
summary: Server of the Acme tests
description: Two shell programs and a configuration file.
maintainer: Acme Release <release@acme.example>
license: Apache-2.0
targets: [linux/amd64]
build:
  prebuilt: "input/{version}/{bin}"
  binaries: [acme, acmed]
`;

/** Both programs as files of their own. */
export const acmeBinaries = `binaries: "{bin}-{version}-{os}-{arch}{exe}"
`;

export const demoRecipe = `${acmeProduct}${acmeBinaries}archives:
  - name: "{name}-{tag}-{os}-{arch}.tar.gz"
packages:
  formats: [deb, rpm]
  files:
    /usr/bin/: [acme, acmed]
    /etc/acme/acme.conf: { from: acme.conf, config: noreplace }
checksums: SHA256SUMS
sign:
  gpg: key:packages
  minisign: key:updates
`;

export class Vendor {
  readonly folder: string;
  readonly dataDir: string;
  readonly env: Record<string, string>;
  url = "";
  #server: ChildProcess | undefined;
  #serverErrors = "";

  constructor(folder: string) {
    this.folder = folder;
    this.dataDir = join(folder, "server");
    this.env = { SLIPWAY_KEYS_DIR: join(folder, "keys"), SLIPWAY_KEY_PASSPHRASE: "test passphrase", SOURCE_DATE_EPOCH: "1767225600" };
  }

  run(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CommandEnd> {
    return runSlipway(words, { cwd: this.folder, env: { ...this.env, ...env } });
  }

  /** Runs with --json, demands exit 0 and returns the last line: the result. */
  async result(words: readonly string[]): Promise<Record<string, unknown>> {
    const end = await this.run([...words, "--json"]);
    if (end.exitCode !== 0) throw new Error(`slipway ${words.join(" ")}: exit ${end.exitCode}\n${end.stdout}\n${end.stderr}`);
    return JSON.parse(end.stdout.trim().split("\n").at(-1) ?? "{}") as Record<string, unknown>;
  }

  /** Programs that print their version, for one version of the product. */
  async writeInput(version: string): Promise<void> {
    const folder = join(this.folder, "input", version);
    await mkdir(folder, { recursive: true });
    for (const name of ["acme", "acmed"]) await writeFile(join(folder, name), `#!/bin/sh\necho "${name} ${version}"\n`, { mode: 0o755 });
    await writeFile(join(this.folder, "acme.conf"), `# acme ${version}\nlevel = info\n`);
  }

  async build(version: string): Promise<string> {
    await this.writeInput(version);
    await this.result(["build", "--version", version]);
    return join(this.folder, "dist", version);
  }

  /** Builds, uploads and publishes. */
  async release(version: string): Promise<void> {
    await this.result(["publish", await this.build(version)]);
    await this.result(["release", "publish", `v${version}`, "--product", "acme"]);
  }

  async makeKeys(): Promise<void> {
    await this.result(["keys", "new", "packages", "--type", "openpgp"]);
    await this.result(["keys", "new", "updates", "--type", "minisign"]);
  }

  async serve(words: readonly string[] = []): Promise<void> {
    const port = this.url === "" ? await freePort() : Number(new URL(this.url).port);
    this.url = `http://127.0.0.1:${port}`;
    this.#serverErrors = "";
    const child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", entry, "serve", "--data-dir", this.dataDir, "--listen", `127.0.0.1:${port}`, ...words],
      { env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: this.folder, ...this.env }, stdio: ["ignore", "ignore", "pipe"] },
    );
    this.#server = child;
    child.stderr.on("data", (piece: Buffer) => (this.#serverErrors = (this.#serverErrors + piece.toString()).slice(-8000)));
    for (let attempt = 0; attempt < 300; attempt += 1) {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}\n${this.#serverErrors}`);
      const answer = await fetch(`${this.url}/readyz`).catch(() => undefined);
      if (answer?.ok === true) {
        this.env["SLIPWAY_SERVER"] = this.url;
        this.env["SLIPWAY_TOKEN"] = (await readFile(join(this.dataDir, "admin-token"), "utf8")).trim();
        return;
      }
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error(`the server did not become ready\n${this.#serverErrors}`);
  }

  async stopServer(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    const child = this.#server;
    if (child === undefined) return null;
    this.#server = undefined;
    if (child.exitCode !== null) return child.exitCode;
    return new Promise((done) => {
      child.once("exit", (code) => done(code));
      child.kill(signal);
    });
  }

  /** A customer's pair for acme. */
  async pair(customer: string): Promise<{ readonly id: string; readonly secret: string; readonly authorization: string }> {
    await this.result(["customer", "add", customer]);
    const issued = await this.result(["key", "issue", customer, "--product", "acme"]);
    const { id, secret } = issued as { id: string; secret: string };
    return { id, secret, authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}` };
  }
}

/** Gives the test a vendor and takes everything away afterwards. */
export async function createVendor(t: TestContext, recipe: string = demoRecipe): Promise<Vendor> {
  const vendor = new Vendor(await mkdtemp(join(tmpdir(), "slipway-vendor-")));
  t.after(async () => {
    await vendor.stopServer("SIGKILL");
    await rm(vendor.folder, { recursive: true, force: true });
  });
  await writeFile(join(vendor.folder, "slipway.yaml"), recipe);
  return vendor;
}
