/** What a folder says about the product in it: package.json, Cargo.toml, go.mod, LICENSE and git's configuration. Guesses for a person to read. */
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { readFileBounded } from "../io/bounded-read.ts";
import type { RunCommand } from "../io/command.ts";

export type ProductKind = "go" | "rust" | "node" | "other";

export type ProductGuess = {
  readonly kind: ProductKind;
  /** What the guess was read from: `go.mod`, `the folder's name`. */
  readonly source: string;
  readonly name: string;
  readonly summary: string;
  readonly maintainer: string;
  readonly license: string;
  readonly homepage?: string;
  readonly binaries: readonly string[];
  readonly documents: readonly string[];
};

const sizeLimit = 1024 * 1024;
const gitTimeoutMs = 10_000;
const documentNames = ["LICENSE", "README.md", "INSTALL.md", "CHANGELOG.md"] as const;

type Found = Partial<Pick<ProductGuess, "name" | "summary" | "maintainer" | "license" | "homepage" | "binaries">>;

/** Never fails for what it cannot read: every field has a fallback that is valid in a recipe. */
export async function guessProduct(folder: string, run: RunCommand): Promise<ProductGuess> {
  const files = await readdir(folder);
  const readers = [
    { file: "go.mod", kind: "go", read: readGo },
    { file: "Cargo.toml", kind: "rust", read: readRust },
    { file: "package.json", kind: "node", read: readNode },
  ] as const;
  const reader = readers.find((candidate) => files.includes(candidate.file));
  const found: Found = reader === undefined ? {} : await reader.read(await readText(folder, reader.file), folder);
  const name = productName(found.name ?? basename(resolve(folder)));
  const license = found.license ?? (await guessLicense(folder, files));
  return {
    kind: reader?.kind ?? "other",
    source: reader?.file ?? "the folder's name",
    name,
    summary: oneLine(found.summary ?? "") || `The ${name} server`,
    maintainer: found.maintainer ?? (await gitAuthor(run, folder)) ?? `${name} maintainers <release@${name.replaceAll(/[^a-z0-9-]/g, "-")}.example>`,
    license,
    ...(found.homepage === undefined ? {} : { homepage: found.homepage }),
    binaries: found.binaries !== undefined && found.binaries.length > 0 ? found.binaries : [name],
    documents: documentNames.filter((document) => files.includes(document)),
  };
}

async function readText(folder: string, file: string): Promise<string> {
  return (await readFileBounded(join(folder, file), sizeLimit)).toString("utf8");
}

async function readGo(text: string, folder: string): Promise<Found> {
  const module = /^module\s+(\S+)/m.exec(text)?.[1];
  const name = module?.split("/").findLast((segment) => !/^v\d+$/.test(segment));
  const commands = await readdir(join(folder, "cmd"), { withFileTypes: true }).catch(() => []); // a module of one program has no cmd/
  const binaries = commands.filter((entry) => entry.isDirectory() && isProgramName(entry.name)).map((entry) => entry.name);
  return { ...(name === undefined ? {} : { name }), binaries: binaries.sort() };
}

/** The `[package]` table read line by line: TOML's other forms are left to the person who reads the draft. */
async function readRust(text: string): Promise<Found> {
  const table = /^\[package\]\s*$([\s\S]*?)(?=^\[|(?![\s\S]))/m.exec(text)?.[1] ?? "";
  const value = (key: string): string | undefined => new RegExp(`^${key}\\s*=\\s*"([^"\\n]*)"`, "m").exec(table)?.[1];
  const binaries = [...text.matchAll(/^\[\[bin\]\]\s*$[\s\S]*?^name\s*=\s*"([^"\n]+)"/gm)].flatMap((match) => match[1] ?? []);
  const name = value("name");
  const maintainer = /^authors\s*=\s*\[\s*"([^"\n]+)"/m.exec(table)?.[1];
  return {
    ...defined({ name, summary: value("description"), license: value("license"), homepage: webAddress(value("homepage") ?? value("repository")) }),
    ...defined({ maintainer: asMaintainer(maintainer) }),
    binaries: binaries.length > 0 ? binaries.filter(isProgramName) : [name ?? ""].filter(isProgramName),
  };
}

