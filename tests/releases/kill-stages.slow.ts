/** Kill -9 at any moment of promotion, rollout, customer views and retention in stages: what is named is there, and the work goes on. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../src/io/clock.ts";
import { listReleases } from "../../src/releases/releases.ts";
import { openStore, type Store } from "../../src/store/store.ts";
import { needPostgres } from "../support/stores.ts";
import { product } from "./sample-release.ts";
import { assertEverythingWhole } from "./view-check.ts";

const driver = join(import.meta.dirname, "stage-driver.ts");
const rounds = 6;

for (const database of ["SQLite", "PostgreSQL"] as const) {
  test(`C6 C9 killed in the middle of a promotion, a rollout, a view or a retirement, nothing that is named is missing (${database})`, async (t) => {
    const databaseUrl = database === "PostgreSQL" ? await needPostgres(t) : undefined;
    if (database === "PostgreSQL" && databaseUrl === undefined) return;
    const dataDir = await mkdtemp(join(tmpdir(), "slipway-stages-"));
    t.after(() => rm(dataDir, { recursive: true, force: true }));
    const open = (): Promise<Store> => openStore({ dataDir, clock: systemClock, ...(databaseUrl === undefined ? {} : { databaseUrl }) });
    let from = 0;
    let views = 0;
    for (let round = 0; round < rounds; round += 1) {
      const child = spawn(process.execPath, [driver, dataDir, databaseUrl ?? "", String(from)], { stdio: ["ignore", "pipe", "inherit"] });
      let text = "";
      child.stdout.on("data", (piece: Buffer) => {
        text += piece.toString("utf8");
      });
      // The first rounds run long enough to have something to announce and retire.
      const lines = round < 2 ? 3 : 1;
      while (text.split("\n").filter((line) => /^\d/.test(line)).length < lines && child.exitCode === null) await sleep(5);
      await sleep(15 + ((round * 53) % 300));
      assert.equal(child.exitCode, null, "it works until it is killed");
      child.kill("SIGKILL");
      await once(child, "close");
      assert.equal(child.signalCode, "SIGKILL", "it was killed, not ended by an error");
      const store = await open();
      views += (await assertEverythingWhole(store)).views;
      from = (await listReleases(store, product)).filter((release) => release.state !== "draft").length;
      await store.close();
    }
    const store = await open();
    const releases = await listReleases(store, product);
    assert.ok(views > 0, "there were views to look at");
    assert.ok(releases.some((release) => release.state === "retired") && releases.some((release) => release.stage !== undefined), "and stages");
    await store.close();
  });
}
