/** Our packages installed, upgraded and removed by the real dpkg and rpm in private roots, with the scripts really run. */
import assert from "node:assert/strict";
import { lstat, readlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { needRoot, privateRoot } from "./private-root.ts";
import { debFile, dependencies, file, loggingScripts, longPaths, rpmFile, sampleEntries, sampleSpec, temporaryFolder, zstd } from "./sample.ts";

const entriesOf = (version: string, conf: string): typeof sampleEntries =>
  sampleEntries.map((entry) => {
    if (entry.path === "/etc/toy/toy.conf") return file(entry.path, conf, { config: "noreplace" });
    return entry.path === "/usr/bin/toy" ? file(entry.path, `#!/bin/sh\necho ${version}\n`, { mode: 0o755 }) : entry;
  });
const specOf = (version: string, conf = "port = 1\n"): ReturnType<typeof sampleSpec> =>
  sampleSpec({ version: parseVersion(version), scripts: loggingScripts, entries: entriesOf(version, conf) });

test("C11 J3 dpkg installs, upgrades, removes and purges; scripts run with Debian's arguments and an edited conffile survives (regression 15, 17, 18, 19)", async (t) => {
  if (!needRoot(t, "dpkg")) return;
  const root = await privateRoot(t);
  const folder = await temporaryFolder(t);
  const old = await debFile(folder, specOf("1.4.0-rc.1"));
  const next = await debFile(folder, { ...specOf("1.4.0", "port = 2\n"), compression: zstd });

  await root.dpkg("-i", old);
  assert.deepEqual(await root.takeLog(), ["preinstall install", "postinstall configure "]);
  assert.equal(await root.read("usr/bin/toy"), "#!/bin/sh\necho 1.4.0-rc.1\n");
  assert.equal((await lstat(join(root.path, "usr/bin/toy-setuid"))).mode & 0o7777, 0o4755, "regression 15: setuid");
  assert.equal((await lstat(join(root.path, "var/lib/toy"))).mode & 0o7777, 0o1770, "regression 15: sticky");
  assert.equal(await readlink(join(root.path, "usr/bin/toyctl")), "toy");
  for (const path of longPaths) assert.equal(await root.read(path.slice(1)), path, "regression 17: long names");
  assert.equal(await root.exists("var/lib/toy/state"), false, "ghosts are not shipped");
  assert.equal((await root.dpkg("--verify", "toy")).trim(), "", "md5sums agree with what was installed");

  await root.write("etc/toy/toy.conf", "port = 99\n");
  await root.dpkg("-i", next);
  assert.deepEqual(await root.takeLog(), [
    "preremove upgrade 1.4.0",
    "preinstall upgrade 1.4.0~rc.1 1.4.0",
    "postremove upgrade 1.4.0",
    "postinstall configure 1.4.0~rc.1",
  ]);
  assert.equal(await root.read("etc/toy/toy.conf"), "port = 99\n");
  assert.equal(await root.read("etc/toy/toy.conf.dpkg-dist"), "port = 2\n");
  assert.equal(await root.read("usr/bin/toy"), "#!/bin/sh\necho 1.4.0\n");

  await root.dpkg("-r", "toy");
  assert.deepEqual(await root.takeLog(), ["preremove remove", "postremove remove"]);
  assert.equal(await root.exists("etc/toy/toy.conf"), true, "remove keeps configuration");
  await root.dpkg("-P", "toy");
  assert.deepEqual(await root.takeLog(), ["postremove purge"]);
  assert.equal(await root.exists("etc/toy/toy.conf"), false, "purge removes it");
});

test("dpkg sets off a package's triggers: its own interest in a folder, and by name what it activates", async (t) => {
  if (!needRoot(t, "dpkg")) return;
  const root = await privateRoot(t);
  const folder = await temporaryFolder(t);
  const toy = sampleSpec({ entries: [], scripts: loggingScripts, triggers: { "interest-noawait": ["/usr/share/toy/plugins"], interest: ["toy-cache"] } });
  const plugin = sampleSpec({ name: "plugin", entries: [file("/usr/share/toy/plugins/one", "1")] });
  const caller = sampleSpec({ name: "caller", entries: [file("/usr/share/caller", "1")], triggers: { activate: ["toy-cache"] } });
  await root.dpkg("-i", await debFile(folder, toy));
  await root.takeLog();
  await root.dpkg("-i", await debFile(folder, plugin));
  assert.deepEqual(await root.takeLog(), ["postinstall triggered /usr/share/toy/plugins"]);
  await root.dpkg("-i", await debFile(folder, caller));
  assert.deepEqual(await root.takeLog(), ["postinstall triggered toy-cache"]);
  for (const name of ["relative/path", "two words", "/trailing/", "-x", "/a//b", ""]) {
    await assert.rejects(debFile(folder, { ...toy, triggers: { interest: [name] } }, { name: "refused.deb" }), { code: "recipe_invalid" }, name);
  }
});

test("C11 J3 rpm installs, upgrades and erases; scripts run with rpm's counts and an edited configuration survives (regression 15, 17, 18, 19, 24)", async (t) => {
  if (!needRoot(t, "rpm")) return;
  const root = await privateRoot(t);
  const folder = await temporaryFolder(t);
  const old = await rpmFile(folder, specOf("1.4.0-rc.1"));
  const next = await rpmFile(folder, { ...specOf("1.4.0", "port = 2\n"), compression: zstd });

  await root.rpm("--nodeps", "-i", old);
  assert.deepEqual(await root.takeLog(), ["preinstall 1", "postinstall 1"]);
  assert.equal(await root.read("usr/bin/toy"), "#!/bin/sh\necho 1.4.0-rc.1\n");
  assert.equal((await lstat(join(root.path, "usr/bin/toy-setuid"))).mode & 0o7777, 0o4755, "regression 15: setuid");
  assert.equal((await lstat(join(root.path, "var/lib/toy"))).mode & 0o7777, 0o1770, "regression 15: sticky");
  for (const path of longPaths) assert.equal(await root.read(path.slice(1)), path, "regression 17: long names");
  assert.equal(await root.exists("var/lib/toy/state"), false, "ghosts are not shipped");
  assert.equal((await root.rpm("-V", "--nodeps", "toy")).trim(), "", "rpm verifies every file, mode, owner, time and digest");

  await root.write("etc/toy/toy.conf", "port = 99\n");
  await root.write("var/lib/toy/state", "made at run time\n");
  await root.rpm("--nodeps", "-U", next);
  assert.deepEqual(await root.takeLog(), ["preinstall 2", "postinstall 2", "preremove 1", "postremove 1"]);
  assert.equal(await root.read("etc/toy/toy.conf"), "port = 99\n");
  assert.equal(await root.read("etc/toy/toy.conf.rpmnew"), "port = 2\n");
  assert.equal(await root.read("var/lib/toy/state"), "made at run time\n");

  await root.rpm("--nodeps", "-e", "toy");
  assert.deepEqual(await root.takeLog(), ["preremove 0", "postremove 0"]);
  assert.equal(await root.read("etc/toy/toy.conf.rpmsave"), "port = 99\n");
  assert.equal(await root.exists("usr/bin/toy"), false);
});

test("J4 dependencies are enforced: dpkg and rpm refuse while none of the alternatives is there and accept one of them", async (t) => {
  if (!needRoot(t, "dpkg", "rpm")) return;
  const root = await privateRoot(t);
  const folder = await temporaryFolder(t);
  const app = sampleSpec({ dependencies: { depends: dependencies("docker.io (>= 20) | docker-ce") } });
  const engine = sampleSpec({ name: "docker-ce", entries: [], version: parseVersion("27.0.0") });

  await assert.rejects(root.dpkg("-i", await debFile(folder, app)), { code: "command_failed" });
  await root.dpkg("-i", await debFile(folder, engine));
  await root.dpkg("--configure", "toy");
  assert.match(await root.dpkg("-s", "toy"), /Status: install ok installed/);

  const appRpm = await rpmFile(folder, app);
  await assert.rejects(root.rpm("-i", appRpm), { code: "command_failed", message: /docker\.io >= 20 or docker-ce/ });
  await root.rpm("-i", await rpmFile(folder, engine), appRpm);
  assert.match(await root.rpm("-qa"), /toy-1\.4\.0-1\.x86_64/);
});

test("a meta package without files installs with dpkg and rpm (regression 14)", async (t) => {
  if (!needRoot(t, "dpkg", "rpm")) return;
  const root = await privateRoot(t);
  const folder = await temporaryFolder(t);
  const meta = sampleSpec({ name: "toy-meta", entries: [], arch: "all" });
  await root.dpkg("-i", await debFile(folder, meta));
  await root.rpm("-i", await rpmFile(folder, meta));
  assert.match(await root.rpm("-ql", "toy-meta"), /contains no files/);
  assert.match(await root.rpm("-q", "toy-meta"), /toy-meta-1\.4\.0-1\.noarch/);
});
