/** What tests/run.ts promises of a file that hangs: it is ended, and with it all that it started and mounted. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { needClient, needRoot } from "./clients.ts";
import { runTestFile } from "./test-file.ts";

const hanging = `import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
test("hangs", async () => {
  const child = spawn("sleep", ["600"], { detached: true, stdio: "ignore", env: { PATH: process.env.PATH } });
  mkdirSync(process.env.TMPDIR + "/mounted");
  const { status } = spawnSync("mount", ["-t", "tmpfs", "slipway-test-file", process.env.TMPDIR + "/mounted"]);
  writeFileSync(process.env.SEEN, child.pid + " " + status);
  await new Promise(() => setInterval(() => undefined, 1000));
});
`;

test("a test file that hangs is ended with its processes, in whatever group, and its mounts", async (t) => {
  if (!needClient(t, "unshare", "mount") || !needRoot(t, "a mount")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-file-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const seen = join(folder, "seen");
  process.env["SEEN"] = seen;
  t.after(() => delete process.env["SEEN"]);
  await writeFile(join(folder, "hanging.ts"), hanging);
  const stop = new AbortController();
  const ended = runTestFile({
    path: join(folder, "hanging.ts"),
    folder: join(folder, "own"),
    limitMs: 120_000,
    signal: stop.signal,
    onOutcome: () => undefined,
    isStderrShown: false,
  });
  const read = (): Promise<string> => readFile(seen, "utf8").catch(() => "");
  for (const deadline = Date.now() + 60_000; (await read()) === ""; await new Promise((done) => setTimeout(done, 20)))
    assert.ok(Date.now() < deadline, "it did not begin");
  const [pid = "", status] = (await read()).split(" ");
  assert.equal(status, "0", "it mounted");
  stop.abort();
  assert.deepEqual((await ended).leftovers, ["process sleep", "mounted"]);
  // Empty for one that is dead and not yet buried.
  assert.equal(await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => ""), "");
  assert.doesNotMatch(await readFile("/proc/self/mountinfo", "utf8"), /slipway-test-file/);
});
