/** Python's lock files: poetry.lock, uv.lock, Pipfile.lock, and a requirements.txt as pip-compile and pip freeze write it. */
import { z } from "zod";
import type { Component } from "../formats/bill-of-materials.ts";
import { packageUrl, vcsUrl } from "../formats/package-url.ts";
import { type LockFile, type LockReading, lockFileError, reachable, readLockJson, readLockToml } from "./lock-file-text.ts";

const word = z.string().min(1).max(1_000);

function componentOf(file: LockFile, name: string, version: string | undefined, vcs?: string): Component {
  return {
    name,
    ...(version === undefined ? {} : { version }),
    purl: packageUrl({
      ecosystem: "pypi",
      name,
      ...(version === undefined ? {} : { version }),
      ...(vcs === undefined ? {} : { qualifiers: { vcs_url: vcs } }),
    }),
    checksums: [], // the files list one hash per wheel, and which wheel went in nobody says
    origins: [file.name],
  };
}

const poetryLock = z.object({
  package: z
    .array(
      z.object({
        name: word,
        version: word,
        /** Poetry below 1.5 and Poetry 2; between them the file does not say it. */
        category: z.string().optional(),
        groups: z.array(z.string()).optional(),
        source: z.object({ type: z.string(), url: z.string().optional(), resolved_reference: z.string().optional() }).optional(),
      }),
    )
    .default([]),
});

/** Packages of other groups than `main` are left out where the file says the group. */
export function readPoetryLock(file: LockFile): LockReading {
  const packages = readLockToml(file, poetryLock).package;
  const components = packages.flatMap(({ name, version, category, groups, source }): readonly Component[] => {
    const isShipped = groups?.includes("main") ?? (category === undefined || category === "main");
    if (!isShipped || source?.type === "directory" || source?.type === "file") return [];
    const vcs = source?.type === "git" && source.url !== undefined ? vcsUrl(source.url, source.resolved_reference) : undefined;
    return [componentOf(file, name, version, vcs)];
  });
  const saysGroups = packages.every(({ category, groups }) => category !== undefined || groups !== undefined);
  return { components, warnings: saysGroups ? [] : [`${file.name} does not tell development packages apart: all are listed`] };
}

const uvReference = z.object({ name: word, version: word.optional() });
const uvLock = z.object({
  package: z
    .array(
      z.object({
        name: word,
        version: word.optional(),
        source: z.object({
          git: z.string().optional(),
          virtual: z.string().optional(),
          editable: z.string().optional(),
          directory: z.string().optional(),
        }),
        dependencies: z.array(uvReference).default([]),
        "optional-dependencies": z.record(z.string(), z.array(uvReference)).default({}),
      }),
    )
    .default([]),
});

/** What can be reached from the project's own packages without their development groups. */
export function readUvLock(file: LockFile): LockReading {
  const packages = readLockToml(file, uvLock).package;
  const byName = Map.groupBy(packages, (entry) => entry.name);
  const isOwn = ({ source }: (typeof packages)[number]): boolean => (source.virtual ?? source.editable ?? source.directory) !== undefined;
  const shipped = reachable(
    packages.filter(isOwn).map((entry) => entry.name),
    (name) =>
      (byName.get(name) ?? []).flatMap((entry) => [...entry.dependencies, ...Object.values(entry["optional-dependencies"]).flat()].map((other) => other.name)),
  );
  const components = packages
    .filter((entry) => !isOwn(entry) && shipped.has(entry.name))
    .map(({ name, version, source }) => {
      const [address, commit] = (source.git ?? "").split("#");
      return componentOf(file, name, version, source.git === undefined ? undefined : vcsUrl(address ?? "", commit));
    });
  return { components, warnings: [] };
}

const pipfileLock = z.object({
  _meta: z.unknown(),
  default: z.record(z.string(), z.object({ version: z.string().optional(), git: z.string().optional(), ref: z.string().optional() })),
});

export function readPipfileLock(file: LockFile): LockReading {
  const components = Object.entries(readLockJson(file, pipfileLock).default).map(([name, { version, git, ref }]) =>
    componentOf(file, name, version?.replace(/^==/, ""), git === undefined ? undefined : vcsUrl(git, ref)),
  );
  return { components, warnings: [] };
}

/** PEP 508's name, with extras left out, and what follows it. */
const requirementPattern = /^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(.*)$/;

/** A requirement without `==` is listed without a version, and said so. Options (`-r`, `--index-url`) are left out; `-r` and `-e` are said as well. */
export function readRequirements(file: LockFile): LockReading {
  const components: Component[] = [];
  const warnings: string[] = [];
  for (const { text, line } of requirementLines(file.text)) {
    if (text.startsWith("-")) {
      if (/^(?:-r|--requirement|-e|--editable)\b/.test(text))
        warnings.push(`${file.name}:${line}: ${text.split(" ", 1)[0]} is not followed; name that file too`);
      continue;
    }
    const [, name, rest = ""] = requirementPattern.exec(text) ?? [];
    if (name === undefined) throw lockFileError(file, `${JSON.stringify(text.slice(0, 100))} is not a requirement`, { at: { line, column: 1 } });
    const [constraint = ""] = rest.split(/\s*;|\s+--hash=/, 1);
    const version = /^={2,3}\s*([A-Za-z0-9][A-Za-z0-9.!+_-]*)$/.exec(constraint.trim())?.[1];
    const git = /^@\s*(git\+[^@\s]+(?:@[^/\s]+\/[^@\s]+)?)@([^\s#]+)/.exec(constraint.trim());
    if (version === undefined && git === null) warnings.push(`${file.name}:${line}: ${name} has no exact version`);
    components.push(componentOf(file, name, version, git?.[1] === undefined ? undefined : vcsUrl(git[1], git[2])));
  }
  return { components, warnings };
}

/** Lines joined at `\`, without comments and empty ones; numbered by where they begin. */
function* requirementLines(text: string): Generator<{ readonly text: string; readonly line: number }> {
  let joined = "";
  let start = 1;
  for (const [index, raw] of `${text}\n`.split(/\r?\n/).entries()) {
    if (joined === "") start = index + 1;
    const content = raw.replace(/(^|\s)#.*$/, "");
    if (content.endsWith("\\")) {
      joined += `${content.slice(0, -1)} `;
      continue;
    }
    const whole = (joined + content).trim();
    joined = "";
    if (whole !== "") yield { text: whole, line: start };
  }
}
