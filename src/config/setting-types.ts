/** How the text of a setting becomes a value: one reader per type, each refusing what it does not understand. */
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { isMailAddress } from "../model/mail-address.ts";

/** A reader throws a plain Error whose message says what was expected; load.ts adds the setting's name and place. */
export type Reader<T> = (text: string) => T;

export type ListenAddress = { readonly host: string; readonly port: number };

/** `127.0.0.1:8420`, `[::1]:8420`, `:8420` (all addresses), port 0 for any free one. */
export const address: Reader<ListenAddress> = (text) => {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new Error("expected host:port, for example 127.0.0.1:8420");
  return { host: match[1] ?? (match[2] === undefined || match[2] === "" ? "::" : match[2]), port };
};

/** A path; `~/` is the home directory, a relative one starts where the server was started. Empty stays empty. */
export const path: Reader<string> = (text) => {
  if (text.includes("\0")) throw new Error("expected a path");
  if (text === "") return "";
  if (text === "~" || text.startsWith("~/")) return join(homedir(), text.slice(1));
  return isAbsolute(text) ? text : resolve(text);
};

/** An http or https address without a trailing slash, or empty. */
export const url: Reader<string> = (text) => {
  if (text === "") return "";
  const parsed = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = parsed !== undefined && parsed.search === "" && parsed.hash === "" && parsed.username === "" && parsed.password === "";
  if (!isPlain || !["http:", "https:"].includes(parsed.protocol)) {
    throw new Error("expected an http:// or https:// address without credentials, for example https://packages.example.com");
  }
  return `${parsed.origin}${parsed.pathname === "/" ? "" : parsed.pathname.replace(/\/+$/, "")}`;
};

/** A PostgreSQL address, or empty for the embedded database. */
export const databaseUrl: Reader<string> = (text) => {
  if (text !== "" && !/^postgres(?:ql)?:\/\//.test(text)) throw new Error("expected postgresql://user@host/database");
  return text;
};

const sizeUnits: Readonly<Record<string, number>> = { "": 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** Bytes: `64MiB`, `10GiB`, `1500`. */
export const size: Reader<number> = (text) => {
  const match = /^(\d{1,15})\s*([A-Za-z]*)$/.exec(text);
  const unit = match?.[2] !== undefined && Object.hasOwn(sizeUnits, match[2]) ? sizeUnits[match[2]] : undefined;
  if (match === null || unit === undefined) throw new Error("expected a size such as 64MiB or 10GiB");
  return Number(match[1]) * unit;
};

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds: `30s`, `15min`, `2h`. */
export const duration: Reader<number> = (text) => {
  const match = /^(\d{1,9})\s*(ms|s|min|h|d)$/.exec(text);
  const unit = match?.[2] === undefined ? undefined : durationUnits[match[2]];
  if (match === null || unit === undefined) throw new Error("expected a duration such as 30s, 15min or 2h");
  return Number(match[1]) * unit;
};

export function oneOf<const W extends string>(words: readonly W[]): Reader<W> {
  return (text) => {
    const word = words.find((candidate) => candidate === text);
    if (word === undefined) throw new Error(`expected one of ${words.join(", ")}`);
    return word;
  };
}

/** Addresses or networks (`10.0.0.0/8`), separated by commas. */
export const networks: Reader<readonly string[]> = (text) => {
  const pieces = text.split(",").map((piece) => piece.trim());
  const named = pieces.filter((piece) => piece !== "");
  const bad = named.find((piece) => !/^[0-9a-fA-F:.]+(?:\/\d{1,3})?$/.test(piece));
  if (bad !== undefined) throw new Error(`expected addresses or networks separated by commas; "${bad}" is neither`);
  return named;
};

/** Any text on one line. */
export const text: Reader<string> = (value) => {
  if (/[\0\r\n]/.test(value)) throw new Error("expected one line of text");
  return value;
};

/** Words separated by commas. */
export const names: Reader<readonly string[]> = (value) => {
  const words = value.split(",").map((piece) => piece.trim());
  const named = words.filter((word) => word !== "");
  const bad = named.find((word) => !/^[A-Za-z0-9.:[\]_-]{1,253}$/.test(word));
  if (bad !== undefined) throw new Error(`expected words separated by commas; "${bad}" is none`);
  return named;
};

/** `smtp://host:587` or `smtps://user:password@host`, or empty. */
export const smtpUrl: Reader<string> = (value) => {
  if (value === "") return "";
  const parsed = URL.canParse(value) ? new URL(value) : undefined;
  // The password may be in it: the message must not show the value, and readSetting does not for secrets.
  if (parsed === undefined || !["smtp:", "smtps:"].includes(parsed.protocol) || parsed.hostname === "" || parsed.search !== "") {
    throw new Error("expected smtp://host:port or smtps://user:password@host");
  }
  return value;
};

/** One plain address as in `ops@acme.example`, or empty. */
export const mailAddress: Reader<string> = (value) => {
  if (value !== "" && !isMailAddress(value)) throw new Error("expected one plain mail address, for example releases@acme.example");
  return value;
};
