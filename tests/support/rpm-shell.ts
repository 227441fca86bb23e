/** The one package that stands in for a distribution in an empty rpm installation: busybox as its shell, so that rpm runs the packages' scripts. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CommandResult } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { writeTestRpm } from "./test-packages.ts";

const applets = ["sh", "cat", "echo", "grep", "id", "mkdir", "rm", "sed", "test", "touch", "true"];

/** `path`: a private root that holds busybox-static; `rpm` runs the root's own rpm on the installation inside. */
export async function installShell(path: string, rpm: (args: readonly string[]) => Promise<CommandResult>): Promise<void> {
  const bytes = await writeTestRpm({
    name: "toybase",
    version: parseVersion("1.0.0"),
    files: [{ path: "/usr/bin/busybox", mode: 0o755, bytes: await readFile(join(path, "usr/bin/busybox")) }],
    links: [...applets.map((applet) => ({ path: `/usr/bin/${applet}`, target: "busybox" })), { path: "/bin", target: "usr/bin" }],
  });
  await writeFile(join(path, "toybase.rpm"), bytes);
  const done = await rpm(["--nosignature", "-i", "/toybase.rpm"]);
  if (done.exitCode !== 0) throw new Error(`the base of the installation: ${done.stderr}`);
}
