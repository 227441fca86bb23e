/** What a source file is, as far as lint rules want to know: program and how it was linked, script and what its shell says, or neither. */
import { type FileHandle, open } from "node:fs/promises";
import { readElf } from "../formats/elf.ts";
import { cleanEnvironment, type RunCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ContentNature } from "../model/package-facts.ts";
import { natureOf, natureSizeBytes } from "./executable.ts";

const shellTimeoutMs = 10_000;
export const scriptSizeLimit = 1024 * 1024;

/** Reads the first bytes, of programs the table of sections as well, and asks the shell about scripts. */
export async function readContentNature(
  file: { readonly path: string; readonly source: string; readonly size: number },
  run: RunCommand,
): Promise<ContentNature> {
  const handle = await open(file.path, "r");
  try {
    const head = Buffer.alloc(natureSizeBytes);
    const { bytesRead } = await handle.read(head, 0, head.length, 0);
    const nature = natureOf(head.subarray(0, bytesRead));
    switch (nature.kind) {
      case "program":
        return { kind: "program", systems: nature.systems, arch: nature.arch, ...(nature.format === "ELF" ? await linkage(handle, file.size) : {}) };
      case "script": {
        const interpreter = /^#! *([^\n]*)/.exec(head.toString("utf8", 0, bytesRead))?.[1] ?? "";
        const syntaxError = file.size > scriptSizeLimit ? undefined : await shellSyntaxError({ interpreter, path: file.path, source: file.source }, run);
        return { kind: "script", interpreter, ...(syntaxError === undefined ? {} : { syntaxError }) };
      }
      case "other":
        return { kind: "other" };
      default:
        return nature satisfies never;
    }
  } finally {
    await handle.close();
  }
}

/** Of an ELF program, by its sections; nothing where it has none, or where they cannot be read. */
async function linkage(handle: FileHandle, size: number): Promise<{ readonly isStripped?: boolean; readonly isStatic?: boolean }> {
  const read = async (offset: number, length: number): Promise<Buffer> => {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > size)
      throw new SlipwayError("format_invalid", "the program is shorter than its tables say");
    const bytes = Buffer.alloc(length);
    if (length > 0) await handle.read(bytes, 0, length, offset);
    return bytes;
  };
  try {
    const { sections } = await readElf({ size, read });
    const has = (name: string): boolean => sections.some((section) => section.name === name);
    return sections.length === 0 ? {} : { isStripped: !has(".symtab"), isStatic: !has(".dynamic") };
  } catch (error) {
    if (error instanceof SlipwayError) return {}; // damaged tables: a build or a run will say more than lint can
    throw error;
  }
}

/** What `<shell> -n` says, by the shell that the script names; undefined for other interpreters and for a shell that is not here. */
export async function shellSyntaxError(
  script: { readonly interpreter: string; readonly path: string; readonly source: string },
  run: RunCommand,
): Promise<string | undefined> {
  const shell = /^\/(?:usr\/)?bin\/((?:ba|da|k)?sh)(?:\s+-\w+)?$/.exec(script.interpreter)?.[1];
  if (shell === undefined) return undefined;
  try {
    const result = await run([shell, "-n", script.path], { timeoutMs: shellTimeoutMs, env: { ...cleanEnvironment(), LC_ALL: "C" } });
    if (result.exitCode === 0) return undefined;
    const [first = ""] = result.stderr.split("\n");
    return `${shell} -n: ${first.replace(script.path, script.source)}`;
  } catch (error) {
    if (error instanceof SlipwayError && error.code === "command_failed") return undefined; // no such shell here: the rule cannot be asked
    throw error;
  }
}
