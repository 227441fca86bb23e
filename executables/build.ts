/**
 * Builds one single-file executable of Slipway: `node executables/build.ts --target linux/amd64 --version 0.1.0 --output FILE`.
 *
 * With `--package-files FOLDER` also what Linux packages hold besides: `musl/slipway`, the same program for Alpine, and `completions/slipway.bash`,
 * `_slipway` (zsh) and `slipway.fish`; for other systems nothing.
 *
 * The sources are bundled, compiled ahead of time and put behind the target's runtime. The result reads no configuration of the runtime from
 * the folder that it is started in (bunfig.toml, .env): a root updater must not run what lies there. Same sources, version and name of the
 * output file give the same bytes.
 */
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { requireCommand } from "../src/io/command.ts";
import { parseVersion } from "../src/model/version.ts";
import { signAdHoc } from "./mach-o-signature.ts";
import { bundlerTarget, type ExecutableTarget, executableTargets, hostTarget, runtimeFor } from "./runtimes.ts";

const root = resolve(import.meta.dirname, "..");

/** Imported by libraries where it is installed; it never is. */
const absentPackages = ["xmlbuilder2", "ajv-formats-draft2019", "libxmljs2", "pg-native"];

/** The second is started as a thread by name. */
const entries = ["src/main.ts", "src/store/audit-worker.ts"];

const buildTimeoutMs = 10 * 60_000;

async function buildExecutable(options: { readonly target: ExecutableTarget; readonly version: string; readonly output: string }): Promise<void> {
  const { target, version } = options;
  const output = resolve(options.output);
  const [bundler, runtime] = [await runtimeFor(hostTarget()), await runtimeFor(target)];
  const guard = await readFile(join(root, "src/updater/guard.sh"), "utf8");
  await mkdir(dirname(output), { recursive: true });
  const folder = await mkdtemp(join(dirname(output), ".executable-"));
  try {
    const made = join(folder, basename(output));
    const argv = [
      bundler,
      "build",
      "--compile",
      `--target=${bundlerTarget(target)}`,
      `--compile-executable-path=${runtime}`,
      "--no-compile-autoload-bunfig",
      "--no-compile-autoload-dotenv",
      // In pieces: a command loads what it imports, and none of the rest.
      "--splitting",
      "--format=esm",
      "--bytecode",
      // Code is compiled to machine code after ten times as many runs: the code of a command's start runs too seldom to be worth it.
      "--compile-jit-policy=10",
      "--minify",
      "--sourcemap=none",
      ...absentPackages.map((name) => `--external=${name}`),
      `--define=SLIPWAY_VERSION=${JSON.stringify(version)}`,
      `--define=SLIPWAY_SHELL_GUARD=${JSON.stringify(guard)}`,
      ...entries,
      `--outfile=${made}`,
    ];
    await requireCommand(argv, { timeoutMs: buildTimeoutMs, cwd: root });
    // The bundler signs its darwin/arm64 output rightly, and leaves the runtime's own signature on the other.
    if (target === "darwin/amd64") await signAdHoc(made, "slipway");
    await rename(made, output);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Where each shell's package looks for it is the recipe's business. */
const completions = { bash: "slipway.bash", zsh: "_slipway", fish: "slipway.fish" } as const;

async function writePackageFiles(options: { readonly target: ExecutableTarget; readonly version: string; readonly folder: string }): Promise<void> {
  const { target, version, folder } = options;
  const sibling = targetNamed(`${target}/musl`);
  if (sibling === undefined) return;
  await buildExecutable({ target: sibling, version, output: join(folder, "musl/slipway") });
  await mkdir(join(folder, "completions"), { recursive: true });
  for (const [shell, name] of Object.entries(completions)) {
    const script = await requireCommand([process.execPath, join(root, "src/main.ts"), "completion", shell], { timeoutMs: 60_000 });
    await writeFile(join(folder, "completions", name), script);
  }
}

const targetNamed = (name: string): ExecutableTarget | undefined => executableTargets.find((known) => known === name);

const { values } = parseArgs({
  options: { target: { type: "string" }, version: { type: "string" }, output: { type: "string" }, "package-files": { type: "string" } },
});
const target = targetNamed(values.target ?? "");
if (target === undefined || values.version === undefined || values.output === undefined) {
  process.stderr.write(`usage: node executables/build.ts --target ${executableTargets.join("|")} --version VERSION --output FILE [--package-files FOLDER]\n`);
  process.exitCode = 2;
} else {
  const version = parseVersion(values.version);
  await buildExecutable({ target, version, output: values.output });
  const folder = values["package-files"];
  if (folder !== undefined) await writePackageFiles({ target, version, folder: resolve(folder) });
}
