/** Strategy `package` with the real apt and dpkg in a private root: upgrade, rollback, cut in the middle, a lock held by others, packaged files protected. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import { writeTestDeb } from "../support/test-packages.ts";
import { type PackagedMachine, packagedMachine, releasePackages, toyPackage } from "./packaged-machine.ts";
import { startVendor, type Vendor } from "./support.ts";

type Field = { readonly machine: PackagedMachine; readonly vendor: Vendor; readonly root: string };

/** The operator installed 1.4.2 by hand with dpkg and changed its configuration; 1.5.0 is on offer. */
async function withField(t: TestContext, fn: (field: Field) => Promise<void>, lines?: string): Promise<void> {
  if (!needClient(t, "unshare")) return;
  await withAptRoot(t, async ({ path: root }) => {
    const vendor = await startVendor(t);
    await releasePackages(vendor, "1.4.2");
    const machine = await packagedMachine(root, vendor, lines);
    await writeFile(join(root, "old.deb"), await writeTestDeb(toyPackage("1.4.2")));
    const installed = await machine.shell("dpkg -i /old.deb && echo 'port = 9999' >> /etc/toy/toy.conf && /usr/bin/toy");
    assert.equal(installed.exitCode, 0, installed.stderr);
    await fn({ machine, vendor, root });
  });
}

const status = async (machine: PackagedMachine): Promise<string> =>
  (await machine.shell("dpkg-query -W -f '${db:Status-Abbrev}${Version}' toy; dpkg --audit")).stdout.trim();
const configuration = async (machine: PackagedMachine): Promise<string> => (await machine.shell("tail -1 /etc/toy/toy.conf")).stdout.trim();
const errorOf = (last: Record<string, unknown>): { readonly code?: string; readonly detail?: string } => last["error"] ?? {};

test("76 package: auto finds the owner, apt installs the verified deb, the operator's configuration stays, and rollback puts the previous package back", async (t) => {
  await withField(t, async ({ machine, vendor }) => {
    await releasePackages(vendor, "1.5.0");
    const plan = await machine.upgrade("plan");
    const { strategy, strategyReason, artifact } = plan.last["plan"] as { strategy: string; strategyReason: string; artifact: { name: string } };
    assert.deepEqual([strategy, strategyReason, artifact.name], ["package", "/usr/bin/toy belongs to the package toy (dpkg)", "toy_1.5.0_amd64.deb"]);
    const done = await machine.upgrade("install");
    assert.equal(done.code, 0, done.text);
    assert.deepEqual([await machine.running(), await status(machine), await configuration(machine)], ["1.5.0", "ii 1.5.0", "port = 9999"]);
    assert.equal((await machine.shell("cat /etc/toy/toy.conf.dpkg-dist")).stdout, "# 1.5.0\nport = 8080\n");
    assert.equal((await machine.shell("dpkg -V toy")).stdout.trim(), "??5?????? c /etc/toy/toy.conf", "nothing but the configuration differs");
    const back = await machine.upgrade("rollback");
    assert.equal(back.code, 0, back.text);
    assert.deepEqual([await machine.running(), await status(machine), await configuration(machine)], ["1.4.2", "ii 1.4.2", "port = 9999"]);
    const seen = await machine.upgrade("status");
    assert.deepEqual([seen.last["installed"], seen.last["live"], seen.last["strategy"]], ["1.4.2", "1.4.2", "package"]);
  });
});

test("55 package: a version that crashes and one whose postinst fails are rolled back to the previous package", async (t) => {
  await withField(t, async ({ machine, vendor }) => {
    for (const [version, kind] of [
      ["1.5.0", "crashes"],
      ["1.6.0", "fails"],
    ] as const) {
      await releasePackages(vendor, version, kind);
      const bad = await machine.upgrade("install");
      assert.deepEqual([bad.code, errorOf(bad.last).code], [40, "health_failed"], bad.text);
      assert.deepEqual([await machine.running(), await status(machine), await configuration(machine)], ["1.4.2", "ii 1.4.2", "port = 9999"]);
    }
    await releasePackages(vendor, "1.7.0");
    assert.equal((await machine.upgrade("install")).code, 0);
    assert.equal(await machine.running(), "1.7.0");
  });
});

