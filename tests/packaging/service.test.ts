/** What the packages do with a service, moment by moment, with the real dpkg and rpm in private roots where systemctl is a stub that logs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { needRoot } from "../formats/private-root.ts";
import { loggingScripts, servicePackages, serviceRoot, writeProgram } from "./service-fixture.ts";

const rootService = "service:\n  unit: { exec: /usr/bin/acmed }\n  purge: [/var/lib/acme]\n";
const beginning = "service:\n  unit: { exec: /usr/bin/acmed }\n  enable: true\n  start: true\n";

test("J4 dpkg runs yours and ours in the measured order; an upgrade restarts what runs, a removal stops and disables, a purge deletes what it may (regression 18)", async (t) => {
  if (!needRoot(t, "dpkg")) return;
  const root = await serviceRoot(t, "systemd");
  const recipe = { service: rootService, ...loggingScripts };
  const [old, next] = [await servicePackages(t, "1.0.0", recipe), await servicePackages(t, "1.1.0", recipe)];

  await root.dpkg("-i", old.deb);
  assert.deepEqual(await root.takeLog(), ["preinstall install", "postinstall configure ", "systemctl daemon-reload"]);
  assert.match(await root.read("usr/lib/systemd/system/acme.service"), /^ExecStart=\/usr\/bin\/acmed$/m);

  await root.write("state/acme.service.active", "");
  await root.dpkg("-i", next.deb);
  assert.deepEqual(await root.takeLog(), [
    "preremove upgrade 1.1.0",
    "systemctl is-active --quiet acme.service",
    "preinstall upgrade 1.0.0 1.1.0",
    "postremove upgrade 1.1.0",
    "postinstall configure 1.0.0",
    "systemctl daemon-reload",
    "systemctl restart acme.service",
  ]);
  assert.equal(await root.exists("run/slipway-acme/acme.service.active"), false, "the note is gone");

  await root.write("var/lib/acme/data", "precious");
  await root.dpkg("-r", "acme");
  assert.deepEqual(await root.takeLog(), [
    "preremove remove",
    "systemctl stop acme.service",
    "systemctl disable acme.service",
    "postremove remove",
    "systemctl daemon-reload",
  ]);
  assert.equal(await root.exists("state/acme.service.active"), false);
  assert.equal(await root.read("var/lib/acme/data"), "precious", "a removal keeps the data");
  await root.write("var/lib/other/data", "somebody else's");
  await root.dpkg("-P", "acme");
  assert.deepEqual(await root.takeLog(), ["postremove purge"]);
  assert.equal(await root.exists("var/lib/acme/data"), false);
  assert.equal(await root.exists("var/lib/other/data"), true);
});

test("J4 rpm runs yours and ours in the measured order; the restart comes after the whole transaction (regression 18)", async (t) => {
  if (!needRoot(t, "rpm")) return;
  const root = await serviceRoot(t, "systemd");
  const recipe = { service: rootService, ...loggingScripts };
  const [old, next] = [await servicePackages(t, "1.0.0", recipe), await servicePackages(t, "1.1.0", recipe)];

  await root.rpm("--nodeps", "-i", old.rpm);
  assert.deepEqual(await root.takeLog(), ["preinstall 1", "postinstall 1", "systemctl daemon-reload"]);

  await root.write("state/acme.service.active", "");
  await root.write("state/acme.service.enabled", "");
  await root.rpm("--nodeps", "-U", next.rpm);
  assert.deepEqual(await root.takeLog(), [
    "systemctl is-active --quiet acme.service",
    "systemctl is-enabled --quiet acme.service",
    "preinstall 2",
    "postinstall 2",
    "systemctl daemon-reload",
    "preremove 1",
    "postremove 1",
    "systemctl daemon-reload",
    "systemctl is-enabled --quiet acme.service",
    "systemctl restart acme.service",
  ]);

  await root.write("var/lib/acme/data", "precious");
  await root.rpm("--nodeps", "-e", "acme");
  assert.deepEqual(await root.takeLog(), ["preremove 0", "systemctl disable --now acme.service", "postremove 0", "systemctl daemon-reload"]);
  assert.equal(await root.read("var/lib/acme/data"), "precious", "rpm has no purge");
});

test("J4 a stopped service stays stopped over an upgrade by dpkg and rpm, and `restart: never` leaves a running one alone", async (t) => {
  if (!needRoot(t, "dpkg", "rpm")) return;
  for (const [service, isActive] of [
    [rootService, false],
    [`${rootService}  restart: never\n`, true],
  ] as const) {
    const root = await serviceRoot(t, "systemd");
    const [old, next] = [await servicePackages(t, "1.0.0", { service }), await servicePackages(t, "1.1.0", { service })];
    await root.dpkg("-i", old.deb);
    await root.rpm("--nodeps", "-i", "--replacefiles", old.rpm);
    if (isActive) await root.write("state/acme.service.active", "");
    await root.takeLog();
    await root.dpkg("-i", next.deb);
    await root.rpm("--nodeps", "-U", "--replacefiles", next.rpm);
    const log = await root.takeLog();
    assert.ok(log.includes("systemctl daemon-reload"));
    assert.deepEqual(
      log.filter((line) => !/daemon-reload|is-active|is-enabled/.test(line)),
      [],
    );
    assert.equal(await root.exists("state/acme.service.active"), isActive);
  }
});

test("J4 an old rpm that stops and disables its service at every preun (a classic) is healed by ours", async (t) => {
  if (!needRoot(t, "rpm")) return;
  const root = await serviceRoot(t, "systemd");
  const preun = "#!/bin/sh\nsystemctl stop acme.service\nsystemctl disable acme.service\n";
  const old = await servicePackages(t, "1.0.0", { scripts: { preremove: "preun.sh" }, files: { "preun.sh": preun } });
  const next = await servicePackages(t, "1.1.0", { service: rootService });
  await root.rpm("--nodeps", "-i", old.rpm);
  await root.write("state/acme.service.active", "");
  await root.write("state/acme.service.enabled", "");
  await root.rpm("--nodeps", "-U", next.rpm);
  assert.deepEqual((await root.takeLog()).slice(-6), [
    "systemctl stop acme.service",
    "systemctl disable acme.service",
    "systemctl daemon-reload",
    "systemctl is-enabled --quiet acme.service",
    "systemctl enable acme.service",
    "systemctl restart acme.service",
  ]);
});

test("J4 enable and start act in a new installation only, also after a removal that kept the configuration, and the operator's policy-rc.d is asked", async (t) => {
  if (!needRoot(t, "dpkg", "rpm")) return;
  const root = await serviceRoot(t, "systemd");
  const begun = ["systemctl daemon-reload", "systemctl preset acme.service", "systemctl start acme.service"];
  const recipe = { service: beginning, packageFiles: "    /etc/acme/acme.yaml: { from: packaging/acme.yaml, config: noreplace }\n" };
  const [old, next] = [await servicePackages(t, "1.0.0", recipe), await servicePackages(t, "1.1.0", recipe)];
  await root.dpkg("-i", old.deb);
  assert.deepEqual(await root.takeLog(), begun);
  assert.equal(await root.exists("state/acme.service.enabled"), true);

  await root.dpkg("-r", "acme");
  await root.takeLog();
  await root.dpkg("-i", next.deb);
  assert.deepEqual(await root.takeLog(), begun, "dpkg names the removed version to postinst; the installation is new all the same");
  await root.dpkg("-r", "acme");
  await root.takeLog();

  await writeProgram(root, "usr/sbin/policy-rc.d", 'echo "policy-rc.d $*" >> /log\nexit 101\n');
  await root.dpkg("-i", old.deb);
  assert.deepEqual(await root.takeLog(), ["systemctl daemon-reload", "systemctl preset acme.service", "policy-rc.d acme.service start"]);
  await root.write("state/acme.service.active", "");
  await root.dpkg("-i", next.deb);
  assert.equal((await root.takeLog()).at(-1), "policy-rc.d acme.service restart");
  await root.dpkg("-P", "acme");
  await root.takeLog();

  await root.rpm("--nodeps", "-i", old.rpm);
  assert.deepEqual(await root.takeLog(), begun);
  await root.rpm("--nodeps", "-U", next.rpm);
  assert.deepEqual(
    (await root.takeLog()).filter((line) => /preset|start /.test(line)),
    ["systemctl restart acme.service"],
  );
});

test("J4 a service that does not come up is told on stderr and leaves neither package manager half-way", async (t) => {
  if (!needRoot(t, "dpkg", "rpm")) return;
  const root = await serviceRoot(t, "systemd");
  await root.write("state/acme.service.broken", "");
  const { deb, rpm } = await servicePackages(t, "1.0.0", { service: beginning });
  await root.dpkg("-i", deb);
  assert.match(await root.dpkg("-s", "acme"), /^Status: install ok installed$/m);
  await root.rpm("--nodeps", "-i", "--replacefiles", rpm);
  assert.match(await root.rpm("-q", "acme"), /acme-1\.0\.0-1/);
});

test("J5 C11 install, upgrade, removal and purge succeed where there is no systemd, and where its programs are there but it does not run", async (t) => {
  if (!needRoot(t, "dpkg", "rpm")) return;
  const recipe = { service: beginning };
  const [old, next] = [await servicePackages(t, "1.0.0", recipe), await servicePackages(t, "1.1.0", recipe)];
  for (const hasPrograms of [false, true]) {
    const root = await serviceRoot(t, "none");
    if (hasPrograms) await writeProgram(root, "bin/systemctl", 'echo "systemctl $*" >> /log\nexit 1\n');
    await root.dpkg("-i", old.deb);
    await root.dpkg("-i", next.deb);
    await root.dpkg("-r", "acme");
    await root.dpkg("-P", "acme");
    await root.rpm("--nodeps", "-i", old.rpm);
    await root.rpm("--nodeps", "-U", next.rpm);
    await root.rpm("--nodeps", "-e", "acme");
    assert.deepEqual(await root.takeLog(), []);
    assert.equal(await root.exists("run/slipway-acme/new"), false);
  }
});
