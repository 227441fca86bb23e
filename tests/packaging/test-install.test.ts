/** `slipway test-install` with the real dpkg, apt, rpm and dnf: what it shows of good packages, and that it finds the classic faults of bad ones. */
import assert from "node:assert/strict";
import { chmod, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { parseArchitecture } from "../../src/model/target.ts";
import { findPackageManagers } from "../../src/packaging/package-managers.ts";
import { findIsolation } from "../../src/packaging/private-root.ts";
import { testInstall } from "../../src/packaging/test-install.ts";
import { planTestInstall, readMachine } from "../../src/packaging/test-install-plan.ts";
import { findProgram, needClient } from "../support/clients.ts";
import { compiled } from "../support/compiled.ts";
import { buildIn, exampleProduct, planIn, sampleProduct, temporaryFolder, writeFiles } from "./fixture.ts";
import { acmeUser, describedService, serviceRecipe, type ServiceRecipe } from "./service-fixture.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));

/** False (and the test is skipped) where private roots cannot be had. */
async function needRoots(t: TestContext, ...clients: readonly string[]): Promise<boolean> {
  if (!needClient(t, "busybox", "unshare", ...clients)) return false;
  const probe = await runCommand(["unshare", "--mount", "--pid", "--net", "--fork", ...(process.getuid?.() === 0 ? [] : ["--map-root-user"]), "true"], {
    timeoutMs: 10_000,
  });
  if (probe.exitCode === 0) return true;
  t.skip(`namespaces are not allowed here: ${probe.stderr.trim()}`);
  return false;
}

type Step = {
  readonly step: string;
  readonly scripts: readonly {
    readonly script: string;
    readonly version: string;
    readonly arguments: readonly string[];
    readonly isRun: boolean;
    readonly calls: readonly string[];
  }[];
  readonly left: readonly string[];
  readonly problems: readonly string[];
};
type Report = {
  readonly packages: readonly { readonly artifact: string; readonly manager: string; readonly from?: string; readonly steps: readonly Step[] }[];
  readonly notRun: readonly { readonly artifact: string }[];
};

async function runTestInstall(folder: string, ...words: readonly string[]): Promise<CommandResult & { readonly report: Report }> {
  const result = await runCommand([program, "test-install", ...words, "--json"], {
    cwd: folder,
    timeoutMs: 300_000,
    env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: dirname(folder) },
  });
  const line = result.stdout.split("\n").find((text) => text.startsWith('{"product"'));
  return { ...result, report: line === undefined ? { packages: [], notRun: [] } : (JSON.parse(line) as Report) };
}

const words = (step: Step): readonly string[] => step.scripts.map(({ script, arguments: given }) => [script, ...given].join(" "));
const problems = (report: Report): readonly string[] => report.packages.flatMap(({ steps }) => steps.flatMap((step) => step.problems));
const rootsLeft = async (): Promise<readonly string[]> => (await readdir(tmpdir())).filter((name) => name.startsWith("slipway-test-install-"));

async function built(t: TestContext, recipe: ServiceRecipe, versions: readonly string[] = ["1.4.1", "1.4.2"]): Promise<string> {
  const { arch } = await readMachine();
  const folder = await sampleProduct(t, serviceRecipe(recipe).replace("linux/amd64", `linux/${arch}`));
  for (const version of versions) {
    await writeFiles(folder, { "built/acmed": `#!/bin/sh\necho ${version}\n`, "acme.conf": `# ${version}\n`, ...recipe.files });
    await buildIn(folder, await planIn(folder, version));
  }
  return folder;
}

/** Measured with the real package managers: who is called when, with what. */
const expected: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  deb: {
    install: ["preinst install", "postinst configure "],
    upgrade: ["prerm upgrade 1.4.2", "preinst upgrade 1.4.1 1.4.2", "postrm upgrade 1.4.2", "postinst configure 1.4.1"],
    remove: ["prerm remove", "postrm remove"],
    purge: ["postrm purge"],
  },
  rpm: {
    install: ["%pre 1", "%post 1"],
    upgrade: ["%pre 2", "%post 2", "%preun 1", "%postun 1"],
    remove: ["%preun 0", "%postun 0"],
  },
};

const scripts = { preinstall: "s/pre.sh", postinstall: "s/post.sh", preremove: "s/prerm.sh", postremove: "s/postrm.sh" };
const body = (name: string): string => `#!/bin/sh\nset -e\n# ${name}\n`;
const plainScripts = Object.fromEntries(Object.entries(scripts).map(([name, path]) => [path, body(name)]));
const conf = "    /etc/acme/acme.conf: { from: acme.conf, config: noreplace }\n";

