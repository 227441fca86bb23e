/** Our packages on a machine with a running systemd: what becomes of the service and its data from the first installation to the purge. */
import assert from "node:assert/strict";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { type BootedRoot, withBootedRoot } from "../support/booted-root.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { zypperBase } from "../support/zypper-root.ts";
import { temporaryFolder } from "./fixture.ts";
import { acmeUser, describedService, type ServiceRecipe, servicePackages } from "./service-fixture.ts";

/** A folder with `<version>.deb` and `<version>.rpm` of each recipe. */
async function packageFolder(t: TestContext, recipes: Readonly<Record<string, ServiceRecipe>>): Promise<string> {
  const folder = join(await temporaryFolder(t), "packages");
  await mkdir(folder);
  for (const [version, recipe] of Object.entries(recipes)) {
    const { deb, rpm } = await servicePackages(t, version, recipe);
    await copyFile(deb, join(folder, `${version}.deb`));
    await copyFile(rpm, join(folder, `${version}.rpm`));
  }
  return folder;
}

/** What the daemon answers; it may need a moment after systemd has forked it. */
const answer = (root: BootedRoot): Promise<string> =>
  root.require('for try in 1 2 3 4 5 6 7 8 9 10; do bash -c "exec 3<>/dev/tcp/127.0.0.1/7070; cat <&3" 2>/dev/null && exit; sleep 0.3; done; exit 1');
const mainPid = (root: BootedRoot): Promise<string> => root.require("systemctl show --property=MainPID --value acme");
const stateOf = async (root: BootedRoot): Promise<string> =>
  [await root.run("systemctl is-active acme"), await root.run("systemctl is-enabled acme")].map((one) => one.stdout.trim()).join(" ");

const recipe: ServiceRecipe = {
  service: describedService,
  users: acmeUser,
  packageFiles: '    /etc/acme/acme.yaml: { from: packaging/acme.yaml, config: noreplace, owner: root, group: acme, mode: "0640" }\n',
};
const beginning: ServiceRecipe = { ...recipe, service: `${describedService}  enable: true\n  start: true\n` };

test("J4 deb on a booted systemd: enable, upgrade restart, stopped stays stopped, removal, reinstallation, purge", async (t) => {
  const folder = await packageFolder(t, { "1.0.0": recipe, "1.1.0": recipe, "1.2.0": recipe });
  await withBootedRoot(t, folder, async (root) => {
    await root.require("dpkg -i /packages/1.0.0.deb");
    assert.equal(await stateOf(root), "inactive disabled", "nothing was asked for");
    assert.equal(await root.require("getent passwd acme | cut -d: -f1,5-"), "acme:Acme service:/var/lib/acme:/usr/sbin/nologin");
    assert.equal(await root.require("id -nG acme"), "acme docker");
    assert.equal(await root.require("stat -c '%U:%G %a' /var/lib/acme /etc/acme/acme.yaml"), "acme:acme 750\nroot:acme 640");
    const verdict = await root.run("systemd-analyze verify /usr/lib/systemd/system/acme.service");
    assert.deepEqual([verdict.exitCode, verdict.stderr.replaceAll(/^.*man .*$\n?/gm, "")], [0, ""]);

    await root.require("systemctl enable --now acme");
    assert.equal(await answer(root), "acmed 1.0.0");
    assert.equal(await root.require(`ps -o user= -p ${await mainPid(root)}`), "acme");
    const before = await mainPid(root);
    await root.require("dpkg -i /packages/1.1.0.deb");
    assert.equal(await answer(root), "acmed 1.1.0");
    assert.notEqual(await mainPid(root), before);
    assert.equal(await stateOf(root), "active enabled");

    await root.require("systemctl stop acme && dpkg -i /packages/1.2.0.deb");
    assert.equal(await stateOf(root), "inactive enabled", "an upgrade starts nothing");

    await root.require("systemctl start acme");
    assert.equal(await answer(root), "acmed 1.2.0");
    await root.require("dpkg -r acme");
    assert.match(await stateOf(root), /^inactive /);
    assert.equal((await root.run("pgrep -u acme")).exitCode, 1, "no process is left");
    assert.equal(await root.require("find /etc/systemd/system -name 'acme*'"), "", "no link is left");
    await root.require("test -e /var/lib/acme/state && test -e /etc/acme/acme.yaml");

    await root.require("dpkg -i /packages/1.2.0.deb");
    assert.equal(await stateOf(root), "inactive disabled");
    await root.require("dpkg -P acme");
    assert.equal((await root.run("ls -d /var/lib/acme /etc/acme /usr/lib/systemd/system/acme.service /run/slipway-acme")).stdout, "");
    await root.require("getent passwd acme");
    assert.equal(await root.require("systemctl --failed --no-legend"), "");
  });
});

