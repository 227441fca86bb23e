/**
 * The runtimes that executables are made of: Bun as the npm registry has it, one package per target, pinned by version and digest.
 *
 * They are no dependencies: 100 MB each, and only releases need them. `npm pack` fetches them once into a cache folder; what does not have
 * the digest below is thrown away.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { requireCommand } from "../src/io/command.ts";

export const runtimeVersion = "1.4.5";

/** The "baseline" builds run on processors without AVX2, which customers still have; they are as large and as fast here. */
const runtimes = {
  "linux/amd64": {
    name: "linux-x64-baseline",
    sha512: "s8yMwYcFnnrA178gji0gZbkE2WVDej/Ti1x770oPfihxyRxSMNhGhiAQNXV53aDeraZxksdvKV/RAdQBCd0qPA==",
  },
  "linux/arm64": {
    name: "linux-aarch64",
    sha512: "4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg==",
  },
  "linux/amd64/musl": {
    name: "linux-x64-musl-baseline",
    sha512: "cWJhU8h0+MiUgpSt99sQhjxLIIosKEcKYdtKddohokUvAuN6jKOy7g7+QDTZTXtwHxz93wL3BX+L6wXVPDUH3A==",
  },
  "linux/arm64/musl": {
    name: "linux-aarch64-musl",
    sha512: "XCNc+WvvMAdNNb+OWTogpy+N9wm62fkVeEVLb6how0RZhW5LPi6c7BlkeVCuWps7XjEl2saFpHFa20/1E+PAHg==",
  },
  "darwin/amd64": {
    name: "darwin-x64-baseline",
    sha512: "zqfLA5A4B+hYMh5WYzYSot3uZ06FzhdP0OEwQisEzdirYtXGj5cQFlfy31BGfNsAsk1Gd/w/OxJ/jqqJ3cMclw==",
  },
  "darwin/arm64": {
    name: "darwin-aarch64",
    sha512: "4MIFXHmctH2EhAxLXm2/qxNtv17dFtLJylvaOCsrgq6KSqHTs6eW5YSrJjRbJxYUJaR901fsN8JfZOa+CsWpWQ==",
  },
  "windows/amd64": {
    name: "windows-x64-baseline",
    sha512: "/U3Dc74uGqE6EUqef7mPtg9KwJs7iJH4JHRMfIZIn18MrJh6Xz4gVvWDXRvzCL2j8wPlTnJVyrO4n7Qq4uM7TQ==",
  },
  "windows/arm64": {
    name: "windows-aarch64",
    sha512: "MiPFZnBNDnBXgr1oONc5pizC4fOLjnIOfNkYdFEnWzLmoFTg86naZIG3SvS7d/GglpQSAnCKMAzSjI/TAckiRw==",
  },
} as const;

/** `os/arch`, and behind it `musl` for systems with that C library (Alpine). */
export type ExecutableTarget = keyof typeof runtimes;
export const executableTargets = Object.keys(runtimes) as readonly ExecutableTarget[];

/** As the bundler names it: `bun-linux-x64-baseline`, `bun-linux-arm64`. */
export function bundlerTarget(target: ExecutableTarget): string {
  return `bun-${runtimes[target].name.replace("aarch64", "arm64")}`;
}

/** The target that this machine runs; throws for others. */
export function hostTarget(): ExecutableTarget {
  const host = `${process.platform === "win32" ? "windows" : process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`;
  const found = executableTargets.find((target) => target === host);
  if (found === undefined) throw new Error(`executables cannot be built on ${host}`);
  return found;
}

const packTimeoutMs = 10 * 60_000;

/** The path of the target's runtime, fetched and checked where the cache does not have it. */
export async function runtimeFor(target: ExecutableTarget): Promise<string> {
  const { name, sha512 } = runtimes[target];
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "slipway", "runtimes", runtimeVersion);
  const program = join(cache, name, target.startsWith("windows") ? "bun.exe" : "bun");
  if (await isThere(program)) return program;
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "fetching-"));
  try {
    await requireCommand(["npm", "pack", "--silent", "--pack-destination", folder, `@oven/bun-${name}@${runtimeVersion}`], { timeoutMs: packTimeoutMs });
    const archive = join(folder, `oven-bun-${name}-${runtimeVersion}.tgz`);
    const hash = createHash("sha512");
    await pipeline(createReadStream(archive), hash);
    const found = hash.digest("base64");
    if (found !== sha512) throw new Error(`@oven/bun-${name} ${runtimeVersion} has the SHA-512 ${found}, not ${sha512}`);
    await requireCommand(["tar", "-xzf", archive, "-C", folder, "--strip-components=2", "package/bin"], { timeoutMs: packTimeoutMs });
    await rm(archive);
    await rename(folder, join(cache, name)).catch(async (error: unknown) => {
      if (!(await isThere(program))) throw error; // another build was first
    });
    return program;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