test("J3 J4 install, upgrade, remove and purge with each package manager: scripts, arguments and what stays; an edited configuration survives", async (t) => {
  if (!(await needRoots(t, "dpkg", "apt-get", "rpm", "dnf"))) return;
  const folder = await built(t, { scripts, files: plainScripts, packageFiles: conf });
  const { report, exitCode, stderr } = await runTestInstall(folder, "--only", "deb,rpm");
  assert.equal(exitCode, 0, stderr);
  assert.deepEqual(report.packages.map(({ manager }) => manager).sort(), ["apt", "dnf", "dpkg", "rpm"]);
  for (const { artifact, manager, from, steps } of report.packages) {
    const format = artifact.endsWith(".deb") ? "deb" : "rpm";
    assert.match(from ?? "", /^1\.4\.1/);
    for (const step of steps) assert.deepEqual(words(step), expected[format]?.[step.step], `${manager} ${step.step}`);
    const upgraded = steps.find(({ step }) => step === "upgrade")?.scripts.map(({ script, version }) => `${script} ${version.replace("-1", "")}`);
    if (format === "rpm") assert.deepEqual(upgraded, ["%pre 1.4.2", "%post 1.4.2", "%preun 1.4.1", "%postun 1.4.1"]);
    else assert.deepEqual(upgraded, ["prerm 1.4.1", "preinst 1.4.2", "postrm 1.4.1", "postinst 1.4.2"]);
    const removed = steps.find(({ step }) => step === "remove")?.left ?? [];
    assert.ok(removed.includes(format === "deb" ? "/etc/acme/acme.conf" : "/etc/acme/acme.conf.rpmsave"), removed.join());
    if (format === "deb")
      assert.deepEqual(
        steps.find(({ step }) => step === "purge")?.left.filter((path) => path.startsWith("/etc")),
        [],
      );
  }
  assert.deepEqual(await rootsLeft(), []);
});

test("J4 a declared service is restarted on upgrade and stopped on removal, as the stand-in of systemctl saw it", async (t) => {
  if (!(await needRoots(t, "dpkg", "rpm"))) return;
  const folder = await built(t, { service: describedService, users: acmeUser });
  const { report, exitCode, stderr } = await runTestInstall(folder, "--only", "deb,rpm");
  assert.equal(exitCode, 0, stderr);
  for (const { manager, steps } of report.packages) {
    const calls = (name: string): readonly string[] => steps.find(({ step }) => step === name)?.scripts.flatMap((script) => script.calls) ?? [];
    assert.ok(
      calls("install").some((call) => call.startsWith("useradd ")),
      manager,
    );
    assert.ok(calls("upgrade").includes("systemctl restart acme.service"), `${manager}: ${calls("upgrade").join("; ")}`);
    assert.ok(
      calls("remove").some((call) => /^systemctl (?:disable|stop)/.test(call)),
      manager,
    );
    assert.ok(!calls("upgrade").some((call) => /^systemctl (?:stop|disable)/.test(call)), manager);
  }
});

/** Faults of packages that vendors ship, and what must be said. */
const faults: readonly { readonly fault: string; readonly recipe: ServiceRecipe; readonly says: RegExp }[] = [
  {
    fault: "a postinstall that fails",
    recipe: { scripts: { postinstall: "s/post.sh" }, files: { "s/post.sh": "#!/bin/sh\nset -e\nsystemctl-of-another-system daemon-reload\n" } },
    says: /(?:dpkg ended with 1: |scriptlet failed|%post)/,
  },
  {
    fault: "a removal that deletes the customer's data",
    recipe: { scripts: { postremove: "s/postrm.sh" }, files: { "s/postrm.sh": "#!/bin/sh\nset -e\nrm -rf /var/lib/acme\n" } },
    says: /the operator's data in \/var\/lib\/acme is gone after upgrade/,
  },
  {
    fault: "a postinstall that writes the configuration anew",
    recipe: { scripts: { postinstall: "s/post.sh" }, files: { "s/post.sh": "#!/bin/sh\nset -e\necho default > /etc/acme/acme.conf\n" }, packageFiles: conf },
    says: /the operator's edit of \/etc\/acme\/acme\.conf is lost/,
  },
];

