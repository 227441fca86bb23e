/** A cheap copy of a private root's base: /usr as hard links, since package managers replace files and never write into them; everything else as copies. */
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { requireCommand } from "../../src/io/command.ts";

const timeoutMs = 120_000;

/** Both lie on one file system. `path` is there and empty; /dev, /proc, /sys and /run start empty but for the devices that every program wants. */
export async function copyRoot(base: string, path: string): Promise<void> {
  const others = (await readdir(base)).filter((name) => !["usr", "dev", "proc", "sys", "run"].includes(name));
  await requireCommand(["cp", "-al", join(base, "usr"), path], { timeoutMs });
  await requireCommand(["cp", "-a", ...others.map((name) => join(base, name)), path], { timeoutMs });
  for (const name of ["dev", "proc", "sys", "run"]) await mkdir(join(path, name), { mode: 0o755 });
  await requireCommand(["chmod", "755", path], { timeoutMs });
  // Without a mounted /dev, programs still want to drop output and read randomness.
  for (const [name, minor] of [
    ["null", "3"],
    ["zero", "5"],
    ["random", "8"],
    ["urandom", "9"],
  ] as const) {
    await requireCommand(["mknod", "-m", "666", join(path, "dev", name), "c", "1", minor], { timeoutMs });
  }
}
