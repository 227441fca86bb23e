/** Strategy `package` with the real apt and dpkg in a private root: upgrade, rollback, cut in the middle, packaged files protected. package.slow.ts has the rest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { configuration, cutAndResume, dpkgStatus, errorOf, releasePackages, withDpkgField } from "./packaged-machine.ts";

test("76 package: auto finds the owner, apt installs the verified deb, the operator's configuration stays, and rollback puts the previous package back", async (t) => {
  await withDpkgField(t, async ({ machine, vendor }) => {
    // The operator installed 1.4.2 by other means: what it promises is learnt with the package that is kept for the way back.
    const outcomes = [{ name: "answers", checks: [{ name: "says", command: { argv: ["grep", "1.4.2", "/run/toy"] } }] }];
    await releasePackages(vendor, "1.4.2", "good", (manifest) => ({ ...manifest, outcomes }));
    await releasePackages(vendor, "1.5.0");
    const plan = await machine.upgrade("plan");
    const { strategy, strategyReason, artifact } = plan.last["plan"] as { strategy: string; strategyReason: string; artifact: { name: string } };
    assert.deepEqual([strategy, strategyReason, artifact.name], ["package", "/usr/bin/toy belongs to the package toy (dpkg)", "toy_1.5.0_amd64.deb"]);
    const done = await machine.upgrade("install");
    assert.equal(done.code, 0, done.text);
    assert.deepEqual([await machine.running(), await dpkgStatus(machine), await configuration(machine)], ["1.5.0", "ii 1.5.0", "port = 9999"]);
    assert.equal((await machine.shell("cat /etc/toy/toy.conf.dpkg-dist")).stdout, "# 1.5.0\nport = 8080\n");
    assert.equal(
      (await machine.shell("dpkg -V toy | grep -v /usr/share/doc")).stdout.trim(),
      "??5?????? c /etc/toy/toy.conf",
      "nothing but the configuration differs",
    );
    const back = await machine.upgrade("rollback");
    assert.equal(back.code, 0, back.text);
    assert.deepEqual([await machine.running(), await dpkgStatus(machine), await configuration(machine)], ["1.4.2", "ii 1.4.2", "port = 9999"]);
    const seen = await machine.upgrade("status");
    assert.deepEqual([seen.last["installed"], seen.last["live"], seen.last["strategy"]], ["1.4.2", "1.4.2", "package"]);
    const outcome = await machine.slipway("verify --outcome answers");
    assert.deepEqual([outcome.code, outcome.last["result"]], [0, "PASS"], outcome.text);
  });
});

test("48 76 package: everything is killed while dpkg unpacks; resume finishes, forward and back", (t) => cutAndResume(t, "preinst"));

test("77 a file that a package owns is not replaced by strategy inplace without --unlink-package", async (t) => {
  const lines = "strategy: inplace\nroot: /usr\nartifact: { kind: binary, install_as: bin/toy }";
  await withDpkgField(
    t,
    async ({ machine, vendor }) => {
      await vendor.release("1.5.0", { kind: "binary", files: { toy: { content: "#!/bin/sh\necho 1.5.0 > /run/toy\n" } } });
      for (const words of ["plan", "install --adopt 1.4.2"]) {
        const refused = await machine.upgrade(words);
        assert.deepEqual([refused.code, errorOf(refused.last).code], [43, "package_owned"], refused.text);
      }
      assert.deepEqual(
        [await machine.running(), (await machine.shell("dpkg -V toy | grep -v /usr/share/doc")).stdout.trim()],
        ["1.4.2", "??5?????? c /etc/toy/toy.conf"],
      );
      const done = await machine.upgrade("install --adopt 1.4.2 --unlink-package");
      assert.equal(done.code, 0, done.text);
      assert.equal(await machine.running(), "1.5.0");
    },
    lines,
  );
});
