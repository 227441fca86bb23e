/** The one table of the server's settings: name, reader, default, text. Flags, environment names, the file, help and docs derive from it. */
import { address, databaseUrl, duration, mailAddress, names, networks, oneOf, path, type Reader, size, smtpUrl, text, url } from "./setting-types.ts";

export type SettingRow<T = unknown> = {
  readonly read: Reader<T>;
  /** As one would write it. The safe value; all defaults together start a working server. */
  readonly default: string;
  readonly text: string;
  /** The word for the value in help: `--listen <host:port>`. */
  readonly value: string;
  /** Never a flag, because other users of the machine read argument lists; never printed. */
  readonly isSecret?: true;
};

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

/** Keys in camelCase; everywhere outside they are dashed: `dataDir` is `data-dir`, `--data-dir`, `SLIPWAY_DATA_DIR`. */
export const settingTable = {
  listen: { read: address, default: "127.0.0.1:8420", value: "host:port", text: "address to listen on; port 0 takes any free one" },
  dataDir: {
    read: path,
    default: "~/.local/share/slipway/server",
    value: "folder",
    text: "where the embedded database, blobs, keys and the first admin token live",
  },
  publicUrl: {
    read: url,
    default: "",
    value: "url",
    text: "address that customers use, as written into set-up files; empty: the address of the request",
  },
  vendorName: { read: text, default: "", value: "name", text: "the vendor's name in feeds, mails and the portal; empty: the host of public-url" },
  publicAdvisories: {
    read: names,
    default: "",
    value: "products",
    text: "products whose advisories and feeds anybody may read, separated by commas; empty: an access pair is asked for",
  },
  smtpUrl: {
    read: smtpUrl,
    default: "",
    value: "url",
    isSecret: true,
    text: "mail server: smtps://user:password@host or smtp://… with STARTTLS; empty: no mail is sent",
  },
  smtpUrlFile: { read: path, default: "", value: "file", text: "file that holds the smtp-url" },
  mailFrom: { read: mailAddress, default: "", value: "address", text: "sender of mails, needed with smtp-url" },
  vendorMail: { read: mailAddress, default: "", value: "address", text: "where notices for the vendor go; empty: webhooks only" },
  webhookHosts: {
    read: names,
    default: "",
    value: "hosts",
    text: "hosts that webhooks may reach over http and inside private networks, separated by commas",
  },
  databaseUrl: {
    read: databaseUrl,
    default: "",
    value: "url",
    isSecret: true,
    text: "PostgreSQL instead of the embedded database: postgresql://user@host/database",
  },
  databaseUrlFile: { read: path, default: "", value: "file", text: "file that holds the database-url" },
  keyEncryptionKey: {
    read: text,
    default: "",
    value: "base64",
    isSecret: true,
    text: "32 bytes in base64 that encrypt secrets and signing keys at rest; empty: made on first start in the data folder",
  },
  keyEncryptionKeyFile: { read: path, default: "", value: "file", text: "file that holds the key-encryption-key" },
  uploadLimit: { read: size, default: "10GiB", value: "size", text: "largest artifact that is accepted" },
  diskReserve: { read: size, default: "64MiB", value: "size", text: "free space that uploads leave, so that the database beside them goes on" },
  uploadTimeout: { read: duration, default: "1h", value: "duration", text: "longest time one upload request may take" },
  idleTimeout: { read: duration, default: "60s", value: "duration", text: "a connection that moves no byte for so long is closed" },
  stopTimeout: { read: duration, default: "30s", value: "duration", text: "time that running downloads get to end when the server stops" },
  cacheMemory: { read: size, default: "64MiB", value: "size", text: "memory for small files that are asked for often" },
  downloadMemory: { read: size, default: "64MiB", value: "size", text: "memory for the buffers of all running downloads together" },
  auditKeep: {
    read: duration,
    default: "0s",
    value: "duration",
    text: "how long single pulls stay in the audit trail, as 400d; their daily counts and everything administrative stay for ever; 0: all of it",
  },
  abuseSuspend: {
    read: oneOf(["off", "on"]),
    default: "off",
    value: "on|off",
    text: "suspend pairs by itself whose use looks stolen beyond doubt (docs/abuse.md); off: the vendor is told, and they are slowed down",
  },
  trustedProxies: {
    read: networks,
    default: "",
    value: "addresses",
    text: "proxies whose X-Forwarded-For names the caller; empty: none is believed",
  },
  supportUrl: { read: url, default: "", value: "url", text: "address that a refusal for want of an entitlement points customers to; empty: none" },
  logLevel: { read: oneOf(logLevels), default: "info", value: "level", text: `least level that is logged: ${logLevels.join(", ")}` },
} as const satisfies Record<string, SettingRow>;

export type SettingKey = keyof typeof settingTable;
export type Settings = { readonly [K in SettingKey]: ReturnType<(typeof settingTable)[K]["read"]> };

export const settingKeys = Object.keys(settingTable) as readonly SettingKey[];

export function settingRow(key: SettingKey): SettingRow {
  return settingTable[key];
}

/** `data-dir`: the name in the file and, after two dashes, on the command line. */
export function settingName(key: SettingKey): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `SLIPWAY_DATA_DIR`. */
export function settingEnvironmentName(key: SettingKey): string {
  return `SLIPWAY_${settingName(key).replaceAll("-", "_").toUpperCase()}`;
}

/** Name of the settings file inside the data folder. */
export const settingsFileName = "slipway-server.yaml";
