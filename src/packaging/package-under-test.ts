/** What `slipway test-install` must know of a package before it is installed: its files, configurations, scripts and needs, read by the real tools where ours do not tell. */
import { hash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { readApk } from "../formats/apk-read.ts";
import { bytesSource } from "../formats/byte-source.ts";
import { readDeb } from "../formats/deb-read.ts";
import { parseDependency } from "../formats/dependency.ts";
import type { Dependency } from "../formats/package.ts";
import { type RpmCapability, readRpm } from "../formats/rpm-read.ts";
import { tarBlockSize } from "../formats/tar.ts";
import { readTar, requireMember } from "../formats/tar-read.ts";
import type { RunCommand } from "../io/command.ts";
import { fileBytes } from "../io/spool.ts";
import { SlipwayError } from "../model/errors.ts";

export type ScriptUnderTest = {
  /** In the format's own word: `postinst`, `%post`, `.post-install`. */
  readonly name: string;
  readonly interpreter: string;
  /** Of the body, for formats that run it under a random name. */
  readonly sha256: string;
};

export type PackageUnderTest = {
  readonly path: string;
  readonly name: string;
  /** As the format spells it. */
  readonly version: string;
  readonly files: readonly string[];
  readonly folders: readonly string[];
  /** Configurations that an operator may edit. */
  readonly configs: readonly string[];
  readonly scripts: readonly ScriptUnderTest[];
  readonly needs: readonly Dependency[];
};

const timeoutMs = 60_000;
/** Bytes of an unpacked control segment, which readApk has already held to. */
const controlLimit = 8 * 1024 * 1024;

/** Throws `format_invalid` for a package that is not sound, and `command_failed` where the format's own tool cannot read it. */
export async function readPackageUnderTest(
  kind: "deb" | "rpm" | "apk",
  path: string,
  { run, folder }: { readonly run: RunCommand; readonly folder: string },
): Promise<PackageUnderTest> {
  const source = fileBytes(path, (await stat(path)).size);
  switch (kind) {
    case "deb": {
      const deb = await readDeb(source);
      const value = (name: string): string => deb.fields.find((field) => field.name === name)?.value ?? "";
      const needs = [value("Pre-Depends"), value("Depends")].flatMap(splitList).map(parseDependency);
      const { name, version, files, conffiles } = deb;
      return { path, name, version, ...sorted(files), configs: conffiles, scripts: await debScripts(path, run, folder), needs };
    }
    case "rpm": {
      const rpm = await readRpm(source);
      const packed = rpm.files.filter((file) => file.kind !== "ghost").map((file) => ({ path: file.path, kind: file.kind === "dir" ? "directory" : "file" }));
      const { name, version, release } = rpm;
      const needs = rpm.requires.filter(({ isRpmlib }) => !isRpmlib).flatMap(rpmNeeds);
      const configs = (await tool(run, ["rpm", "-qpc", "--nosignature", path])).split("\n").filter((line) => line.startsWith("/"));
      return { path, name, version: `${version}-${release}`, ...sorted(packed), configs, scripts: await rpmScripts(path, run), needs };
    }
    case "apk": {
      const { info, files, controlBytes } = await readApk(source);
      const configs = files
        .filter((file) => file.kind === "file" && file.path.startsWith("/etc/") && !file.path.startsWith("/etc/init.d/"))
        .map((file) => file.path);
      const needs = info.depends.filter((word) => !word.startsWith("!")).map((word) => parseDependency(word.replace(/^([^<>=~]+)([<>=~]+)(.+)$/, "$1 $2 $3")));
      return {
        path,
        name: info.name,
        version: info.version,
        ...sorted(files),
        configs,
        scripts: await apkScripts(controlBytes),
        needs,
      };
    }
    default:
      return kind satisfies never;
  }
}

function sorted(files: readonly { readonly path: string; readonly kind: string }[]): Pick<PackageUnderTest, "files" | "folders"> {
  return {
    files: files.filter(({ kind }) => kind !== "directory").map(({ path }) => path),
    folders: files.filter(({ kind }) => kind === "directory").map(({ path }) => path),
  };
}

function splitList(text: string): readonly string[] {
  return text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
}

/** `(a >= 1 or b)` is several names, of which one is enough; all are given. */
function rpmNeeds({ name, flags, version }: RpmCapability): readonly Dependency[] {
  if (name.startsWith("(")) {
    return name
      .replaceAll(/[()]/g, " ")
      .split(/ (?:or|and|if|with|else|unless|without) /)
      .map((one) => parseDependency(one.trim()));
  }
  const operators = { LT: "<<", GT: ">>", EQ: "=", LE: "<=", GE: ">=" } as const;
  return [[{ name, ...(flags === undefined || version === undefined ? {} : { operator: operators[flags], version }) }]];
}

async function debScripts(path: string, run: RunCommand, folder: string): Promise<readonly ScriptUnderTest[]> {
  const control = join(folder, "control");
  await rm(control, { recursive: true, force: true });
  await mkdir(control, { recursive: true });
  await tool(run, ["dpkg-deb", "--control", path, control]);
  const names = (await readdir(control)).filter((name) => /^(?:preinst|postinst|prerm|postrm|config)$/.test(name));
  const scripts: ScriptUnderTest[] = [];
  for (const name of names) scripts.push(describe(name, await readFile(join(control, name), "utf8")));
  return scripts;
}

const rpmPhases = { "%pretrans": "PRETRANS", "%pre": "PREIN", "%post": "POSTIN", "%preun": "PREUN", "%postun": "POSTUN", "%posttrans": "POSTTRANS" } as const;

async function rpmScripts(path: string, run: RunCommand): Promise<readonly ScriptUnderTest[]> {
  const scripts: ScriptUnderTest[] = [];
  for (const [name, tag] of Object.entries(rpmPhases)) {
    const body = await tool(run, ["rpm", "-qp", "--nosignature", "--qf", `%{${tag}}`, path]);
    if (body === "(none)") continue;
    const interpreter = await tool(run, ["rpm", "-qp", "--nosignature", "--qf", `[%{${tag}PROG} ]`, path]);
    scripts.push({ ...describe(name, body), interpreter: interpreter.split(" ")[0] ?? "" });
  }
  return scripts;
}

/** The control segment is a tar without its end. */
async function apkScripts(controlBytes: Uint8Array): Promise<readonly ScriptUnderTest[]> {
  const tar = bytesSource(Buffer.concat([gunzipSync(controlBytes, { maxOutputLength: controlLimit }), new Uint8Array(2 * tarBlockSize)]));
  const scripts: ScriptUnderTest[] = [];
  for await (const one of readTar(tar.open(), { name: "control.tar", memberLimit: 100, pax: "read" })) {
    const member = requireMember(one, "control.tar");
    const pieces: Uint8Array[] = [];
    for await (const piece of member.body()) pieces.push(Uint8Array.from(piece));
    if (member.path !== ".PKGINFO") scripts.push(describe(member.path, Buffer.concat(pieces).toString("utf8")));
  }
  return scripts;
}

function describe(name: string, body: string): ScriptUnderTest {
  return { name, interpreter: /^#! *(\S+)/.exec(body)?.[1] ?? "", sha256: hash("sha256", body) };
}

async function tool(run: RunCommand, argv: readonly string[]): Promise<string> {
  const result = await run(argv, { timeoutMs });
  if (result.exitCode === 0) return result.stdout;
  throw new SlipwayError("command_failed", `${argv[0] ?? ""} cannot read ${argv.at(-1) ?? ""}: ${result.stderr.trim()}`);
}
