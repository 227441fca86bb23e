/** A refresh of TUF metadata killed at every system call that makes something durable: nothing is torn, and nothing that was seen is forgotten. */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { needClient } from "../support/clients.ts";
import { straceEnvironment, withFault } from "../support/strace.ts";
import { newKey, TestTuf } from "../support/tuf-repository.ts";
import { failure, makeSite, noSignal, startVendor } from "./support.ts";

const signal = noSignal;
const driver = join(import.meta.dirname, "tuf-kill-driver.ts");
const durableCalls = "fsync,fdatasync,?rename,?renameat,?renameat2,?symlink,?symlinkat,?mkdir,?unlink,?rmdir";

test("a refresh that is killed at any durable call goes on from the old set or the new one, and accepts nothing older than before", async (t) => {
  if (!needClient(t, "strace")) return;
  const vendor = await startVendor(t);
  let tuf = new TestTuf({ product: "toy", now: new Date() });
  let served: ReadonlyMap<string, Uint8Array> = tuf.files;
  vendor.faults.answer = (request, response) => {
    const [, area, , , , name = ""] = (request.url ?? "").split("/");
    if (area !== "tuf") return false;
    const bytes = served.get(name);
    if (bytes === undefined) response.writeHead(404).end();
    else response.writeHead(200).end(bytes);
    return true;
  };
  let calls = 0;
  for (let nth = 1; ; nth += 1) {
    tuf = new TestTuf({ product: "toy", now: new Date() });
    served = tuf.files;
    const site = await makeSite(vendor, { trust: `{ minisign: [${vendor.publicKey}], tuf: { root: toy.root.json } }` });
    try {
      await writeFile(join(site.folder, "toy.root.json"), tuf.firstRoot);
      vendor.releases.clear();
      const files = await vendor.release("1.4.2");
      const { sequence } = JSON.parse(files.get("release.json")?.toString("utf8") ?? "{}") as { sequence: number };
      tuf.release("1.4.2", sequence, files);
      const older = tuf.freeze();
      tuf.timestamp();
      await (await site.updater()).install({ signal });
      // A new root with other server keys, and everything below it new: the longest refresh there is.
      tuf.online = newKey();
      tuf.root();
      tuf.delegate();
      tuf.list();
      const argv = withFault(durableCalls, `signal=SIGKILL:when=${nth}`, [process.execPath, driver, site.file]);
      const { signal: killed, exitCode, isTimedOut } = await runCommand(argv, { timeoutMs: 120_000, env: straceEnvironment() });
      assert.ok(!isTimedOut, `call ${nth}: no end after two minutes`);
      const isKilled = killed === "SIGKILL" || exitCode === 137;
      if (!isKilled) {
        assert.equal(exitCode, 0);
        break;
      }
      calls += 1;
      const now = served;
      served = older;
      // Older than what was seen, or, once the new root is kept, by keys that count no more.
      const refusal = await (await site.updater()).check({ signal }).catch((error: unknown) => error);
      assert.ok(
        refusal instanceof SlipwayError && ["metadata_rollback", "metadata_threshold"].includes(refusal.code),
        `killed at call ${nth}: ${String(refusal)}`,
      );
      served = now;
      await (await site.updater()).check({ signal });
      assert.deepEqual(
        site.events.filter((event) => event.event === "warning"),
        [],
        `killed at call ${nth}: a kill damages nothing`,
      );
      await failure((await site.updater({ clock: { now: () => new Date(Date.now() + 26 * 3_600_000) } })).check({ signal }), "metadata_expired");
    } finally {
      await rm(site.folder, { recursive: true, force: true });
    }
  }
  assert.ok(calls >= 20, `${calls} durable calls were cut`);
  t.diagnostic(`${calls} durable calls`);
});
