/**
 * A quadlet: the unit of a podman container, made by systemd's generator from the operator's file. Its line `Image=` is replaced (quadlet-file.ts),
 * then systemd reads all units again; a crash between the two is mended by the next write, or by the next boot.
 */
import { rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ContainerEngine } from "./container-engine.ts";
import { lstatIfThere } from "./file-tree.ts";
import type { ImagePin } from "./image-pin.ts";
import type { Machine } from "./machine.ts";
import { keptImageName, readQuadletImage, replaceQuadletImage, versionOfKept } from "./quadlet-file.ts";
import type { StateDirectory } from "./state-directory.ts";

const quadletLimitBytes = 256 * 1024;
const reloadMs = 90_000;

export type QuadletContext = {
  readonly engine: ContainerEngine;
  readonly machine: Machine;
  readonly product: string;
  readonly directory: StateDirectory;
  /** systemd does not read this one. */
  readonly isCopy: boolean;
};

export function quadletPin(path: string, { engine, machine, product, directory, isCopy }: QuadletContext): ImagePin {
  /** podman-systemd.unit(5): the unit is named as the file. */
  const unit = `${basename(path, ".container")}.service`;
  /** The operator's own image, from before the updater's first version. */
  const original = join(directory.path, "quadlet-image");

  const readText = async (): Promise<{ readonly text: string; readonly mode: number }> => {
    const stat = await lstatIfThere(path);
    if (stat?.isFile() !== true)
      throw new SlipwayError("state_dir_insecure", `${path} is ${stat === undefined ? "not there" : "not a regular file"}`, {
        place: path,
        hint: "name the quadlet that systemd reads, a regular file",
      });
    return { text: (await readFileBounded(path, quadletLimitBytes)).toString("utf8"), mode: stat.mode & 0o777 };
  };

  const put = async (image: string): Promise<void> => {
    const { text, mode } = await readText();
    const wanted = replaceQuadletImage(text, image, path);
    if (wanted !== text) await writeFileAtomic(path, wanted, { mode });
    if (isCopy) return;
    const result = await machine.runCommand(["systemctl", "daemon-reload"], { timeoutMs: reloadMs });
    if (result.exitCode === 0) return;
    throw new SlipwayError("command_failed", `systemctl daemon-reload: exit ${result.exitCode ?? result.signal ?? "?"}: ${result.stderr.trim().slice(-1000)}`);
  };

  return {
    path,
    name: unit,
    isReadAtStart: false,
    service: { systemd: unit, timeout_seconds: 120 },
    read: async () => {
      const image = readQuadletImage((await readText()).text, path);
      const version = versionOfKept(image, product);
      return version === undefined ? undefined : { version, image };
    },
    write: async ({ image }) => {
      const present = readQuadletImage((await readText()).text, path);
      if (versionOfKept(present, product) === undefined) await writeFileAtomic(original, present);
      await put(image);
    },
    unpin: async () => {
      if ((await lstatIfThere(original)) === undefined) return;
      await put((await readFileBounded(original, quadletLimitBytes)).toString("utf8"));
      await rm(original, { force: true });
    },
    nameOf: async ({ version, id }) => `${keptImageName(product, version)}@${await engine.digestOf(id)}`,
    runningImage: () => engine.runningImage(["ps", "--quiet", "--filter", `label=PODMAN_SYSTEMD_UNIT=${unit}`]),
  };
}