const packageSchema = z.object({
  name: z.string().optional(),
  description: z.string().optional(),
  license: z.string().optional(),
  homepage: z.string().optional(),
  author: z.union([z.string(), z.object({ name: z.string(), email: z.string().optional() })]).optional(),
  bin: z.union([z.string(), z.record(z.string(), z.string())]).optional(),
});

async function readNode(text: string): Promise<Found> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return {}; // a broken package.json gives no guess
  }
  const parsed = packageSchema.safeParse(value);
  if (!parsed.success) return {};
  const { name, description, license, homepage, author, bin } = parsed.data;
  const maintainer = typeof author === "string" ? author : author?.email === undefined ? undefined : `${author.name} <${author.email}>`;
  return {
    ...defined({ name: name?.split("/").at(-1), summary: description, license, homepage: webAddress(homepage), maintainer: asMaintainer(maintainer) }),
    ...(typeof bin === "object" ? { binaries: Object.keys(bin).filter(isProgramName) } : {}),
  };
}

/** The fields that are there. */
function defined<Values extends Record<string, unknown>>(values: Values): { [Key in keyof Values]?: Exclude<Values[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== "")) as {
    [Key in keyof Values]?: Exclude<Values[Key], undefined>;
  };
}

/** First lines of licence texts, and their SPDX identifiers. */
const licenseTexts: readonly (readonly [RegExp, string])[] = [
  [/Apache License\s+Version 2\.0/, "Apache-2.0"],
  [/MIT License|Permission is hereby granted, free of charge/, "MIT"],
  [/GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3/, "AGPL-3.0-only"],
  [/GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3/, "LGPL-3.0-only"],
  [/GNU GENERAL PUBLIC LICENSE\s+Version 3/, "GPL-3.0-only"],
  [/GNU GENERAL PUBLIC LICENSE\s+Version 2/, "GPL-2.0-only"],
  [/Mozilla Public License,? [Vv]ersion 2\.0/, "MPL-2.0"],
  [/BSD 3-Clause|Neither the name of/, "BSD-3-Clause"],
  [/BSD 2-Clause/, "BSD-2-Clause"],
];

async function guessLicense(folder: string, files: readonly string[]): Promise<string> {
  const file = ["LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"].find((name) => files.includes(name));
  const text = file === undefined ? "" : await readText(folder, file);
  return licenseTexts.find(([pattern]) => pattern.test(text))?.[1] ?? "Proprietary";
}

async function gitAuthor(run: RunCommand, folder: string): Promise<string | undefined> {
  const read = async (key: string): Promise<string> => {
    const result = await run(["git", "-C", folder, "config", "--get", key], { timeoutMs: gitTimeoutMs }).catch(() => undefined); // no git here
    return result?.exitCode === 0 ? result.stdout.trim() : "";
  };
  return asMaintainer(`${await read("user.name")} <${await read("user.email")}>`);
}

function asMaintainer(text: string | undefined): string | undefined {
  return text !== undefined && text.length <= 200 && /^[^<>\p{Cc}]+ <[^<>@\s]+@[^<>@\s]+>$/u.test(text) ? text : undefined;
}

function webAddress(text: string | undefined): string | undefined {
  return text !== undefined && URL.canParse(text) && /^https?:/.test(text) ? text : undefined;
}

function productName(text: string): string {
  const name = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9+.-]+/g, "-")
    .replaceAll(/^[^a-z0-9]+|-+$/g, "")
    .slice(0, 63);
  return name.length >= 2 ? name : "product";
}

function isProgramName(text: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}$/.test(text);
}

function oneLine(text: string): string {
  return text
    .replaceAll(/[\s\p{Cc}]+/gu, " ")
    .trim()
    .slice(0, 200);
}