for (const { fault, recipe, says } of faults) {
  test(`J3 test-install finds ${fault}, with dpkg and with rpm`, async (t) => {
    if (!(await needRoots(t, "dpkg", "rpm"))) return;
    const folder = await built(t, recipe);
    for (const format of ["deb", "rpm"]) {
      const { report, exitCode, stdout } = await runTestInstall(folder, "--only", format);
      assert.equal(exitCode, 3, stdout);
      assert.match(stdout, /"code":"install_test_failed"/);
      assert.ok(
        problems(report).some((problem) => says.test(problem)),
        `${format}: ${problems(report).join("\n")}`,
      );
    }
    assert.deepEqual(await rootsLeft(), []);
  });
}

test("a preremove that takes a file away makes the upgraded package incomplete, and test-install says which file", async (t) => {
  if (!(await needRoots(t, "rpm"))) return;
  // rpm runs the old preun after the new files are there.
  const folder = await built(t, { scripts: { preremove: "s/prerm.sh" }, files: { "s/prerm.sh": "#!/bin/sh\nset -e\nrm -f /usr/bin/acmed\n" } });
  const { report } = await runTestInstall(folder, "--only", "rpm");
  assert.deepEqual([...new Set(problems(report))], ["/usr/bin/acmed is not there"]);
});

test("a script in a language that the root lacks is written down and not run", async (t) => {
  if (!(await needRoots(t, "dpkg"))) return;
  const folder = await built(t, { scripts: { postinstall: "s/post.py" }, files: { "s/post.py": "#!/usr/bin/python3\nraise SystemExit(1)\n" } }, ["1.4.2"]);
  const { report, exitCode, stderr } = await runTestInstall(folder, "--only", "deb");
  assert.equal(exitCode, 0, stderr);
  const run = report.packages.find(({ manager }) => manager === "dpkg")?.steps[0]?.scripts[0];
  assert.deepEqual([run?.script, run?.isRun], ["postinst", false]);
});

test("the examples pass; packages for another processor are listed as not run; without a predecessor nothing is upgraded", async (t) => {
  if (!(await needRoots(t, "dpkg", "rpm"))) return;
  for (const [name, version] of [
    ["jaco", "0.2.0"],
    ["coequal", "1.4.2"],
  ] as const) {
    const folder = await exampleProduct(t, name);
    await buildIn(folder, await planIn(folder, version, { only: ["deb", "rpm"] }));
    const { report, exitCode, stderr } = await runTestInstall(folder, join("dist", version));
    assert.equal(exitCode, 0, `${name}: ${stderr}`);
    const steps = new Set(report.packages.flatMap((one) => one.steps.map(({ step }) => step)));
    assert.deepEqual([...steps].sort(), name === "jaco" ? ["install", "purge", "remove"] : ["install", "remove"], "coequal leaves nothing to purge");
    const { arch, emulated } = await readMachine();
    const foreign = (["amd64", "arm64"] as const).filter((one) => one !== arch && !emulated.includes(parseArchitecture(one)));
    assert.equal(report.notRun.length, foreign.length * 2);
  }
});

test("packages for another processor install with the words that dpkg, rpm and dnf want for it, as under qemu-user", async (t) => {
  if (!(await needRoots(t, "dpkg", "rpm", "dnf"))) return;
  const { arch } = await readMachine();
  const other = arch === "arm64" ? "amd64" : "arm64";
  const folder = await sampleProduct(t, serviceRecipe({ scripts, packageFiles: conf }).replace("linux/amd64", `linux/${other}`));
  await writeFiles(folder, { "built/acmed": "#!/bin/sh\n", "acme.conf": "x\n", ...plainScripts });
  const { manifest, folder: dist } = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["deb", "rpm"] }));
  const machine = { arch, emulated: [other] } as const;
  const { tests, notRun } = planTestInstall({ current: { folder: dist, manifest }, machine });
  assert.deepEqual([tests.length, notRun.length], [2, 0]);
  const isolation = await findIsolation(runCommand);
  for (const one of tests) {
    assert.ok(one.isForeign);
    for (const manager of await findPackageManagers(one.artifact.kind, { run: runCommand, arch: other, isForeign: true })) {
      const { steps } = await testInstall(one, manager, { run: runCommand, isolation });
      assert.deepEqual(
        steps.flatMap((step) => step.problems),
        [],
        manager.name,
      );
      assert.ok(steps.every((step) => words(step).length > 0));
    }
  }
});

