/** The guard with a real systemd in a booted container, in short; guard.slow.ts does every fault. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { withGuardedMachine } from "./guarded-machine.ts";

test("55 K5 systemd: a good upgrade passes the guard; of one that crashes after its updater was killed, every start is counted, and the old version runs again; killed between stop and start, another one goes on at once", async (t) => {
  await withGuardedMachine(t, { guard: "--systemd", bakeSeconds: 1 }, async ({ root, release, slipway, installUntil, running, journal, until }) => {
    await release("1.5.0", "good");
    const good = await slipway("upgrade install");
    assert.equal(good.code, 0, good.text);
    assert.equal(await running(), "1.5.0");
    assert.equal((await journal()).trial?.triesLeft, 2, "the guard let the updater count");

    await release("1.6.0", "crashes");
    await root.require("mv /etc/systemd/system/toy-rollback.service /root/ && systemctl daemon-reload"); // the guard alone, no second updater
    await installUntil("trial");
    await root.require("systemctl kill -s KILL upgrade.service");
    await root.require("systemctl start --no-block toy.service"); // the updater may have been killed before its own start
    await until("the guard leads back", async () => (await running()) === "1.5.0");
    const left = await journal();
    assert.deepEqual([left.phase, left.step, left.trial?.triesLeft], ["applying", "rollback", 0]);
    assert.equal(await root.require("readlink /opt/toy/current"), "versions/1.5.0");

    await root.require("mv /root/toy-rollback.service /etc/systemd/system/ && systemctl daemon-reload && systemctl start toy-rollback.service");
    const { phase, rolledBack } = await journal();
    assert.deepEqual([phase, rolledBack, await running()], ["failed", true, "1.5.0"]);
    assert.equal((await slipway("upgrade install --version 1.6.0")).code, 43, "and it is not offered again");

    await release("1.7.0", "good");
    await root.require("printf '[Service]\nExecStopPost=-+systemctl kill -s KILL upgrade.service\n' > /etc/systemd/system/toy.service.d/60-kill.conf");
    await root.require("systemctl reset-failed upgrade.service; systemctl daemon-reload");
    await root.require("systemd-run -q --unit=upgrade /slipway/bin/slipway upgrade install --installation /etc/toy.yaml");
    await until("what waits beside the killed updater goes on", async () => (await journal()).phase === "applied" && (await running()) === "1.7.0");
    assert.equal(await root.require("systemctl show -P Result upgrade.service"), "signal", "the updater was killed");
  });
});
