/** A program of another Debian release, unpacked into a folder of its own (nothing is installed): for clients that this machine has in another version, or not at all. */
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { cachedFolder } from "./cached-folder.ts";
import { needClient } from "./clients.ts";
import { debianMirror } from "./debian-base.ts";

export type DebianTool = {
  readonly release: "trixie" | "sid";
  /** Of the package, which must run with this machine's own C library. */
  readonly name: string;
  /** Inside the package, without the leading slash. */
  readonly program: string;
};

const timeoutMs = 200_000;

/** The program's path; undefined after a loud skip where this machine has no apt or is no root, or the package cannot be had (with CI=true that fails). */
export async function debianTool(t: TestContext, tool: DebianTool): Promise<string | undefined> {
  if (!needClient(t, "apt-get", "dpkg-deb")) return undefined;
  try {
    const folder = await unpacked(tool, await debianMirror());
    return join(folder, tool.program);
  } catch (error) {
    if (process.env["CI"] === "true") throw error;
    t.skip(`${tool.name} of Debian ${tool.release} cannot be had: ${error instanceof Error ? (error.message.split("\n")[0] ?? "") : ""}`);
    return undefined;
  }
}

function unpacked({ release, name }: DebianTool, mirror: string): Promise<string> {
  return cachedFolder(`debian tool\n${release}\n${name}\n${mirror}`, (folder) => unpackDebianPackage({ release, name, mirror, folder }));
}

/** Fetches a package of another release, or for another architecture, and unpacks it into `folder`, which is made. */
export async function unpackDebianPackage(wish: {
  readonly release: DebianTool["release"];
  readonly name: string;
  /** As Debian calls it; by default this machine's. */
  readonly arch?: string;
  readonly mirror: string;
  readonly folder: string;
}): Promise<void> {
  const { release, name, arch, mirror, folder } = wish;
  const work = `${folder}.work`;
  for (const part of ["lists/partial", "archives/partial", "download"]) await mkdir(join(work, part), { recursive: true });
  await writeFile(join(work, "sources.list"), `deb [trusted=yes] ${mirror} ${release} main\n`);
  await writeFile(join(work, "status"), "");
  const settings = {
    "Dir::Etc::sourcelist": join(work, "sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::State::lists": join(work, "lists"),
    "Dir::State::status": join(work, "status"),
    "Dir::Cache": work,
    "APT::Sandbox::User": "root",
    "Acquire::Check-Valid-Until": "false",
    "Acquire::Languages": "none",
    ...(arch === undefined ? {} : { "APT::Architecture": arch, "APT::Architectures": arch }),
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  try {
    await requireCommand(["apt-get", ...options, "update"], { timeoutMs });
    await requireCommand(["apt-get", ...options, "download", name], { cwd: join(work, "download"), timeoutMs });
    const [file] = await readdir(join(work, "download"));
    if (file === undefined) throw new Error(`apt-get download ${name} left no file`);
    await requireCommand(["dpkg-deb", "-x", join(work, "download", file), folder], { timeoutMs });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