test("J3 apk installs, upgrades and deletes where apk-tools are here", async (t) => {
  if (!(await needRoots(t)) || findProgram("apk") === undefined) {
    t.skip("missing real client: apk, which Debian does not have");
    return;
  }
  const folder = await built(t, { scripts, files: plainScripts, packageFiles: conf });
  const { report, exitCode, stderr } = await runTestInstall(folder, "--only", "apk");
  assert.equal(exitCode, 0, stderr);
  assert.deepEqual(report.packages[0]?.steps.map(words), [
    [".pre-install 1.4.1-r0", ".post-install 1.4.1-r0"],
    [".pre-upgrade 1.4.2-r0 1.4.1-r0", ".post-upgrade 1.4.2-r0 1.4.1-r0"],
    [".pre-deinstall 1.4.2-r0", ".post-deinstall 1.4.2-r0"],
  ]);
});

test("another user gets a user namespace, or a message that says what to do", async (t) => {
  if (!needClient(t, "busybox", "unshare", "dpkg", "setpriv") || process.getuid?.() !== 0) {
    t.skip("only root can become another user");
    return;
  }
  const made = await built(t, { packageFiles: conf });
  // Where that user may read: mkdtemp's folders are closed.
  const folder = join(await temporaryFolder(t), "open");
  await cp(made, folder, { recursive: true });
  await chmod(dirname(folder), 0o755);
  await runCommand(["chmod", "-R", "a+rX", folder], { timeoutMs: 10_000 });
  const home = join(dirname(folder), "home");
  await mkdir(home, { mode: 0o777 });
  await chmod(home, 0o777);
  const result = await runCommand(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "test-install", "--only", "deb"], {
    cwd: folder,
    timeoutMs: 120_000,
    env: { PATH: process.env["PATH"] ?? "", HOME: home },
  });
  if (result.exitCode === 77) assert.match(result.stderr, /package managers need a root of their own.*\n.*sudo/s);
  else assert.equal(result.exitCode, 0, `${result.stdout}${result.stderr}`);
  assert.deepEqual(await rootsLeft(), []);
});

test("words that do not fit: an unknown format, a folder that is no release, a release without packages", async (t) => {
  const folder = await built(t, {}, ["1.4.2"]);
  assert.match((await runTestInstall(folder, "--only", "debs")).stdout, /"debs\\" is not a package format; known: deb, rpm, apk/);
  assert.match((await runTestInstall(folder, "nowhere")).stdout, /"code":"source_missing"/);
  const manifest = join(folder, "dist/1.4.2/release.json");
  const text = await readFile(manifest, "utf8");
  await writeFile(manifest, text.replaceAll(/"kind": "(?:deb|rpm|apk)"/g, '"kind": "notes"'));
  assert.match((await runTestInstall(folder)).stdout, /"code":"sums_invalid"/);
  await rm(join(folder, "dist"), { recursive: true });
});

test("C1 what a deb needs before it is unpacked and an rpm before its transaction stands there first, and their own scripts run", async (t) => {
  if (!(await needRoots(t, "dpkg", "rpm"))) return;
  const { arch } = await readMachine();
  const recipe = `name: acme
summary: Answers questions
maintainer: Acme <release@acme.example>
license: Apache-2.0
targets: [linux/${arch}]
build: { prebuilt: "bin/{bin}", binaries: [acme] }
packages:
  formats: [deb, rpm]
  files: { /usr/bin/: [acme] }
  deb: { predepends: [libacme (>= 2)], config: own.sh, templates: templates }
  rpm: { requires: { pre: [acme-tools] }, scripts: { pretrans: own.sh, posttrans: own.sh } }
`;
  const folder = await sampleProduct(t, recipe);
  const templates = "Template: acme/question\nType: boolean\nDefault: true\nDescription: Ask?\n";
  await writeFiles(folder, { "bin/acme": "#!/bin/sh\n", "own.sh": "#!/bin/sh\nexit 0\n", templates });
  await buildIn(folder, await planIn(folder, "1.4.2"));
  const { report, ...result } = await runTestInstall(folder);
  assert.equal(result.exitCode, 0, result.stderr);
  const ran = report.packages.flatMap(({ manager, steps }) => (manager === "rpm" ? steps.flatMap(words) : []));
  assert.deepEqual(ran, ["%pretrans 1", "%posttrans 1"]);
  assert.ok(report.packages.some(({ manager }) => manager === "dpkg"));
});
