/** Loads the settings: flag > environment > file > default. Unknown keys stop the start, with the nearest name. */
import { join } from "node:path";
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { nearestWord } from "../model/names.ts";
import { path as readPath } from "./setting-types.ts";
import { type SettingKey, type Settings, settingEnvironmentName, settingKeys, settingName, settingRow, settingsFileName } from "./settings.ts";

export type SettingSources = {
  /** Values of flags by camelCase key, as the command line gives them. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The settings file to use; by default `slipway-server.yaml` in the data folder, where there is one. */
  readonly configFile?: string | undefined;
};

type Found = { readonly text: string; readonly place: string };

/** Settings are short; a larger file is not one of ours. */
const fileLimit = 256 * 1024;

/** Throws `setting_invalid` naming the flag, the variable or file:line:column that is wrong. */
export async function loadSettings(sources: SettingSources): Promise<Settings> {
  const given = new Map<SettingKey, Found>();
  for (const key of settingKeys) {
    const found = fromFlag(key, sources) ?? fromEnvironment(key, sources);
    if (found !== undefined) given.set(key, found);
  }
  for (const [key, found] of await fromFile(sources, given)) {
    if (!given.has(key)) given.set(key, found);
  }
  const values: Partial<Record<SettingKey, unknown>> = {};
  for (const key of settingKeys) {
    const found = given.get(key) ?? { text: settingRow(key).default, place: `default of ${settingName(key)}` };
    values[key] = readSetting(key, found);
  }
  return withSecretFiles(values as Settings, given); // every key was read by its own row above
}

function fromFlag(key: SettingKey, sources: SettingSources): Found | undefined {
  const value = sources.flags[key];
  if (typeof value !== "string" || settingRow(key).isSecret === true) return undefined;
  return { text: value, place: `--${settingName(key)}` };
}

function fromEnvironment(key: SettingKey, sources: SettingSources): Found | undefined {
  const name = settingEnvironmentName(key);
  const value = sources.env[name];
  return value === undefined || value === "" ? undefined : { text: value, place: name };
}

function readSetting(key: SettingKey, found: Found): unknown {
  try {
    return settingRow(key).read(found.text);
  } catch (error) {
    const shown = settingRow(key).isSecret === true ? "the value" : JSON.stringify(found.text.slice(0, 200));
    throw new SlipwayError("setting_invalid", `${settingName(key)}: ${(error as Error).message}, got ${shown}`, { place: found.place });
  }
}

async function fromFile(sources: SettingSources, given: ReadonlyMap<SettingKey, Found>): Promise<Map<SettingKey, Found>> {
  const dataDir = String(readSetting("dataDir", given.get("dataDir") ?? { text: settingRow("dataDir").default, place: "default of data-dir" }));
  const isNamed = sources.configFile !== undefined;
  const file = isNamed ? readPath(sources.configFile ?? "") : join(dataDir, settingsFileName);
  let content: string;
  try {
    content = (await readFileBounded(file, fileLimit)).toString("utf8");
  } catch (error) {
    if (!isNamed && (error as NodeJS.ErrnoException).code === "ENOENT") return new Map();
    throw new SlipwayError("setting_invalid", `cannot read the settings file: ${(error as Error).message}`, { place: file, cause: error });
  }
  const found = parseSettingsFile(content, file);
  if (!isNamed && found.has("dataDir")) {
    throw new SlipwayError("setting_invalid", "data-dir cannot be set by the file that lies in it", {
      place: found.get("dataDir")?.place ?? file,
      hint: "use --data-dir, SLIPWAY_DATA_DIR, or a file named with --config",
    });
  }
  return found;
}

/** The settings that a file gives, each with its file:line:column. */
export function parseSettingsFile(content: string, file: string): Map<SettingKey, Found> {
  const lines = new LineCounter();
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const placeAt = (offset: number | undefined): string => {
    const at = lines.linePos(offset ?? 0);
    return `${file}:${at.line}:${at.col}`;
  };
  const fault = document.errors[0];
  if (fault !== undefined) throw new SlipwayError("setting_invalid", fault.message, { place: placeAt(fault.pos[0]) });
  const found = new Map<SettingKey, Found>();
  if (document.contents === null) return found;
  if (!isMap(document.contents)) throw new SlipwayError("setting_invalid", "expected `name: value` lines", { place: placeAt(0) });
  const names = new Map(settingKeys.map((key) => [settingName(key), key]));
  for (const pair of document.contents.items) {
    const name = isScalar(pair.key) ? String(pair.key.value) : "";
    const place = placeAt(isScalar(pair.key) ? pair.key.range?.[0] : undefined);
    const key = names.get(name);
    if (key === undefined) throw unknownSetting(name, [...names.keys()], place);
    found.set(key, { text: textOf(pair.value, { name, place }), place });
  }
  return found;
}

function unknownSetting(name: string, known: readonly string[], place: string): SlipwayError {
  const near = nearestWord(name, known);
  return new SlipwayError("setting_invalid", `unknown setting "${name.slice(0, 80)}"${near === undefined ? "" : ` - did you mean "${near}"?`}`, { place });
}

function textOf(node: unknown, at: { readonly name: string; readonly place: string }): string {
  if (isScalar(node) && ["string", "number", "boolean"].includes(typeof node.value)) return String(node.source ?? node.value);
  if (isScalar(node) && node.value === null) return "";
  if (isSeq(node) && node.items.every((item) => isScalar(item))) return node.items.map((item) => String(item.value)).join(",");
  throw new SlipwayError("setting_invalid", `${at.name}: expected a plain value`, { place: at.place });
}

/** `database-url-file`, `key-encryption-key-file` and `smtp-url-file` stand in for the secrets they hold; giving both is a contradiction. */
async function withSecretFiles(settings: Settings, given: ReadonlyMap<SettingKey, Found>): Promise<Settings> {
  const pairs = [
    ["databaseUrl", "databaseUrlFile"],
    ["keyEncryptionKey", "keyEncryptionKeyFile"],
    ["smtpUrl", "smtpUrlFile"],
  ] as const;
  const read: { databaseUrl?: string; keyEncryptionKey?: string; smtpUrl?: string } = {};
  for (const [secret, file] of pairs) {
    if (settings[file] === "") continue;
    const place = given.get(file)?.place ?? settingName(file);
    if (settings[secret] !== "") {
      throw new SlipwayError("setting_invalid", `${settingName(secret)} and ${settingName(file)} are both set; use one`, { place });
    }
    try {
      read[secret] = (await readFileBounded(settings[file], fileLimit)).toString("utf8").trim();
    } catch (error) {
      throw new SlipwayError("setting_invalid", `${settingName(file)}: ${(error as Error).message}`, { place, cause: error });
    }
    readSetting(secret, { text: read[secret] ?? "", place: settings[file] });
  }
  return { ...settings, ...read };
}
