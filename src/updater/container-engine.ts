/** Docker or podman on this machine: loads images, says which are there and which one a compose service runs. */
import { SlipwayError } from "../model/errors.ts";
import type { Machine } from "./machine.ts";
import { pinnedImagePattern } from "./compose-file.ts";

const askMs = 60_000;
/** Unpacking an image of some gigabytes on a slow disk. */
const loadMs = 30 * 60_000;

export type ContainerEngine = {
  /** Loads an archive. Throws `command_failed`. */
  readonly load: (path: string) => Promise<void>;
  /** Is an image with this id or digest here? */
  readonly has: (image: string) => Promise<boolean>;
  /** A name keeps an image from being pruned. */
  readonly keep: (image: string, name: string) => Promise<void>;
  /** Lets go of a kept image; one that a container still uses stays. */
  readonly drop: (name: string) => Promise<void>;
  /** Id of the image of the service's container; undefined where there is none. */
  readonly runningImage: (compose: readonly string[], service: string) => Promise<string | undefined>;
};

export function containerEngine(program: string, machine: Machine): ContainerEngine {
  const run = async (args: readonly string[], timeoutMs: number): Promise<string> => {
    const result = await machine.runCommand([program, ...args], { timeoutMs });
    if (result.exitCode === 0) return result.stdout.trim();
    const why = result.isTimedOut ? `no end after ${timeoutMs / 1000} s` : `exit ${result.exitCode ?? result.signal ?? "?"}`;
    throw new SlipwayError("command_failed", `${program} ${args[0] ?? ""}: ${why}: ${result.stderr.trim().slice(-1000)}`, {
      hint: "is the engine running, and may this user ask it?",
    });
  };
  return {
    load: async (path) => void (await run(["load", "--input", path], loadMs)),
    has: async (image) => (await machine.runCommand([program, "image", "inspect", image], { timeoutMs: askMs })).exitCode === 0,
    keep: async (image, name) => void (await run(["tag", image, name], askMs)),
    drop: async (name) => void (await machine.runCommand([program, "image", "rm", name], { timeoutMs: askMs })),
    runningImage: async (compose, service) => {
      const containers = await run([...compose.slice(1), "ps", "--quiet", service], askMs);
      const [container] = containers.split("\n");
      if (container === undefined || container === "") return undefined;
      const id = await run(["inspect", "--format", "{{.Image}}", container], askMs);
      const image = id.startsWith("sha256:") ? id : `sha256:${id}`; // podman leaves the prefix out
      return pinnedImagePattern.test(image) ? image : undefined;
    },
  };
}
