/** The same recipe gives the same bytes wherever, whenever and by whomever it is built. */
import assert from "node:assert/strict";
import { chmod, cp, readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { requireCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { compiled } from "../support/compiled.ts";
import { contentsOf, epochSeconds, sampleProduct, sampleRecipe, temporaryFolder } from "./fixture.ts";

const slipway = fileURLToPath(new URL("../../bin/slipway", import.meta.url));

/** Builds in a process of its own: the time zone, the locale and the umask belong to a process. */
async function build(folder: string, around: { readonly umask: string; readonly env: Readonly<Record<string, string>> }): Promise<ReadonlyMap<string, Buffer>> {
  const script = `umask ${around.umask} && exec "$0" build --version 1.4.2`;
  await requireCommand(["sh", "-c", script, slipway], {
    cwd: folder,
    timeoutMs: 120_000,
    env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", ...around.env },
  });
  return contentsOf(join(folder, "dist"));
}

for (const compression of ["gzip", "zstd"]) {
  test(`C1 two builds with ${compression} from other folders, in other time zones, locales and umasks, are the same byte for byte`, async (t) => {
    const recipe = sampleRecipe.replace("  formats:", `  compression: ${compression}\n  formats:`);
    const first = await sampleProduct(t, recipe);
    const second = join(await temporaryFolder(t), "another place", "with a longer name");
    await cp(first, second, { recursive: true });
    for (const name of await readdir(second, { recursive: true })) {
      await utimes(join(second, name), new Date(86_400_000), new Date(86_400_000));
    }
    await chmod(join(second, "docs/GUIDE.md"), 0o600);
    const epoch = { SOURCE_DATE_EPOCH: String(epochSeconds) };
    const one = await build(first, { umask: "022", env: { ...epoch, TZ: "UTC", LC_ALL: "C" } });
    const two = await build(second, { umask: "077", env: { ...epoch, TZ: "Pacific/Chatham", LC_ALL: "tr_TR.UTF-8", LANG: "tr_TR.UTF-8" } });
    assert.deepEqual([...one.keys()].sort(), [...two.keys()].sort());
    assert.ok(one.size >= 14, `${one.size} files`);
    for (const [name, bytes] of one) assert.ok(two.get(name)?.equals(bytes) === true, `${name} differs`);
  });
}

test("without SOURCE_DATE_EPOCH the time is that of the tag's commit, and the version is the tag", async (t) => {
  if (!needClient(t, "git", "dpkg-deb")) return;
  const folder = await sampleProduct(t);
  const date = "2024-02-29T12:00:00+05:00";
  const git = (...args: readonly string[]): Promise<string> =>
    requireCommand(["git", "-c", "user.name=t", "-c", "user.email=t@t.example", ...args], {
      cwd: folder,
      timeoutMs: 60_000,
      env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: folder, GIT_CONFIG_NOSYSTEM: "1", GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date },
    });
  await git("init", "-q");
  await git("add", ".");
  await git("commit", "-qm", "one");
  await git("tag", "-a", "v2.0.0", "-m", "v2.0.0");
  await requireCommand([slipway, "build", "--only", "deb"], {
    cwd: folder,
    timeoutMs: 120_000,
    env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: folder },
  });
  const listed = await requireCommand(["dpkg-deb", "-c", join(folder, "dist/2.0.0/acme_2.0.0_amd64.deb")], {
    timeoutMs: 60_000,
    env: { PATH: process.env["PATH"] ?? "", TZ: "UTC" },
  });
  for (const line of listed.trimEnd().split("\n")) assert.match(line, / 2024-02-29 07:00 /);
});
