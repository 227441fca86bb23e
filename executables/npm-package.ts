/**
 * Makes the npm package: `node executables/npm-package.ts --output FOLDER`.
 *
 * Node runs our TypeScript as it is, but never below node_modules (ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING). So the package carries what the
 * TypeScript compiler emits from src/: JavaScript and declarations in lib/, where the `exports` of package.json point. It is put together in a folder
 * of its own, and the working tree stays as it is.
 */
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { requireCommand } from "../src/io/command.ts";

const root = resolve(import.meta.dirname, "..");
const buildTimeoutMs = 5 * 60_000;
/** Beside the code, and no TypeScript. */
const assets = ["updater/guard.sh"] as const;
/** Fields of package.json that a user of the package needs. */
const keptFields = ["name", "version", "description", "license", "type", "bin", "exports", "dependencies"] as const;

const program = `#!/usr/bin/env node
import { statSync } from "node:fs";
import module from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

// Slipway needs Node 24: an older one would fail somewhere in the middle.
if (Number(process.versions.node.split(".")[0]) < 24) {
  process.stderr.write(\`slipway needs Node 24 or newer; this is \${process.version}\\n\`);
  process.exit(1);
}
// Compiled modules are kept between runs, in a home of the user's own: what somebody else can write (a folder for everybody, another's home
// that sudo left in place) could hold code of his.
if (process.env.NODE_COMPILE_CACHE === undefined && statSync(homedir(), { throwIfNoEntry: false })?.uid === (process.getuid?.() ?? 0)) {
  module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "slipway", "compiled"));
}
await import("../lib/main.js");
`;

/** Puts the package together below `folder`, which does not exist yet. */
export async function stageNpmPackage(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const emitted = join(folder, "emitted");
  const settings = join(folder, "tsconfig.json");
  await writeFile(
    settings,
    JSON.stringify({
      extends: join(root, "tsconfig.json"),
      compilerOptions: {
        noEmit: false,
        declaration: true,
        rewriteRelativeImportExtensions: true,
        rootDir: root,
        outDir: emitted,
        typeRoots: [join(root, "node_modules/@types")],
      },
      include: [join(root, "src")],
    }),
  );
  await requireCommand([process.execPath, join(root, "node_modules/typescript/bin/tsc"), "-p", settings], { timeoutMs: buildTimeoutMs, cwd: root });
  await rename(join(emitted, "src"), join(folder, "lib"));
  for (const path of [emitted, settings]) await rm(path, { recursive: true });
  for (const asset of assets) await cp(join(root, "src", asset), join(folder, "lib", asset));
  await renameWorkers(join(folder, "lib"));
  await mkdir(join(folder, "bin"));
  await writeFile(join(folder, "bin/slipway"), program, { mode: 0o755 });
  const whole = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as Record<string, unknown>;
  const kept = Object.fromEntries(keptFields.flatMap((key) => (whole[key] === undefined ? [] : [[key, whole[key]]])));
  await writeFile(join(folder, "package.json"), `${JSON.stringify({ ...kept, engines: { node: ">=24" } }, undefined, 2)}\n`);
  for (const name of ["README.md", "LICENSE"]) await cp(join(root, name), join(folder, name));
}

/** The compiler rewrites the extension in imports, and not in `new URL("./worker.ts", import.meta.url)`. */
async function renameWorkers(lib: string): Promise<void> {
  for (const entry of await readdir(lib, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".js")) continue;
    const path = join(entry.parentPath, entry.name);
    const text = await readFile(path, "utf8");
    const renamed = text.replace(/new URL\("(\.\/[a-z-]+)\.ts", import\.meta\.url\)/g, 'new URL("$1.js", import.meta.url)');
    if (renamed !== text) await writeFile(path, renamed);
  }
}

/** Returns the path of the tarball in `output`. */
export async function packNpm(output: string): Promise<string> {
  const work = await mkdtemp(join(tmpdir(), "slipway-npm-"));
  try {
    const folder = join(work, "package");
    await stageNpmPackage(folder);
    await mkdir(output, { recursive: true });
    const said = await requireCommand(["npm", "pack", "--json", "--offline", "--ignore-scripts", "--pack-destination", resolve(output), folder], {
      timeoutMs: buildTimeoutMs,
      cwd: work,
    });
    const [packed] = JSON.parse(said) as { filename: string }[];
    return join(resolve(output), packed?.filename ?? "");
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { output: { type: "string" } } });
  if (values.output === undefined) {
    process.stderr.write("usage: node executables/npm-package.ts --output FOLDER\n");
    process.exitCode = 2;
  } else process.stdout.write(`${await packNpm(values.output)}\n`);
}
