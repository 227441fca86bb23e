/**
 * A private root: an empty system in a throw-away folder, with busybox for its programs, in which a real package manager of this machine
 * installs packages and really runs their scripts.
 *
 * Every command runs in namespaces of its own (mount, process ids, network), so that no script reaches the machine; without root's rights in
 * a user namespace, where root is only called so.
 */
import { chmod, copyFile, lstat, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { type CommandResult, cleanEnvironment, type RunCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import { interpreterProgram, logPath, standInPrograms, unitStateFolder } from "./stand-in-programs.ts";

export type RootFormat = "deb" | "rpm" | "apk";

export type Isolation = {
  /** In front of every command. */
  readonly prefix: readonly string[];
  /** As the report names it. */
  readonly name: "namespaces" | "user-namespace";
};

export type PrivateRoot = {
  /** Absolute, on this machine. */
  readonly path: string;
  /** For files beside the root: configuration of a package manager, stand-in packages. */
  readonly folder: string;
  readonly run: (argv: readonly string[], env?: Readonly<Record<string, string>>) => Promise<CommandResult>;
  /** What was logged since the last call, as fields. */
  readonly takeLog: () => Promise<readonly (readonly string[])[]>;
  /** Paths inside the root that no package manager keeps for itself, sorted. */
  readonly paths: () => Promise<readonly string[]>;
  /** Puts an interpreter that only writes down its calls where the root has nothing. */
  readonly standInFor: (interpreter: string) => Promise<void>;
  readonly remove: () => Promise<void>;
};

const timeoutMs = 180_000;
const logLimit = 8 * 1024 * 1024;
const devices = ["null", "zero", "full", "random", "urandom"] as const;
/** Applets that would pass for the package managers themselves, and those that have stand-ins where they matter. */
const leftOut: ReadonlySet<string> = new Set(["dpkg", "dpkg-deb", "rpm", "rpm2cpio", "sh", "ash", "bash", "busybox"]);
/** What package managers and we ourselves keep inside. */
const kept =
  /^\/(?:dev|proc|var\/(?:lib\/(?:dpkg|rpm|apt|apk|dnf|slipway-test)|cache|log)|(?:usr\/)?lib\/(?:apk|sysimage)|etc\/(?:apk|apt|dnf|passwd-?|group-?|shadow-?|\.pwd\.lock)|run\/(?:systemd|openrc|lock))(?:\/|$)|\/\.rpmdb(?:\/|$)/;

const busyboxHint = "install a static busybox: apt-get install busybox-static, or dnf install busybox";

/** Binds the devices into the root, then runs the command; /proc is a help where the kernel allows it. */
const insideNamespaces = `root=$1; shift
for node in ${devices.join(" ")}; do mount --bind "/dev/$node" "$root/dev/$node" || exit 126; done
mount -t proc proc "$root/proc" 2> /dev/null || :
exec "$@"`;

/** How commands are kept apart from this machine; throws `permission_denied` where neither root's rights nor a user namespace are to be had. */
export async function findIsolation(run: RunCommand): Promise<Isolation> {
  const isRoot = process.getuid?.() === 0;
  const namespaces = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child", ...(isRoot ? [] : ["--map-root-user"])];
  const probe = await run([...namespaces, "true"], { timeoutMs: 10_000 });
  if (probe.exitCode === 0) return { prefix: namespaces, name: isRoot ? "namespaces" : "user-namespace" };
  throw new SlipwayError(
    "permission_denied",
    `package managers need a root of their own, which this ${isRoot ? "machine" : "user"} may not have: ${probe.stderr.trim()}`,
    {
      hint: isRoot
        ? "run it where namespaces are allowed (CAP_SYS_ADMIN), not in a container without rights"
        : "run it with sudo, or where unprivileged user namespaces are allowed",
    },
  );
}

/** Makes the root for one format; throws `command_failed` without busybox. The caller removes it in every case. */
export async function createPrivateRoot(
  format: RootFormat,
  { run, isolation }: { readonly run: RunCommand; readonly isolation: Isolation },
): Promise<PrivateRoot> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-test-install-"));
  const path = join(folder, "root");
  const inside = (name: string): string => join(path, name);
  const env: Record<string, string> = { ...cleanEnvironment(), HOME: folder, LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" };
  const searched = { ...env, PATH: [env["PATH"] ?? "", "/usr/sbin", "/sbin"].join(delimiter) };
  const runHere: PrivateRoot["run"] = (argv, more = {}) =>
    run([...isolation.prefix, "sh", "-c", insideNamespaces, "sh", path, ...argv], { timeoutMs, env: { ...searched, ...more } });
  const writeProgram = async (name: string, text: string): Promise<void> => {
    await mkdir(dirname(inside(name)), { recursive: true });
    await rm(inside(name), { force: true });
    await writeFile(inside(name), text);
    await chmod(inside(name), 0o755);
  };
  try {
    await chmod(folder, 0o755); // mkdtemp's 0700 would keep a package manager's own user out
    await makeFolders(inside);
    await copyBusybox(inside, run);
    for (const [name, text] of Object.entries(standInPrograms[format])) await writeProgram(`usr/bin/${name}`, text);
    await writeProgram("usr/bin/sh", interpreterProgram(true));
    await mkdir(inside(format === "apk" ? "run/openrc" : "run/systemd/system"), { recursive: true });
    if (format === "apk") await writeFile(inside("run/openrc/softlevel"), "default\n");
    await requireShell(runHere, path);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return {
    path,
    folder,
    run: runHere,
    takeLog: async () => {
      const text = (await readFileBounded(inside(logPath), logLimit)).toString("utf8");
      await writeFile(inside(logPath), "");
      return text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => line.split("\t"));
    },
    // dnf keeps its caches below the root under the path that they have outside.
    paths: async () => (await walk(path, "")).filter((found) => !found.startsWith(folder)),
    standInFor: async (interpreter) => {
      const stats = await lstat(inside(interpreter)).catch(() => undefined); // absent: ours goes there
      if (stats === undefined) await writeProgram(interpreter, interpreterProgram(false));
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** /bin, /sbin and /lib are links into /usr, as on every distribution of today. */
async function makeFolders(inside: (name: string) => string): Promise<void> {
  const folders = ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "dev", "proc", "run", "tmp", "var/tmp", "var/log", "var/lib/rpm"];
  for (const name of [...folders, "var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/dpkg/triggers", unitStateFolder])
    await mkdir(inside(name), { recursive: true });
  for (const name of ["bin", "sbin", "lib", "lib64"]) await symlink(`usr/${name}`, inside(name));
  for (const name of devices) await writeFile(inside(`dev/${name}`), "");
  await writeFile(inside("var/lib/dpkg/status"), "");
  await writeFile(inside("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  await writeFile(inside("etc/group"), "root:x:0:\n");
  await writeFile(inside(logPath), "");
  for (const name of ["tmp", "var/tmp"]) await chmod(inside(name), 0o1777);
}

async function copyBusybox(inside: (name: string) => string, run: RunCommand): Promise<void> {
  const found = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "busybox"));
  for (const candidate of [...found, "/usr/sbin/busybox", "/sbin/busybox"]) {
    const stats = await lstat(candidate).catch(() => undefined); // not in this folder
    if (stats === undefined) continue;
    await copyFile(candidate, inside("usr/bin/busybox"));
    await chmod(inside("usr/bin/busybox"), 0o755);
    const list = await run([candidate, "--list"], { timeoutMs: 10_000 });
    for (const applet of list.stdout.split("\n").filter((name) => /^[\w[.+-]+$/.test(name) && !leftOut.has(name)))
      await symlink("busybox", inside(`usr/bin/${applet}`));
    return;
  }
  throw new SlipwayError("command_failed", "there is no busybox, which runs the packages' scripts inside the private roots", { hint: busyboxHint });
}

/** A busybox with shared libraries would not start in a root that has none. */
async function requireShell(run: PrivateRoot["run"], path: string): Promise<void> {
  const result = await run(["chroot", path, "/bin/sh", "-c", "true > /dev/null"]);
  if (result.exitCode === 0) return;
  throw new SlipwayError("command_failed", `the shell of the private root does not start: ${(result.stderr || "it ended").trim()}`, { hint: busyboxHint });
}

async function walk(root: string, relative: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(root, relative), { withFileTypes: true })) {
    const path = `${relative}/${entry.name}`;
    if (kept.test(path)) continue;
    found.push(path);
    if (entry.isDirectory()) found.push(...(await walk(root, path)));
  }
  return found.sort();
}
