/** Strategy `package`, the slower half: bad packages, a cut in postinst, locks that others hold; and dnf with rpm. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { needClient } from "../support/clients.ts";
import { writeTestDeb, writeTestRpm } from "../support/test-packages.ts";
import { configuration, cutAndResume, dpkgStatus, errorOf, releasePackages, toyPackage, withDpkgField, withRpmField } from "./packaged-machine.ts";

test("55 package: a version that crashes and one whose postinst fails are rolled back to the previous package", async (t) => {
  await withDpkgField(t, async ({ machine, vendor }) => {
    for (const [version, kind] of [
      ["1.5.0", "crashes"],
      ["1.6.0", "fails"],
    ] as const) {
      await releasePackages(vendor, version, kind);
      const bad = await machine.upgrade("install");
      assert.deepEqual([bad.code, errorOf(bad.last).code], [40, "health_failed"], bad.text);
      assert.deepEqual([await machine.running(), await dpkgStatus(machine), await configuration(machine)], ["1.4.2", "ii 1.4.2", "port = 9999"]);
    }
    await releasePackages(vendor, "1.7.0");
    assert.equal((await machine.upgrade("install")).code, 0);
    assert.equal(await machine.running(), "1.7.0");
  });
});

test("48 76 package: everything is killed while dpkg configures; resume finishes, forward and back", (t) => cutAndResume(t, "postinst"));

test("76 package: a lock that another package manager holds is exit 75, and nothing was stopped; an interrupted dpkg is configured first", async (t) => {
  if (!needClient(t, "python3")) return;
  await withDpkgField(t, async ({ machine, vendor, root }) => {
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
    assert.deepEqual([await machine.running(), await dpkgStatus(machine)], ["1.5.0", "ii 1.5.0"]);
  });
});

for (const [kind, withField] of [
  ["dpkg", withDpkgField],
  ["rpm", withRpmField],
] as const) {
  test(`K14 verify installed asks ${kind}: an operator's configuration is no fault, a changed or missing program and a version that came by other means are`, async (t) => {
    await withField(t, async ({ machine, vendor }) => {
      await releasePackages(vendor, "1.5.0");
      assert.equal((await machine.upgrade("install")).code, 0);
      const good = await machine.slipway("verify installed");
      assert.deepEqual([good.code, good.last["result"], good.last["list"]], [0, "PASS", "package manager"], good.text);
      const problems = (seen: typeof good): unknown =>
        (seen.last["findings"] as { path: string; problem: string }[]).map(({ path, problem }) => `${problem} ${path}`);
      const leftOut = kind === "dpkg" ? ["excluded /usr/share/doc/toy", "excluded /usr/share/doc/toy/README"] : []; // by its path-exclude
      assert.deepEqual(problems(good), ["config /etc/toy/toy.conf", ...leftOut]);
      await machine.shell("echo '# somebody' >> /usr/bin/toy");
      const changed = await machine.slipway("verify installed");
      assert.deepEqual([changed.code, changed.last["result"]], [20, "FAIL"], changed.text);
      assert.ok((problems(changed) as string[]).includes("changed /usr/bin/toy"), changed.text);
      await machine.shell("rm /usr/bin/toy");
      const missing = await machine.slipway("verify installed");
      assert.ok((problems(missing) as string[]).includes("missing /usr/bin/toy"), missing.text);
    });
  });
}

test("48 76 package: dnf and rpm: upgrade, the operator's configuration stays, cut in the middle forward and back", async (t) => {
  await withRpmField(t, async ({ machine, vendor }) => {
    const rpmStatus = async (): Promise<string> => (await machine.shell("rpm -q toy; rpm -V toy || true")).stdout.trim();
    const changed = (version: string): string => `toy-${version}-1.x86_64\nS.5....T.  c /etc/toy/toy.conf`;
    await releasePackages(vendor, "1.5.0");
    const plan = await machine.upgrade("plan");
    assert.equal((plan.last["plan"] as { strategyReason: string }).strategyReason, "/usr/bin/toy belongs to the package toy (rpm)");
    await machine.shell("echo preinst-1.5.0 > /cut");
    assert.equal((await machine.upgrade("install")).code, 137);
    const forward = await machine.upgrade("resume");
    assert.equal(forward.code, 0, forward.text);
    assert.deepEqual([await machine.running(), await rpmStatus(), await configuration(machine)], ["1.5.0", changed("1.5.0"), "port = 9999"]);
    await releasePackages(vendor, "1.6.0");
    await machine.shell("echo postinst-1.6.0 > /cut");
    assert.equal((await machine.upgrade("install")).code, 137);
    const second = await machine.upgrade("resume");
    assert.equal(second.code, 0, second.text);
    assert.deepEqual([await machine.running(), await rpmStatus()], ["1.6.0", changed("1.6.0")]);
    await machine.shell("echo postinst-1.5.0 > /cut");
    assert.equal((await machine.upgrade("rollback")).code, 137);
    const back = await machine.upgrade("resume");
    assert.equal(back.code, 40, back.text);
    assert.deepEqual([await machine.running(), await rpmStatus(), await configuration(machine)], ["1.5.0", changed("1.5.0"), "port = 9999"]);
    await releasePackages(vendor, "1.7.0", "crashes");
    const bad = await machine.upgrade("install");
    assert.deepEqual([bad.code, errorOf(bad.last).code], [40, "health_failed"], bad.text);
    assert.deepEqual([await machine.running(), await rpmStatus()], ["1.5.0", changed("1.5.0")]);
  });
});

test("76 package: what dnf cannot bring is refused before the service stops, also where a file is another package's; what its repositories have comes along", async (t) => {
  if (!needClient(t, "createrepo_c")) return;
  await withRpmField(t, async ({ machine, vendor, root }) => {
    const needs = { ...toyPackage("1.5.0"), depends: ["toy-engine"] };
    const name = "toy-1.5.0-1.x86_64.rpm";
    await vendor.release("1.5.0", { packages: { [name]: { kind: "rpm", bytes: await writeTestRpm(needs) } } });
    const refused = async (words: RegExp): Promise<void> => {
      const seen = await machine.upgrade("install");
      assert.equal(seen.code, 24, seen.text);
      assert.match(seen.text, words);
      assert.doesNotMatch(seen.text, /"step":"stop"/);
      assert.equal(await machine.running(), "1.4.2");
    };
    await refused(/dnf would not install .*toy-engine/);
    const engine = {
      name: "toy-engine",
      version: parseVersion("1.0.0"),
      files: [{ path: "/usr/bin/toy-engine", mode: 0o755, bytes: Buffer.from("#!/bin/sh\n") }],
    };
    await mkdir(join(root, "srv/repository"));
    await writeFile(join(root, "srv/repository/toy-engine-1.0.0-1.x86_64.rpm"), await writeTestRpm(engine));
    await requireCommand(["createrepo_c", "--quiet", join(root, "srv/repository")], { timeoutMs: 60_000 });
    await mkdir(join(root, "etc/yum.repos.d"), { recursive: true });
    await writeFile(join(root, "etc/yum.repos.d/engine.repo"), "[engine]\nname=engine\nbaseurl=file:///srv/repository\ngpgcheck=0\n");

    const rival = { ...engine, name: "rival", files: [{ path: "/etc/toy/toy.conf", mode: 0o644, bytes: Buffer.from("# rival\n") }] };
    await writeFile(join(root, "rival.rpm"), await writeTestRpm(rival));
    const blocked = await machine.shell("rpm --nosignature --force --justdb -i /rival.rpm");
    assert.equal(blocked.exitCode, 0, blocked.stderr);
    await refused(/would not install .*conflicts with file from package rival/);
    await machine.shell("rpm --justdb -e rival");

    const done = await machine.upgrade("install");
    assert.equal(done.code, 0, done.text);
    assert.equal((await machine.shell("rpm -q toy toy-engine")).stdout.trim(), "toy-1.5.0-1.x86_64\ntoy-engine-1.0.0-1.x86_64");
    assert.equal(await machine.running(), "1.5.0");
  });
});
