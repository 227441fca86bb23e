/** The demonstration's real program: esbuild's command-line binaries, fetched as npm packages and checked against pinned integrity. */
import { createHash } from "node:crypto";
import { chmod, mkdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { requireCommand } from "../src/io/command.ts";

export type Platform = { readonly npm: string; readonly folder: string; readonly member: string; readonly file: string };

export const platforms: readonly Platform[] = [
  { npm: "linux-x64", folder: "linux_amd64", member: "package/bin/esbuild", file: "esbuild" },
  { npm: "linux-arm64", folder: "linux_arm64", member: "package/bin/esbuild", file: "esbuild" },
  { npm: "darwin-x64", folder: "darwin_amd64", member: "package/bin/esbuild", file: "esbuild" },
  { npm: "darwin-arm64", folder: "darwin_arm64", member: "package/bin/esbuild", file: "esbuild" },
  { npm: "win32-x64", folder: "windows_amd64", member: "package/esbuild.exe", file: "esbuild.exe" },
  { npm: "win32-arm64", folder: "windows_arm64", member: "package/esbuild.exe", file: "esbuild.exe" },
];

/** Subresource integrity of each package as the registry published it; a download that differs stops the demonstration. */
const integrity: Readonly<Record<string, string>> = {
  "linux-x64@0.28.1": "sha512-u/anNYF2mmVOEDwLtnQ1wOr3EZ9sTNGLWrsYGYwHWzGA3Si84IOkHXlbWTD1NB+9/1lcnweYKO54uhxZydNzfA==",
  "linux-arm64@0.28.1": "sha512-yHs+0uc8+nvEAfAfxrWQKK5peSNzBc4PegcMO0EJ2hT71uA7vB8Ihg2e77R2P7SG5uYjPbHlLLmve4LLLRCf0g==",
  "darwin-x64@0.28.1": "sha512-zfdzgK9ACBNZLI/CyHTOx81SyNbM6YXn7rxSgX97VjyiPl9W1i4Ka4fgKECEoFCKGpvBj5qArWIGgQjOwkgskQ==",
  "darwin-arm64@0.28.1": "sha512-TZbWkQY7kvTAXbXUT7uVACR5cMHsDiSz9z7ZKAX/RTq/WJEk3QyRr0wZpNhBDX+/0CtdqUIJlOiodQcta6tY3Q==",
  "win32-x64@0.28.1": "sha512-bm4Mowrv+GXMlpWX++EcXw/iLyd1o3+bJkC2DkWXYVvgZCqD/bSj9ctZeAMC3cIxgjRVR2Dufaiu4YPxr5gW1A==",
  "win32-arm64@0.28.1": "sha512-lCv9eK/H6ZJWbE7bh2nw54CZ9M2nupBxJcTsdk/QQnWkdSjKGuxmmH8/GWrlT1eMmZfn4dGcCjRte397WqfQXA==",
  "linux-x64@0.28.2": "sha512-4xTZr1FUmSoQW4XIWmit3tzQrUTZM+N3P0XV8xROKYF50XfI7xeO90+1bZvNwxIufQ9hDQVRJH5YhgPVF8A/HQ==",
  "linux-arm64@0.28.2": "sha512-pW4AC0P3it8c7do9MVM4p51FzHzdM/TZrerurgRcHJ2WTa1VQ1CIq18xncfpBJw4ojkiZZrKW2yIBWBP92j6Ug==",
  "darwin-x64@0.28.2": "sha512-uq6suIWYP37qzGddBKPw5QEQPi6HiLGsO7UmkpfyaYNQ3D+rN6w6WfwH+nuqcGXWvawGwxOEroO4YGnFh95azw==",
  "darwin-arm64@0.28.2": "sha512-n4KqkOQrraxHJcgjM1RvwbigfQKIKJVpM7xp+KsxiyUSrRdIXnt73VhrPAx0fV44hgfmIVKjxMN9J1t5jySVkw==",
  "win32-x64@0.28.2": "sha512-5ebpxr3nWMzrL/rnUI755Jkuee0bHL/Gq0WTF9lvcpv73wAp5eu8MfBUgWK9bhWvZjj7yX8etf/8tI8Ney695g==",
  "win32-arm64@0.28.2": "sha512-PIhhEkE9uPBleRBrQEJpUn7MBnibZzbGzYWPmY3x+YoVg/95zbjB4CxPPOQ8l5tYYM4mMaCthF8/1DIfBQQyWQ==",
};

/**
 * Fetches what `cache` does not hold yet (one npm call), verifies every package, and unpacks the binaries
 * to `<input>/<version>/<os>_<arch>/`. Throws when an integrity differs.
 */
export async function fetchPrograms(versions: readonly string[], folders: { readonly cache: string; readonly input: string }): Promise<void> {
  await mkdir(folders.cache, { recursive: true });
  const wanted = versions.flatMap((version) =>
    platforms.map((platform) => ({ platform, version, file: join(folders.cache, `esbuild-${platform.npm}-${version}.tgz`) })),
  );
  const missing: typeof wanted = [];
  for (const entry of wanted) if (!(await isWhole(entry.file, entry.platform.npm, entry.version))) missing.push(entry);
  if (missing.length > 0) {
    const specs = missing.map((entry) => `@esbuild/${entry.platform.npm}@${entry.version}`);
    await requireCommand(["npm", "pack", "--silent", "--pack-destination", folders.cache, ...specs], {
      timeoutMs: 300_000,
      env: { ...process.env } as Record<string, string>,
    });
  }
  for (const { platform, version, file } of wanted) {
    if (!(await isWhole(file, platform.npm, version))) throw new Error(`${file} does not have the pinned integrity ${integrity[`${platform.npm}@${version}`]}`);
    const target = join(folders.input, version, platform.folder);
    await mkdir(target, { recursive: true });
    await requireCommand(["tar", "-xzf", file, "-C", target, "--strip-components", String(platform.member.split("/").length - 1), platform.member], {
      timeoutMs: 60_000,
    });
    await chmod(join(target, platform.file), 0o755);
  }
}

async function isWhole(file: string, npm: string, version: string): Promise<boolean> {
  const bytes = await readFile(file).catch(() => undefined);
  return bytes !== undefined && `sha512-${createHash("sha512").update(bytes).digest("base64")}` === integrity[`${npm}@${version}`];
}

/**
 * The broken release: 0.28.2's binaries cut off after four fifths, as an interrupted upload to the build machine would leave them.
 * They are built, signed and published like any other; only running them shows the damage.
 */
export async function makeBrokenPrograms(input: string, from: string, broken: string): Promise<void> {
  for (const platform of platforms) {
    const bytes = await readFile(join(input, from, platform.folder, platform.file));
    const target = join(input, broken, platform.folder);
    await mkdir(target, { recursive: true });
    const temporary = join(target, `.${platform.file}`);
    await rm(temporary, { force: true });
    const { writeFile } = await import("node:fs/promises");
    await writeFile(temporary, bytes.subarray(0, Math.floor(bytes.length * 0.8)), { mode: 0o755 });
    await rename(temporary, join(target, platform.file));
  }
}
