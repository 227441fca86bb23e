/** A throw-away folder with its own gpg home; the agent that gpg leaves running ends with the test. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, cleanEnvironment, requireCommand, runCommand } from "../../src/io/command.ts";

export type GpgFolder = {
  readonly path: string;
  /** Writes a file and returns its path. */
  readonly write: (name: string, content: string | Uint8Array) => Promise<string>;
  /** gpg in batch mode with an empty passphrase; status lines come on stdout. Look at exitCode. */
  readonly gpg: (args: readonly string[]) => Promise<CommandResult>;
  /** Any program in the folder with the same environment; look at exitCode. */
  readonly run: (argv: readonly string[], input?: string) => Promise<CommandResult>;
};

/** Temporary; removed when the test ends. */
export async function gpgFolder(t: TestContext): Promise<GpgFolder> {
  const path = await mkdtemp(join(tmpdir(), "slipway-gpg-"));
  const home = join(path, "home");
  await mkdir(home, { mode: 0o700 });
  const env = { ...cleanEnvironment(), GNUPGHOME: home, LC_ALL: "C" };
  const options = { cwd: path, env, timeoutMs: 60_000 };
  t.after(async () => {
    await runCommand(["gpgconf", "--kill", "all"], options).catch(() => undefined); // where gpg is missing there is no agent
    await rm(path, { recursive: true, force: true });
  });
  return {
    path,
    write: async (name, content) => {
      await writeFile(join(path, name), content);
      return join(path, name);
    },
    gpg: (args) => runCommand(["gpg", "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--status-fd", "1", ...args], options),
    run: (argv, input) => runCommand(argv, { ...options, ...(input === undefined ? {} : { input }) }),
  };
}

/** The exported public key of a key made by gpg with these words before `--quick-gen-key`. */
export async function gpgKey(
  folder: GpgFolder,
  options: { readonly userId: string; readonly before?: readonly string[]; readonly algorithm?: string; readonly expiry?: string },
): Promise<Buffer> {
  const made = await folder.gpg([
    ...(options.before ?? []),
    "--quick-gen-key",
    options.userId,
    options.algorithm ?? "ed25519",
    "sign",
    options.expiry ?? "never",
  ]);
  if (made.exitCode !== 0) throw new Error(`gpg --quick-gen-key: ${made.stderr}`);
  const armored = await requireCommand(["gpg", "--batch", "--armor", "--export", options.userId], {
    cwd: folder.path,
    env: { ...cleanEnvironment(), GNUPGHOME: join(folder.path, "home") },
    timeoutMs: 30_000,
  });
  return Buffer.from(armored);
}