for (const script of ["preinst", "postinst"] as const) {
  test(`48 76 package: everything is killed while dpkg runs the ${script}; resume finishes, forward and back`, async (t) => {
    await withField(t, async ({ machine, vendor }) => {
      await releasePackages(vendor, "1.5.0");
      await machine.shell(`echo ${script}-1.5.0 > /cut`);
      assert.equal((await machine.upgrade("install")).code, 137);
      assert.match(await status(machine), script === "preinst" ? /^.H/ : /^iF/, "dpkg was cut in its middle");
      const guard = await machine.upgrade("resume --before-start");
      if (script === "preinst") assert.deepEqual([guard.code, errorOf(guard.last).code], [75, "unavailable"], "half unpacked files are not started");
      else assert.equal(guard.code, 0, guard.text);
      const forward = await machine.upgrade("resume");
      assert.equal(forward.code, 0, forward.text);
      assert.deepEqual([await machine.running(), await status(machine), await configuration(machine)], ["1.5.0", "ii 1.5.0", "port = 9999"]);

      await machine.shell(`echo ${script}-1.4.2 > /cut`);
      assert.equal((await machine.upgrade("rollback")).code, 137);
      const back = await machine.upgrade("resume");
      assert.equal(back.code, 40, back.text);
      assert.deepEqual([await machine.running(), await status(machine), await configuration(machine)], ["1.4.2", "ii 1.4.2", "port = 9999"]);
      assert.equal((await machine.upgrade("resume --if-needed")).code, 0);
    });
  });
}

test("76 package: a lock that another package manager holds is exit 75, and nothing was stopped; an interrupted dpkg is configured first", async (t) => {
  if (!needClient(t, "python3")) return;
  await withField(t, async ({ machine, vendor, root }) => {
    await releasePackages(vendor, "1.5.0");
    const hold = "import fcntl,sys,time\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\ntime.sleep(600)";
    const holder = spawn("python3", ["-c", hold, join(root, "var/lib/dpkg/lock-frontend")], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await once(holder.stdout, "data");
      const refused = await machine.upgrade("install");
      assert.deepEqual([refused.code, errorOf(refused.last).code], [75, "lock_held"], refused.text);
      assert.equal(await machine.running(), "1.4.2");
      assert.doesNotMatch(refused.text, /"step":"stop"/, "the service was left alone");
    } finally {
      holder.kill("SIGKILL");
      await once(holder, "exit");
    }
    // Somebody else's package, left half-configured by a power cut.
    const other = { ...toyPackage("2.0.0"), name: "other", files: [{ path: "/usr/bin/other", mode: 0o755, bytes: Buffer.from("#!/bin/sh\n") }] };
    await writeFile(join(root, "other.deb"), await writeTestDeb(other));
    await machine.shell("echo postinst-2.0.0 > /cut; dpkg -i /other.deb");
    assert.match((await machine.shell("dpkg --audit")).stdout, /other/);
    const done = await machine.upgrade("install");
    assert.equal(done.code, 0, done.text);
    assert.deepEqual([await machine.running(), await status(machine)], ["1.5.0", "ii 1.5.0"]);
  });
});

test("77 a file that a package owns is not replaced by strategy inplace without --unlink-package", async (t) => {
  const lines = "strategy: inplace\nroot: /usr\nartifact: { kind: binary, install_as: bin/toy }";
  await withField(
    t,
    async ({ machine, vendor }) => {
      await vendor.release("1.5.0", { kind: "binary", files: { toy: { content: "#!/bin/sh\necho 1.5.0 > /run/toy\n" } } });
      for (const words of ["plan", "install --adopt 1.4.2"]) {
        const refused = await machine.upgrade(words);
        assert.deepEqual([refused.code, errorOf(refused.last).code], [43, "package_owned"], refused.text);
      }
      assert.deepEqual([await machine.running(), (await machine.shell("dpkg -V toy")).stdout.trim()], ["1.4.2", "??5?????? c /etc/toy/toy.conf"]);
      const done = await machine.upgrade("install --adopt 1.4.2 --unlink-package");
      assert.equal(done.code, 0, done.text);
      assert.equal(await machine.running(), "1.5.0");
    },
    lines,
  );
});