test("J4 deb on a booted systemd: enable and start begin a new installation, again after a removal; the operator's word stands over an upgrade", async (t) => {
  const folder = await packageFolder(t, { "1.0.0": beginning, "1.1.0": beginning });
  await withBootedRoot(t, folder, async (root) => {
    await root.require("dpkg -i /packages/1.0.0.deb");
    assert.equal(await stateOf(root), "active enabled");
    await root.require("systemctl disable --now acme && dpkg -i /packages/1.1.0.deb");
    assert.equal(await stateOf(root), "inactive disabled", "the operator had switched it off");
    await root.require("dpkg -r acme && dpkg -i /packages/1.0.0.deb");
    assert.equal(await stateOf(root), "active enabled", "a new installation");
    await root.require("dpkg -P acme && mkdir -p /etc/systemd/system-preset && echo 'disable *' > /etc/systemd/system-preset/00-local.preset");
    await root.require("dpkg -i /packages/1.0.0.deb");
    assert.equal(await stateOf(root), "active disabled", "presets of the operator's overrule ours");
  });
});

test("J4 rpm on a booted systemd: accounts before unpacking, restart after the transaction, a classic old preun healed, removal", async (t) => {
  const classic = { ...recipe, service: "", scripts: { preremove: "preun.sh" }, files: { "preun.sh": "#!/bin/sh\nsystemctl disable --now acme.service\n" } };
  const unit = "    /usr/lib/systemd/system/acme.service: acme.service\n";
  const files = {
    ...classic.files,
    "acme.service": "[Service]\nExecStart=/usr/bin/acmed\nUser=acme\nStateDirectory=acme\n[Install]\nWantedBy=multi-user.target\n",
  };
  const folder = await packageFolder(t, {
    "0.9.0": { ...classic, files, packageFiles: `${recipe.packageFiles ?? ""}${unit}` },
    "1.0.0": recipe,
    "1.1.0": recipe,
  });
  await withBootedRoot(t, folder, async (root) => {
    const rpm = "rpm --force-debian --nodeps --nosignature";
    await root.require(`${rpm} -i /packages/0.9.0.rpm`);
    assert.equal(await root.require("stat -c '%U:%G %a' /var/lib/acme /etc/acme/acme.yaml"), "acme:acme 750\nroot:acme 640");
    await root.require("systemctl daemon-reload && systemctl enable --now acme");
    assert.equal(await answer(root), "acmed 0.9.0");
    await root.require(`${rpm} -U /packages/1.0.0.rpm`);
    assert.equal(await answer(root), "acmed 1.0.0");
    assert.equal(await stateOf(root), "active enabled", "the old package had stopped and disabled it in the middle");

    const before = await mainPid(root);
    await root.require(`${rpm} -U /packages/1.1.0.rpm`);
    assert.equal(await answer(root), "acmed 1.1.0");
    assert.notEqual(await mainPid(root), before);
    await root.require(`systemctl stop acme && ${rpm} -U --oldpackage /packages/1.0.0.rpm`);
    assert.equal(await stateOf(root), "inactive enabled");
    await root.require(`systemctl start acme && ${rpm} -e acme`);
    assert.equal((await root.run("pgrep -u acme")).exitCode, 1);
    assert.equal(await root.require("find /etc/systemd/system -name 'acme*'"), "");
    await root.require("test -e /var/lib/acme/state && getent passwd acme");
  });
});

test("J4 rpm 4.20 makes the accounts by itself from our Provides, without our script", async (t) => {
  if (!needClient(t, "mmdebstrap", "unshare") || !needRoot(t, "a private root")) return;
  const base = await zypperBase();
  const packages = await packageFolder(t, { "1.0.0": recipe });
  const root = join(await temporaryFolder(t), "root");
  await requireCommand(["cp", "-a", base, root], { timeoutMs: 120_000 });
  await copyFile(join(packages, "1.0.0.rpm"), join(root, "acme.rpm"));
  // rpm's plug-in "unshare" wants "/" to be a mount point, its script /proc; the name space takes the mounts with it when it ends.
  const enter = 'mount --bind "$0" "$0"; mount -t proc proc "$0/proc"; exec chroot "$0" sh -ec "$1"';
  const inside = (script: string): Promise<string> =>
    requireCommand(["unshare", "--mount", "--propagation", "private", "sh", "-ec", enter, root, script], { timeoutMs: 120_000 });
  await inside("rpm --version | grep -q 4.20; ! getent passwd acme; rpm --nodeps --nosignature --nopre -i /acme.rpm");
  assert.equal((await inside("getent passwd acme | cut -d: -f1,5-")).trim(), "acme:Acme service:/var/lib/acme:/usr/sbin/nologin");
  assert.equal((await inside("stat -c '%U:%G' /var/lib/acme")).trim(), "acme:acme", "the account was there before the files");
  await inside("rpm --nodeps --nosignature -e acme; rpm --nodeps --nosignature -i /acme.rpm");
  assert.equal((await inside("id -nG acme")).trim(), "acme docker", "%pre finds the account and adds the membership");
});
