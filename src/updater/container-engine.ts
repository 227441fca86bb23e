/** Docker or podman on this machine: loads and pulls images, and says which are there and which one a container runs. */
import type { OciPlatform } from "../formats/oci-descriptor.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Machine } from "./machine.ts";

const askMs = 60_000;
/** Unpacking an image of some gigabytes on a slow disk, or fetching it over a slow line. */
const bringMs = 30 * 60_000;

export type EngineName = "docker" | "podman";

export type ImagePull = {
  /** `host/repository@sha256:…`. */
  readonly reference: string;
  readonly platform: OciPlatform;
  /** A folder with `config.json` in Docker's form (registry-login.ts); nothing else knows the secret. */
  readonly login: string | undefined;
  /** Only for loopback: Docker allows it there by itself. */
  readonly isPlainHttp: boolean;
};

export type ContainerEngine = {
  readonly name: EngineName;
  /** Loads an archive. Throws `command_failed`, `disk_full`. */
  readonly load: (path: string) => Promise<void>;
  /** Throws `upgrade_verification_failed` for bytes that are not those of the digest, `network_unreachable`, `disk_full`, `command_failed`. */
  readonly pull: (pull: ImagePull) => Promise<void>;
  /** Is an image with this id, digest or name here? */
  readonly has: (image: string) => Promise<boolean>;
  /** `sha256:…` of the image that an id, digest or name leads to; undefined where there is none. */
  readonly idOf: (image: string) => Promise<string | undefined>;
  /** The digest of its manifest; podman only. */
  readonly digestOf: (image: string) => Promise<string>;
  /** A name keeps an image from being pruned. */
  readonly keep: (image: string, name: string) => Promise<void>;
  /** Takes a name away; an image that a container still uses, or that has another name, stays. */
  readonly drop: (name: string) => Promise<void>;
  /** Id of the image of the first container that this command of the engine lists; undefined where it lists none. */
  readonly runningImage: (list: readonly string[]) => Promise<string | undefined>;
};

const digestPattern = /^sha256:[0-9a-f]{64}$/;

/** podman leaves the algorithm out. */
const asDigest = (text: string): string | undefined => [text, `sha256:${text}`].find((one) => digestPattern.test(one));

/** What an engine's own words say about a pull or a load that failed; both engines pass the operating system's and the registry's words on. */
const failures = [
  { words: /no space left on device|disk quota exceeded/i, code: "disk_full" },
  {
    words: /verification failed|(?:digest|manifest).*(?:mismatch|does not match|did not match)|unexpected commit digest/i,
    code: "upgrade_verification_failed",
  },
  {
    words: /timeout|timed out|refused|reset by peer|no such host|unexpected EOF|unreachable|toomanyrequests|\b(?:429|50[0234])\b/i,
    code: "network_unreachable",
  },
] as const;

export function containerEngine(name: EngineName, machine: Machine): ContainerEngine {
  const run = async (args: readonly string[], timeoutMs: number, what = args[0] ?? ""): Promise<string> => {
    const result = await machine.runCommand([name, ...args], { timeoutMs });
    if (result.exitCode === 0) return result.stdout.trim();
    const why = result.isTimedOut ? `no end after ${timeoutMs / 1000} s` : `exit ${result.exitCode ?? result.signal ?? "?"}`;
    const words = result.stderr.trim().slice(-1000);
    const code = timeoutMs === bringMs ? failures.find((failure) => failure.words.test(words))?.code : undefined;
    throw new SlipwayError(code ?? "command_failed", `${name} ${what}: ${why}: ${words}`, {
      ...(code === "upgrade_verification_failed" ? { detail: "hash_mismatch" } : {}),
      ...(code === undefined ? { hint: "is the engine running, and may this user ask it?" } : {}),
    });
  };
  const inspect = async (image: string, field: string): Promise<string | undefined> => {
    const result = await machine.runCommand([name, "image", "inspect", "--format", `{{.${field}}}`, image], { timeoutMs: askMs });
    return result.exitCode === 0 ? asDigest(result.stdout.trim()) : undefined;
  };
  return {
    name,
    load: async (path) => void (await run(["load", "--input", path], bringMs)),
    pull: async ({ reference, platform: { os, architecture, variant }, login, isPlainHttp }) => {
      const platform = ["--platform", [os, architecture, ...(variant === undefined ? [] : [variant])].join("/")];
      const argv =
        name === "docker"
          ? [...(login === undefined ? [] : ["--config", login]), "pull", ...platform, reference]
          : [
              "pull",
              ...(login === undefined ? [] : ["--authfile", `${login}/config.json`]),
              ...(isPlainHttp ? ["--tls-verify=false"] : []),
              ...platform,
              reference,
            ];
      await run(argv, bringMs, "pull");
    },
    has: async (image) => (await machine.runCommand([name, "image", "inspect", image], { timeoutMs: askMs })).exitCode === 0,
    idOf: (image) => inspect(image, "Id"),
    digestOf: async (image) => {
      const digest = await inspect(image, "Digest");
      if (digest === undefined) throw new SlipwayError("command_failed", `${name} does not say the digest of ${image}`);
      return digest;
    },
    keep: async (image, kept) => void (await run(["tag", image, kept], askMs)),
    drop: async (kept) => void (await machine.runCommand([name, "image", "rm", kept], { timeoutMs: askMs })),
    runningImage: async (list) => {
      const [container] = (await run(list, askMs)).split("\n");
      if (container === undefined || container === "") return undefined;
      return asDigest(await run(["inspect", "--format", "{{.Image}}", container], askMs));
    },
  };
}
