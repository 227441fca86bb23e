/** Every fault of a service on a booted systemd: hang, death after a while, a lie about the version, a reset of the host, and the shell guard. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Behaviour, lifeSeconds, withGuardedMachine } from "./guarded-machine.ts";

const bakeOf = (behaviour: Behaviour): number => (behaviour === "dies" ? lifeSeconds + 10 : 1);

for (const [behaviour, what] of [
  ["crashes", "55 a version that crashes at once"],
  ["hangs", "55 a version that starts and never answers"],
  ["lies", "57 a version that answers as another one"],
  ["dies", `56 a version that is healthy and dies after ${lifeSeconds} s: the bake time sees it`],
] as const satisfies readonly (readonly [Behaviour, string])[]) {
  test(`${what} is rolled back, and the old one is healthy`, async (t) => {
    await withGuardedMachine(t, { guard: "--systemd", bakeSeconds: bakeOf(behaviour) }, async ({ root, release, slipway, running, journal }) => {
      await release("1.5.0", behaviour);
      const bad = await slipway("upgrade install");
      assert.equal(bad.code, 40, bad.text);
      if (behaviour === "dies") assert.match(bad.text, /restarted 1 times|not any more/);
      const { phase, rolledBack } = await journal();
      assert.deepEqual([phase, rolledBack, await running()], ["failed", true, "1.4.2"]);
      assert.equal(await root.require("readlink /opt/toy/current"), "versions/1.4.2");
    });
  });
}

for (const guard of ["--systemd", "--systemd --shell"]) {
  test(`58 ${guard}: the host is reset during the trial of a good version: the start at boot is counted once, and it is committed`, async (t) => {
    await withGuardedMachine(t, { guard, bakeSeconds: 5 }, async ({ root, release, installUntil, running, journal, until }) => {
      await release("1.5.0", "good");
      await installUntil("trial");
      await until("the first start", async () => (await running()) === "1.5.0");
      await root.reset();
      await until("it is committed", async () => (await journal()).phase === "applied");
      assert.equal(await running(), "1.5.0");
      assert.equal((await journal()).trial?.triesLeft, 1, "one start by the updater, one by the guard at boot");
    });
  });

  test(`58 ${guard}: the host is reset in the trial of a version that never answers: the old version runs at the end`, async (t) => {
    await withGuardedMachine(t, { guard, bakeSeconds: 1 }, async ({ root, release, installUntil, running, journal, until }) => {
      for (const [version, triesLeft] of [
        ["1.5.0", 2],
        ["1.6.0", 1],
      ] as const) {
        await release(version, "hangs");
        await installUntil("trial");
        await until(`${triesLeft} tries left`, async () => (await journal()).trial?.triesLeft === triesLeft);
        await root.reset();
        await until("the old version is healthy", async () => (await journal()).phase === "failed" && (await running()) === "1.4.2", 60);
        assert.equal((await journal()).rolledBack, true);
      }
    });
  });
}

test("the shell guard without any slipway: it counts every start, leads back when the tries are used up, and slipway takes that over", async (t) => {
  await withGuardedMachine(t, { guard: "--systemd --shell", bakeSeconds: 1 }, async ({ root, release, installUntil, running, journal, until }) => {
    await release("1.5.0", "crashes");
    await root.require("mv /etc/systemd/system/toy-rollback.service /root/ && systemctl daemon-reload");
    await installUntil("trial");
    await root.require("systemctl kill -s KILL upgrade.service");
    await until("the guard leads back", async () => (await running()) === "1.4.2");
    assert.equal(await root.require("readlink /opt/toy/current"), "versions/1.4.2");
    assert.deepEqual([(await journal()).step, await root.require("grep TRIES /var/lib/toy/updates/guard/trial.env")], ["trial", "TRIES_LEFT=0"]);
    await root.require("mv /root/toy-rollback.service /etc/systemd/system/ && systemctl daemon-reload && systemctl start toy-rollback.service");
    const { phase, rolledBack } = await journal();
    assert.deepEqual([phase, rolledBack, await running()], ["failed", true, "1.4.2"]);
    assert.equal((await root.run("ls /var/lib/toy/updates/guard")).stdout.trim(), "guard.sh", "nothing is left for the guard to do");
  });
});
