/** `slipway drill rollback` where a package owns the files: the package manager only rehearses the package of before, the state goes back on a copy, and the copy runs from the kept package. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { writeTestRpm } from "../support/test-packages.ts";
import { dpkgStatus, type PackagedMachine, releasePackages, withDpkgField, withRpmField } from "./packaged-machine.ts";

const rpmStatus = async (machine: PackagedMachine): Promise<string> => (await machine.shell("rpm -q toy; rpm -V toy || true")).stdout.trim();

/** Of another vendor, and in the way of the version before: it holds a file that only that one brings back. */
const rival = {
  name: "rival",
  version: parseVersion("1.0.0"),
  files: [{ path: "/etc/toy/toy.conf", mode: 0o644, bytes: Buffer.from("# rival\n"), config: "noreplace" as const }],
};

for (const { kind, withField, status, unpack, kept, install } of [
  {
    kind: "dpkg",
    withField: withDpkgField,
    status: dpkgStatus,
    unpack: "dpkg-deb --extract {package} {folder}/run",
    kept: "toy_1.4.2_amd64.deb",
    install: undefined,
  },
  {
    kind: "rpm",
    withField: withRpmField,
    status: rpmStatus,
    unpack: "mkdir {folder}/run && rpm2archive - < {package} | tar --extract --gzip --directory {folder}/run",
    kept: "toy-1.4.2-1.x86_64.rpm",
    install: "rpm --nosignature --force --justdb -i /rival.rpm",
  },
]) {
  test(`K7 76 a drill of strategy package installs nothing under ${kind}, says what it did not do, and proves the kept package and the state on a copy`, async (t) => {
    await withField(
      t,
      async ({ machine, vendor, root }) => {
        await machine.shell("mkdir -p /srv/toy && echo 1.4.2 > /srv/toy/format");
        await releasePackages(vendor, "1.5.0");
        const installed = await machine.upgrade("install");
        assert.equal(installed.code, 0, installed.text);
        const before = [await status(machine), await readFile(join(root, "var/lib/toy/updates/state.json"), "utf8")];
        const incomplete = await machine.slipway("drill rollback");
        assert.deepEqual([incomplete.code, incomplete.last["result"], incomplete.last["to"]], [44, "INCOMPLETE", "1.4.2"], incomplete.text);
        assert.match(String(incomplete.last["notDone"]), new RegExp(`${kind} rehearsed the package and installed nothing`));
        // The copy's program comes out of the kept package, and says its version where the drill looks.
        const start = `rm -rf {folder}/run && ${unpack} && sed -n 's/echo \\(.*\\) >.*/\\1/p' {folder}/run/usr/bin/toy > /drilled && test -e {section:toy}/format`;
        const checks = [{ command: { argv: ["cat", "/drilled"], version: "([0-9.]+)" } }];
        const drill = {
          service: { stop: ["rm", "-f", "/drilled"], start: ["sh", "-c", start] },
          health: { checks, consecutive: 1, bake_seconds: 0, interval_seconds: 0.1 },
        };
        const file = join(root, "etc/toy.yaml");
        await writeFile(file, `${await readFile(file, "utf8")}drill: ${JSON.stringify(drill)}\n`);
        const passed = await machine.slipway("drill rollback");
        assert.deepEqual([passed.code, passed.last["result"]], [0, "PASS"], passed.text);
        assert.equal((await readFile(join(root, "drilled"), "utf8")).trim(), "1.4.2");
        assert.deepEqual(
          [await status(machine), await readFile(join(root, "var/lib/toy/updates/state.json"), "utf8")],
          before,
          "nothing was installed or recorded",
        );
        const listed = await machine.shell("ls /var/lib/toy/updates /var/lib/toy/updates/packages");
        assert.ok(!listed.stdout.includes("drill-") && listed.stdout.includes("1.4.2"), listed.stdout);
        if (install !== undefined) {
          await writeFile(join(root, "rival.rpm"), await writeTestRpm(rival));
          const there = await machine.shell(install);
          assert.equal(there.exitCode, 0, there.stderr);
          const blocked = await machine.slipway("drill rollback");
          assert.equal(blocked.code, 41, blocked.text);
          assert.match(blocked.text, /conflicts with file from package rival/);
          await machine.shell("rpm --justdb -e rival");
        }
        // A kept package that was changed is what a drill is there to find.
        await machine.shell(`echo x >> /var/lib/toy/updates/packages/1.4.2/${kept}`);
        const damaged = await machine.slipway("drill rollback");
        assert.equal(damaged.code, 41, damaged.text);
        assert.match(damaged.text, /the drill failed on its copy: .*gone or not what it was/);
      },
      "strategy: package\nbackup: { sections: [{ name: toy, path: /srv/toy }] }",
    );
  });
}
