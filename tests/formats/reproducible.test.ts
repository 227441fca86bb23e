/** The same input gives the same bytes anywhere, and memory does not grow with the payload. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { temporaryFolder } from "./sample.ts";

const program = resolve(import.meta.dirname, "write-once.ts");
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Runs the writers in a process of their own; the umask needs a shell. */
async function write(
  folder: string,
  options: { umask: string; cwd: string; env: Readonly<Record<string, string>>; megabytes?: number },
): Promise<Record<string, number>> {
  await mkdir(folder, { recursive: true });
  const argv = [process.execPath, program, folder, ...(options.megabytes === undefined ? [] : [String(options.megabytes)])];
  const env = { PATH: process.env["PATH"] ?? "", ...options.env };
  const printed = await requireCommand(["sh", "-c", `umask ${options.umask}; exec ${argv.map(quoted).join(" ")}`], {
    timeoutMs: 300_000,
    cwd: options.cwd,
    env,
  });
  return JSON.parse(printed) as Record<string, number>;
}

test("J1 deb, rpm, apk, tar.gz and zip are byte-identical under another time zone, umask, locale, folder and day (regression 20)", async (t) => {
  const folder = await temporaryFolder(t);
  await write(join(folder, "a"), { umask: "022", cwd: "/", env: { TZ: "UTC", LC_ALL: "C" } });
  await write(join(folder, "b"), { umask: "077", cwd: folder, env: { TZ: "Asia/Kathmandu", LC_ALL: "de_DE.UTF-8", HOME: folder, SOURCE_DATE_EPOCH: "1" } });
  await write(join(folder, "c"), { umask: "000", cwd: "/tmp", env: { TZ: "America/St_Johns" } });
  const names = (await readdir(join(folder, "a"))).sort();
  assert.deepEqual(names, ["gzip.apk", "gzip.deb", "gzip.rpm", "toy.tar.gz", "toy.zip", "zstd.deb", "zstd.rpm"]);
  for (const name of names) {
    const [a, b, c] = await Promise.all(["a", "b", "c"].map((run) => readFile(join(folder, run, name))));
    assert.ok(a !== undefined && b !== undefined && c !== undefined && a.equals(b) && a.equals(c), `${name} differs`);
  }
});

test("a payload of 200 MB is written with less than 150 MB of memory more than at the start", async (t) => {
  const folder = await temporaryFolder(t);
  const { start = 0, ...peaks } = await write(join(folder, "big"), { umask: "022", cwd: "/", env: {}, megabytes: 200 });
  for (const [name, peak] of Object.entries(peaks)) {
    assert.ok(peak - start < 150e6, `${name}: ${Math.round((peak - start) / 1e6)} MB more than at the start`);
    assert.ok((await stat(join(folder, "big", name))).size > 1e6, `${name} holds the payload`);
  }
});
