/** The real AWS CLI in bash, as an operator types it, with a home of its own: every installed CLI, Debian's and another one on PATH. */
import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, cleanEnvironment, requireCommand, runCommand } from "../../src/io/command.ts";
import { findProgram } from "./clients.ts";

export type AwsClient = {
  /** Where the commands run. */
  readonly folder: string;
  /** Runs a bash script in which `aws` is this CLI with the server as its endpoint. Look at exitCode. */
  readonly run: (script: string, env?: Readonly<Record<string, string>>) => Promise<CommandResult>;
  /** The same; anything but exit 0 fails the test. Returns what was printed. */
  readonly must: (script: string, env?: Readonly<Record<string, string>>) => Promise<string>;
};

const debianProgram = "/usr/bin/aws";

/** Paths of the CLIs that are here; call needClient first. */
export async function awsPrograms(): Promise<readonly string[]> {
  const known = new Map<string, string>();
  for (const path of [findProgram("aws"), debianProgram]) {
    const real = path === undefined ? undefined : await realpath(path).catch(() => undefined);
    if (path !== undefined && real !== undefined) known.set(real, path);
  }
  return [...known.values()];
}

/** The one that Debian packages (2.9 in bookworm), where it is here. */
export async function debianAws(): Promise<string> {
  const programs = await awsPrograms();
  return programs.find((path) => path === debianProgram) ?? programs[0] ?? "aws";
}

/** CLIs since 2.13 (and 1.29) know the variable and run the customer's commands unchanged; to older ones each command names the endpoint. */
async function readsEndpointVariable(program: string): Promise<boolean> {
  const [, major = "0", minor = "0"] = /^aws-cli\/(\d+)\.(\d+)/.exec(await requireCommand([program, "--version"], { timeoutMs: 60_000 })) ?? [];
  return major === "1" ? Number(minor) >= 29 : Number(minor) >= 13;
}

export async function awsClient(
  t: TestContext,
  options: { readonly program: string; readonly url: string; readonly pair: { readonly id: string; readonly secret: string } },
): Promise<AwsClient> {
  const home = await mkdtemp(join(tmpdir(), "slipway-aws-"));
  t.after(() => rm(home, { recursive: true, force: true }));
  const folder = join(home, "work");
  await mkdir(folder);
  const { program, url, pair } = options;
  const endpoint = (await readsEndpointVariable(program)) ? [] : ["--endpoint-url", url];
  const prelude = `aws() { command ${[program, ...endpoint].join(" ")} "$@"; }\n`;
  const environment = {
    ...cleanEnvironment(),
    HOME: home,
    AWS_ACCESS_KEY_ID: pair.id,
    AWS_SECRET_ACCESS_KEY: pair.secret,
    AWS_DEFAULT_REGION: "us-east-2",
    AWS_ENDPOINT_URL: url,
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_MAX_ATTEMPTS: "1",
    HOST: new URL(url).host,
  };
  const run = (script: string, env: Readonly<Record<string, string>> = {}): Promise<CommandResult> =>
    runCommand(["bash", "-euo", "pipefail", "-c", prelude + script], { cwd: folder, timeoutMs: 180_000, env: { ...environment, ...env } });
  return {
    folder,
    run,
    must: async (script, env) => {
      const end = await run(script, env);
      if (end.exitCode !== 0) throw new Error(`exit ${end.exitCode}: ${script}\n${end.stdout}\n${end.stderr}`);
      return end.stdout;
    },
  };
}
