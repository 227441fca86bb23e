/**
 * What `cargo auditable` writes into a Rust program: the crates that were compiled in.
 *
 * The section `.dep-v0` holds zlib-compressed JSON: `{packages: [{name, version, source, kind?, root?, dependencies?}]}`. `kind` is `runtime`
 * by default or `build`; `root` marks the program itself. Source of the rules: cargo-auditable's PARSING.md and JSON schema.
 */
import { promisify } from "node:util";
import { inflate } from "node:zlib";
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import type { ProgramImage, RandomAccess } from "./program-image.ts";

const crate = z.object({
  name: z.string().min(1).max(300),
  version: z.string().min(1).max(300),
  /** `crates.io`, `git`, `local`, `registry`, or a word that is newer than us. */
  source: z.string().max(2_000),
  kind: z.enum(["build", "runtime"]).default("runtime"),
  root: z.boolean().default(false),
});
const crateList = z.object({ packages: z.array(crate).max(100_000) });

export type RustCrate = z.output<typeof crate>;

const sectionLimit = 8 * 1024 * 1024;
const textLimit = 64 * 1024 * 1024;
const inflateAsync = promisify(inflate);

/** Undefined where the program was not built by `cargo auditable`. Throws `format_invalid` for a damaged section. */
export async function readRustBuildInformation(file: RandomAccess, image: ProgramImage): Promise<readonly RustCrate[] | undefined> {
  const section = image.sections.find((part) => part.name === ".dep-v0");
  if (section === undefined) return undefined;
  if (section.size > sectionLimit) throw damaged(`${section.size} bytes; the limit is ${sectionLimit}`);
  const compressed = await file.read(section.offset, section.size);
  let value: unknown;
  try {
    value = JSON.parse((await inflateAsync(compressed, { maxOutputLength: textLimit })).toString("utf8"));
  } catch (error) {
    throw damaged("no zlib-compressed JSON", error);
  }
  const parsed = crateList.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw damaged(`an unknown shape at ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
  }
  return parsed.data.packages;
}

function damaged(what: string, cause?: unknown): SlipwayError {
  return new SlipwayError("format_invalid", `the section .dep-v0 of the Rust program has ${what}`, { cause });
}
