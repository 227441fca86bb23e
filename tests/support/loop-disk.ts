/**
 * A disk of its own in a file, mounted in this process's mount name space, whose power can be cut: FS_IOC_SHUTDOWN without a flush of the log
 * leaves on the disk what was made durable (and what the kernel happened to write), and nothing else; then it is mounted again, as at a boot.
 */
import { spawnSync } from "node:child_process";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { requireCommand, runCommand } from "../../src/io/command.ts";

export const diskKinds = ["ext4", "xfs"] as const;
export type DiskKind = (typeof diskKinds)[number];

export type LoopDisk = {
  readonly mountPoint: string;
  /** Everything written so far is durable. */
  readonly sync: () => Promise<void>;
  /** After a cut: unmounts what is left and mounts the disk anew. */
  readonly boot: () => Promise<void>;
};

/** The smallest that mkfs.xfs takes; the file is sparse. */
const sizeBytes = 320 * 1024 * 1024;
/** linux/ext4.h, linux/xfs_fs.h: _IOR('X', 125, __u32); 2 is NOLOGFLUSH. */
export const cutScript = "open(my $d, '<', $ARGV[0]) or die $!; my $how = pack('L', 2); ioctl($d, 0x8004587d, $how) or die $!;";

/** Cuts the power of the file system that `folder` is on, at once; the calling process does nothing meanwhile. */
export function cutPower(folder: string): void {
  const { status, stderr } = spawnSync("perl", ["-e", cutScript, folder], { encoding: "utf8" });
  if (status !== 0) throw new Error(`the power was not cut: ${stderr}`);
}

/** Makes and mounts a disk below `folder`. Call it in a mount name space of its own (`unshare --mount`): the mount and its loop device end with that. */
export async function mountLoopDisk(folder: string, kind: DiskKind): Promise<LoopDisk> {
  const image = join(folder, "disk.img");
  const mountPoint = join(folder, "disk");
  await writeFile(image, "");
  await truncate(image, sizeBytes);
  await mkdir(mountPoint);
  const commandLimit = { timeoutMs: 60_000 };
  await requireCommand([`mkfs.${kind}`, "-q", image], commandLimit);
  const mount = (): Promise<string> => requireCommand(["mount", "-t", kind, "-o", "loop", image, mountPoint], commandLimit);
  await mount();
  return {
    mountPoint,
    sync: async () => void (await requireCommand(["sync", "-f", mountPoint], commandLimit)),
    boot: async () => {
      // A child of the killed process may still be on its way out.
      for (let attempt = 0; (await runCommand(["umount", mountPoint], commandLimit)).exitCode !== 0; attempt++) {
        if (attempt === 50) throw new Error(`${mountPoint} is still in use`);
        await sleep(100);
      }
      await mount();
    },
  };
}
