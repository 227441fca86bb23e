/** Every fault of a service on a booted systemd: hang, death after a while, a lie about the version, a reset of the host, and the shell guard. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Behaviour, lifeSeconds, withGuardedMachine } from "./guarded-machine.ts";

const bakeOf = (behaviour: Behaviour): number => (behaviour === "dies" ? lifeSeconds + 10 : 1);

for (const [behaviour, what] of [
  ["crashes", "55 a version that crashes at once"],
  ["foreign", "55 a program of another machine (ENOEXEC)"],
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
    await withGuardedMachine(t, { guard, bakeSeconds: 5, deadlineSeconds: 15 }, async ({ root, release, installUntil, running, journal, until }) => {
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
        await until("the old version is healthy", async () => (await journal()).phase === "failed" && (await running()) === "1.4.2");
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
    await root.require("systemctl start --no-block toy.service"); // the updater may have been killed before its own start
    await until("the guard leads back", async () => (await running()) === "1.4.2");
    assert.equal(await root.require("readlink /opt/toy/current"), "versions/1.4.2");
    assert.deepEqual([(await journal()).step, await root.require("grep TRIES /var/lib/toy/updates/guard/trial.env")], ["trial", "TRIES_LEFT=0"]);
    await root.require("mv /root/toy-rollback.service /etc/systemd/system/ && systemctl daemon-reload && systemctl start toy-rollback.service");
    const { phase, rolledBack } = await journal();
    assert.deepEqual([phase, rolledBack, await running()], ["failed", true, "1.4.2"]);
    assert.equal((await root.run("ls /var/lib/toy/updates/guard")).stdout.trim(), "guard.sh", "nothing is left for the guard to do");
  });
});

/** Counted from the first write of the journal: from the download to the time in which the new version is watched. */
const resetAfterMs = [0, 500, 1500];

for (const behaviour of ["good", "crashes"] as const) {
  test(`48 the host is reset in the middle of an upgrade to a release that ${behaviour === "good" ? "is good" : behaviour}: after the boot and a resume the recorded version runs`, async (t) => {
    await withGuardedMachine(t, { guard: "--systemd", bakeSeconds: 3 }, async ({ root, release, slipway, running, journal, until }) => {
      const seen: string[] = [];
      for (const [index, ms] of resetAfterMs.entries()) {
        const version = `1.${5 + index}.0`;
        const before = await running();
        const { id } = await journal();
        await release(version, behaviour);
        await root.require("systemd-run -q --unit=upgrade /slipway/bin/slipway upgrade install --installation /etc/toy.yaml");
        await until("the upgrade has begun", async () => (await journal()).id !== id);
        await sleep(ms);
        const { phase, step } = await journal();
        await root.reset();
        seen.push(`${phase} ${step ?? ""}`);
        await until("a service answers after the boot", async () => (await running()) !== "");
        const resumed = await slipway("upgrade resume");
        assert.ok([0, 3, 40, 43].includes(resumed.code ?? -1), resumed.text);
        await until("what runs is old or new", async () => [before, behaviour === "good" ? version : before].includes(await running()));
        assert.equal(await root.require("readlink /opt/toy/current"), `versions/${await running()}`);
        assert.match((await journal()).phase, /^(applied|failed)$/);
      }
      t.diagnostic(`reset in: ${seen.join("; ")}`);
    });
  });
}

test("53 54 a full and a read-only disk below the product refuse the upgrade (exit 28, 77) while the old version runs on; mended, it goes through", async (t) => {
  await withGuardedMachine(t, { guard: "--systemd", bakeSeconds: 1 }, async ({ root, release, slipway, running }) => {
    await release("1.5.0", "good");
    const started = await root.require("systemctl show -p ExecMainStartTimestampMonotonic toy");
    const onSmallDisk =
      "cp -a /opt/toy /root/toy && mount -t tmpfs -o size=64k,mode=755 tmpfs /opt/toy && cp -a /root/toy/. /opt/toy && head -c 1m /dev/zero > /opt/toy/full";
    await root.run(onSmallDisk);
    const full = await slipway("upgrade install");
    assert.deepEqual([full.code, await running()], [28, "1.4.2"], full.text);
    await root.require("rm /opt/toy/full; mount -o remount,ro /opt/toy");
    const readOnly = await slipway("upgrade install");
    assert.deepEqual([readOnly.code, await running()], [77, "1.4.2"], readOnly.text);
    assert.equal(await root.require("systemctl show -p ExecMainStartTimestampMonotonic toy"), started, "the service was never stopped");
    await root.require("mount -o remount,rw,size=16m /opt/toy");
    const good = await slipway("upgrade install");
    assert.deepEqual([good.code, await running()], [0, "1.5.0"], good.text);
  });
});

test("54 a read-only /usr is no matter for a product in /opt, forward and back", async (t) => {
  await withGuardedMachine(t, { guard: "--systemd", bakeSeconds: 1 }, async ({ root, release, slipway, running }) => {
    await root.require("mount --bind /usr /usr && mount -o remount,bind,ro /usr && ! touch /usr/probe 2>/dev/null");
    await release("1.5.0", "good");
    const good = await slipway("upgrade install");
    assert.deepEqual([good.code, await running()], [0, "1.5.0"], good.text);
    await release("1.6.0", "crashes");
    const bad = await slipway("upgrade install");
    assert.deepEqual([bad.code, await running()], [40, "1.5.0"], bad.text);
  });
});
