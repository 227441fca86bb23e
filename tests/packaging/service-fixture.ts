/** A product with a service, built into packages, and a private root in which systemd, OpenRC and the account tools are stubs that keep state and a log. */
import assert from "node:assert/strict";
import { chmod, mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type PrivateRoot, privateRoot } from "../formats/private-root.ts";
import { buildIn, planIn, sampleProduct, writeFiles } from "./fixture.ts";

export type ServiceRecipe = {
  /** Lines of `service:` and below, from the first column on. */
  readonly service?: string;
  readonly users?: string;
  /** Paths of hand-written scripts by their names. */
  readonly scripts?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
  /** Lines below `packages.files`, indented by four. */
  readonly packageFiles?: string;
};

export const describedService = `service:
  unit: { exec: /usr/bin/acmed --listen 127.0.0.1:7070, user: acme, state: acme }
  purge: [/var/lib/acme]
`;
export const acmeUser = `users:
  acme: { home: /var/lib/acme, groups: [docker], comment: Acme service }
`;

export function serviceRecipe({ service = "", users = "", scripts = {}, packageFiles = "" }: ServiceRecipe): string {
  const names = Object.entries(scripts).map(([name, path]) => `    ${name}: ${path}\n`);
  return `name: acme
summary: Answers questions
maintainer: Acme <release@acme.example>
license: Apache-2.0
homepage: https://acme.example
targets: [linux/amd64]
build: { prebuilt: "built/{bin}", binaries: [acmed] }
packages:
  formats: [deb, rpm, apk]
  files:
    /usr/bin/: [acmed]
${packageFiles}${names.length === 0 ? "" : `  scripts:\n${names.join("")}`}${service}${users}`;
}

/** A daemon that answers every connection with its version. */
const program = (version: string): string => `#!/usr/bin/perl
use IO::Socket::INET;
my $server = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", LocalPort => 7070, ReuseAddr => 1) or die "no port: $!";
open(my $state, ">", "/var/lib/acme/state") or die "no state: $!";
while (my $client = $server->accept) { print $client "acmed ${version}\\n"; close $client; }
`;

export type BuiltPackages = { readonly deb: string; readonly rpm: string; readonly apk: string };

/** Builds one version for linux/amd64 and returns the packages' paths. */
export async function servicePackages(t: TestContext, version: string, recipe: ServiceRecipe): Promise<BuiltPackages> {
  const folder = await sampleProduct(t, serviceRecipe(recipe));
  await writeFiles(folder, { "built/acmed": program(version), ...recipe.files });
  const plan = await planIn(folder, version);
  await buildIn(folder, plan);
  const pathOf = (kind: keyof BuiltPackages): string => {
    const artifact = plan.artifacts.find((one) => one.kind === kind);
    assert.ok(artifact);
    return join(folder, "dist", version, artifact.name);
  };
  return { deb: pathOf("deb"), rpm: pathOf("rpm"), apk: pathOf("apk") };
}

/** A hand-written script that logs its moment and its arguments, as the table of script arguments was measured. */
export const loggingScript = (name: string): string => `#!/bin/sh\nset -e\necho "${name} $*" >> /log\nexit 0\n`;
export const loggingNames = ["preinstall", "postinstall", "preremove", "postremove"] as const;

export const loggingScripts: Pick<Required<ServiceRecipe>, "scripts" | "files"> = {
  scripts: Object.fromEntries(loggingNames.map((name) => [name, `packaging/${name}.sh`])),
  files: Object.fromEntries(loggingNames.map((name) => [`packaging/${name}.sh`, loggingScript(name)])),
};

const applets = ["cat", "chmod", "chown", "grep", "id", "ls", "mkdir", "rm", "sed", "test", "touch", "tr"];

/** Units are active, enabled or neither, as files below /state; a unit with a file `broken` does not start. */
const systemctl = `echo "systemctl $*" >> /log
verb=$1
for unit; do :; done
mkdir -p /state
case $verb in
  is-active) [ -e /state/$unit.active ] ;;
  is-enabled) [ -e /state/$unit.enabled ] ;;
  start | restart) if [ -e /state/$unit.broken ]; then rm -f /state/$unit.active; exit 1; fi; : > /state/$unit.active ;;
  stop) rm -f /state/$unit.active ;;
  enable) : > /state/$unit.enabled ;;
  preset) if grep -q "^enable $unit" /usr/lib/systemd/system-preset/*; then : > /state/$unit.enabled; fi ;;
  disable) rm -f /state/$unit.enabled; case "$*" in *--now*) rm -f /state/$unit.active ;; esac ;;
  daemon-reload) ;;
  *) echo "systemctl: unexpected $*" >&2; exit 64 ;;
esac
`;

/** rc-service [--ifstarted] NAME VERB and rc-update [--all] add|del NAME, with the same state. */
const rcService = `echo "rc-service $*" >> /log
mkdir -p /state
if [ "$1" = --ifstarted ]; then shift; [ -e /state/$1.active ] || exit 0; fi
case $2 in
  start | restart) : > /state/$1.active ;;
  stop) rm -f /state/$1.active ;;
  *) exit 64 ;;
esac
`;
const rcUpdate = 'echo "rc-update $*" >> /log\n';

/** busybox's addgroup and adduser of Alpine, whose flags they check; Debian's busybox lacks them. */
const addgroup = `set -e
echo "addgroup $*" >> /log
if [ "$1" = -S ]; then echo "$2:x:$((100 + $(grep -c . /etc/group))):" >> /etc/group; exit; fi
grep -q "^$1:" /etc/passwd
sed -i "s/^\\($2:.*\\)$/\\1$1/" /etc/group
`;
const adduser = `set -e
echo "adduser $*" >> /log
while getopts SDHh:s:G:g: flag; do
  case $flag in h) home=$OPTARG ;; s) shell=$OPTARG ;; G) group=$OPTARG ;; g) comment=$OPTARG ;; [SDH]) ;; *) exit 64 ;; esac
done
shift $((OPTIND - 1))
gid=$(sed -n "s/^$group:x:\\([0-9]*\\):.*/\\1/p" /etc/group)
echo "$1:x:101:$gid:$comment:$home:$shell" >> /etc/passwd
`;

/** Puts a shell script into the root. */
export async function writeProgram(root: PrivateRoot, path: string, body: string): Promise<void> {
  await root.write(path, `#!/bin/sh\n${body}`);
  await chmod(join(root.path, path), 0o755);
}

/** `systemd` and `openrc`: the manager "runs". `none`: not even its programs are there. */
export async function serviceRoot(t: TestContext, manager: "systemd" | "openrc" | "none"): Promise<PrivateRoot> {
  const root = await privateRoot(t);
  for (const applet of applets) await symlink("busybox", join(root.path, "bin", applet));
  const programs = { none: {}, systemd: { systemctl }, openrc: { "rc-service": rcService, "rc-update": rcUpdate } }[manager];
  for (const [name, text] of Object.entries({ ...programs, addgroup, adduser })) {
    await writeProgram(root, `bin/${name}`, text);
  }
  await mkdir(join(root.path, "run"), { recursive: true });
  await root.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n");
  await root.write("etc/group", "root:x:0:\n");
  await mkdir(join(root.path, "dev"));
  if (manager === "systemd") await mkdir(join(root.path, "run/systemd/system"), { recursive: true });
  if (manager === "openrc") await root.write("run/openrc/softlevel", "default\n");
  return root;
}
