/** A compose service, pinned by the id of its image in a compose file of the updater's own (compose-file.ts) beside the operator's first. */
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { type ComposeOverride, composeOverrideName, parseComposeOverride, renderComposeOverride } from "./compose-file.ts";
import type { ContainerEngine } from "./container-engine.ts";
import { lstatIfThere } from "./file-tree.ts";
import type { ImagePin } from "./image-pin.ts";

const overrideLimitBytes = 4096;

export type ComposeService = { readonly files: readonly string[]; readonly service: string };

export function composePin({ files, service }: ComposeService, { engine, product }: { readonly engine: ContainerEngine; readonly product: string }): ImagePin {
  const path = join(dirname(files[0] ?? ""), composeOverrideName);
  /** `compose` with the operator's files, and with the updater's own behind them where it is there. */
  const compose = (overrides: readonly string[]): string[] => ["compose", ...[...files, ...overrides].flatMap((file) => ["--file", file])];

  const read = async (): Promise<ComposeOverride | undefined> => {
    const stat = await lstatIfThere(path);
    if (stat === undefined) return undefined;
    if (!stat.isFile())
      throw new SlipwayError("state_dir_insecure", `${path} is not a regular file`, {
        place: path,
        hint: "the updater writes this file itself: move away what is there",
      });
    const override = parseComposeOverride((await readFileBounded(path, overrideLimitBytes)).toString("utf8"), path);
    if (override.product === product && override.service === service) return override;
    throw new SlipwayError("state_dir_insecure", `${path} is about ${override.product} and its service ${override.service}`, {
      place: path,
      hint: "one folder holds one pinned service: give each product a compose file in a folder of its own",
    });
  };

  return {
    path,
    name: service,
    isReadAtStart: true,
    read,
    // An image that is not here is never fetched by its name.
    service: {
      stop: [engine.name, ...compose([path]), "stop", service],
      start: [engine.name, ...compose([path]), "up", "--detach", "--no-deps", "--pull", "never", service],
      timeout_seconds: 120,
    },
    write: (pinned) => writeFileAtomic(path, renderComposeOverride({ product, service, ...pinned }), { mode: 0o644 }),
    unpin: async () => {
      await rm(path, { force: true });
      await syncDirectory(dirname(path));
    },
    nameOf: ({ id }) => Promise.resolve(id),
    runningImage: async () => engine.runningImage([...compose((await lstatIfThere(path)) === undefined ? [] : [path]), "ps", "--quiet", service]),
  };
}
