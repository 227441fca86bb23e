/** Reads `mirror.yaml` and what goes with it: the source behind its pair, the pinned keys, our own signing keys. */
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { readFileBounded, readNamedFile } from "../io/bounded-read.ts";
import { systemClock } from "../io/clock.ts";
import { readPassphrase } from "../io/passphrase.ts";
import { loadTrust, type ProductTrust } from "../mirror/keys.ts";
import type { MirrorKeys } from "../mirror/own-indexes.ts";
import { hasOwnIndexes, type MirrorSettings, mirrorSettingsSchema, type ProductSelection, requireSigningKeys } from "../mirror/settings.ts";
import { folderSource, httpSource, type MirrorSource } from "../mirror/source.ts";
import { SlipwayError } from "../model/errors.ts";
import { loadSigningKeys } from "../packaging/release-signer.ts";
import { readStrictYaml } from "../updater/strict-yaml.ts";
import { type Invocation, textOption } from "./command.ts";

const settingsLimit = 1024 * 1024;
const secretLimit = 4_096;

export type LoadedMirror = {
  readonly settings: MirrorSettings;
  /** Where relative paths in the file start. */
  readonly folder: string;
  readonly directory: string;
};

/** `--config`, by default `mirror.yaml` here. Throws `setting_invalid` with file, line and column. */
export async function loadMirrorSettings({ options, cwd }: Invocation): Promise<LoadedMirror> {
  const path = resolve(cwd, textOption(options, "config") ?? "mirror.yaml");
  let text: string;
  try {
    text = (await readFileBounded(path, settingsLimit)).toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `there is no ${path}`, {
      place: path,
      hint: "docs/mirror.md shows a whole one; name another place with --config",
      cause: error,
    });
  }
  const settings = readStrictYaml({ text, name: textOption(options, "config") ?? "mirror.yaml", schema: mirrorSettingsSchema, code: "setting_invalid" });
  requireSigningKeys(settings);
  const folder = dirname(path);
  return { settings, folder, directory: resolve(folder, settings.directory) };
}

/** The server behind its pair, or a folder for `file:`. */
export async function openSource({ settings, folder }: LoadedMirror, { env }: Invocation): Promise<MirrorSource> {
  if (settings.source === undefined)
    throw new SlipwayError("setting_invalid", "mirror.yaml names no source", {
      place: "source",
      hint: "add source: https://…, or bring a bundle in with `slipway mirror import`",
    });
  const url = URL.parse(settings.source);
  if (url === null) throw new SlipwayError("setting_invalid", "the source is no address", { place: "source" });
  if (url.protocol === "file:") return folderSource(fileURLToPath(url));
  const { pair } = settings;
  const credentials =
    pair === undefined ? undefined : { keyId: await resolveReference(pair.key_id, folder, env), secret: await resolveReference(pair.secret, folder, env) };
  return httpSource({ url, fetch: globalThis.fetch, credentials, isPlainHttpAllowed: settings.plain_http });
}

async function resolveReference(text: string, folder: string, env: Invocation["env"]): Promise<string> {
  if (text.startsWith("env:")) {
    const value = env[text.slice(4)];
    if (value === undefined || value === "")
      throw new SlipwayError("setting_invalid", `the environment variable ${text.slice(4)} is not set`, { place: "pair" });
    return value;
  }
  if (!text.startsWith("file:")) return text;
  const [line = ""] = (await readNamedFile(resolve(folder, text.slice(5)), secretLimit)).toString("utf8").split(/\r?\n/);
  if (line === "") throw new SlipwayError("setting_invalid", `the first line of ${text.slice(5)} is empty; it should be the pair's`, { place: "pair" });
  return line;
}

/** Everything that is pinned, by product. */
export async function loadProducts(
  { settings, folder }: LoadedMirror,
  source: MirrorSource,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, { readonly selection: ProductSelection; readonly trust: ProductTrust }>> {
  const products = new Map<string, { selection: ProductSelection; trust: ProductTrust }>();
  for (const [product, { keys, ...selection }] of Object.entries(settings.products)) {
    products.set(product, { selection, trust: await loadTrust({ product, keys, selection, folder, source, signal }) });
  }
  return products;
}

/** Our own keys, opened only where a product's indexes are signed here. */
export async function loadMirrorKeys({ settings, folder }: LoadedMirror, { env, options }: Invocation): Promise<MirrorKeys> {
  if (!Object.values(settings.products).some(hasOwnIndexes)) return {};
  return loadSigningKeys(settings.sign, {
    env,
    folder,
    now: systemClock.now(),
    epochSeconds: Math.floor(systemClock.now().getTime() / 1000),
    passphrase: (question) => readPassphrase({ env, file: textOption(options, "passphraseFile") }, question),
  });
}
