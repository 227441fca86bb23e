/** The real package managers of this machine, each as the commands that install, upgrade, remove and purge files of packages in a private root. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { RunCommand } from "../io/command.ts";
import type { Architecture } from "../model/target.ts";
import { architectureWord } from "../model/target.ts";
import type { PrivateRoot, RootFormat } from "./private-root.ts";

export type PackageManager = {
  readonly name: string;
  readonly format: RootFormat;
  /** Absent where the format keeps nothing that a purge could take. */
  readonly canPurge: boolean;
  readonly prepare: (root: PrivateRoot) => Promise<void>;
  /** Installs the files, or upgrades to them. */
  readonly install: (root: PrivateRoot, files: readonly string[]) => readonly string[];
  readonly remove: (root: PrivateRoot, name: string) => readonly string[];
  readonly purge: (root: PrivateRoot, name: string) => readonly string[];
};

export type ManagerQuestion = { readonly run: RunCommand; readonly arch: Architecture; readonly isForeign: boolean };

const probeTimeoutMs = 20_000;

/** Those that are installed here and take packages of that architecture; dpkg and rpm first, then what resolves dependencies. */
export async function findPackageManagers(format: RootFormat, question: ManagerQuestion): Promise<readonly PackageManager[]> {
  const managers: PackageManager[] = [];
  for (const { program, make } of candidates[format]) {
    if (await answers(question.run, [program, "--version"])) {
      const manager = await make(question);
      if (manager !== undefined) managers.push(manager);
    }
  }
  return managers;
}

async function answers(run: RunCommand, argv: readonly string[]): Promise<boolean> {
  try {
    return (await run(argv, { timeoutMs: probeTimeoutMs })).exitCode === 0;
  } catch {
    return false; // not installed
  }
}

type Candidate = { readonly program: string; readonly make: (question: ManagerQuestion) => Promise<PackageManager | undefined> };

const candidates: Readonly<Record<RootFormat, readonly Candidate[]>> = {
  deb: [
    { program: "dpkg", make: ({ isForeign }) => Promise.resolve(dpkg(isForeign)) },
    // apt takes packages of another architecture only with a dpkg that has been told of it.
    { program: "apt-get", make: ({ isForeign }) => Promise.resolve(isForeign ? undefined : apt()) },
  ],
  rpm: [
    {
      program: "rpm",
      make: async ({ run, isForeign }) => rpm(isForeign, (await answers(run, ["rpm", "--force-debian", "--version"])) ? ["--force-debian"] : []),
    },
    { program: "dnf", make: ({ arch, isForeign }) => Promise.resolve(dnf(isForeign ? [`--forcearch=${architectureWord(arch, "rpm")}`] : [])) },
  ],
  apk: [{ program: "apk", make: ({ arch }) => Promise.resolve(apk(architectureWord(arch, "apk"))) }],
};

/** An unattended upgrade keeps the operator's file; without these words dpkg would ask and stop at the end of its input. */
const dpkgOptions = ["--force-confdef", "--force-confold", "--no-debsig", "--force-bad-path"] as const;

function dpkg(isForeign: boolean): PackageManager {
  const command = (root: PrivateRoot, ...words: readonly string[]) => [
    "dpkg",
    `--root=${root.path}`,
    "--log=/dev/null",
    ...dpkgOptions,
    ...(isForeign ? ["--force-architecture"] : []),
    ...words,
  ];
  return {
    name: "dpkg",
    format: "deb",
    canPurge: true,
    prepare: () => Promise.resolve(),
    install: (root, files) => command(root, "--install", ...files),
    remove: (root, name) => command(root, "--remove", name),
    purge: (root, name) => command(root, "--purge", name),
  };
}

function apt(): PackageManager {
  const command = (root: PrivateRoot, ...words: readonly string[]) => [
    "env",
    `APT_CONFIG=${join(root.folder, "apt.conf")}`,
    "apt-get",
    "--yes",
    "--quiet",
    ...words,
  ];
  return {
    name: "apt",
    format: "deb",
    canPurge: true,
    // Nothing of the machine's own configuration: its hooks would run out here.
    prepare: async (root) => {
      for (const name of ["etc/apt/preferences.d", "etc/apt/sources.list.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt"])
        await mkdir(join(root.path, name), { recursive: true });
      const settings = {
        Dir: root.path,
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::State::status": join(root.path, "var/lib/dpkg/status"),
        "Dir::Bin::dpkg": "/usr/bin/dpkg",
        "Dir::Bin::methods": "/usr/lib/apt/methods",
        "Dir::Bin::solvers": "/usr/lib/apt/solvers",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Dpkg::Use-Pty": "0",
      };
      const options = [`--root=${root.path}`, "--log=/dev/null", ...dpkgOptions].map((option) => `DPkg::Options:: ${JSON.stringify(option)};\n`);
      const lines = Object.entries(settings).map(([name, value]) => `${name} ${JSON.stringify(value)};\n`);
      await writeFile(join(root.folder, "apt.conf"), [...lines, ...options].join(""));
    },
    install: (root, files) => command(root, "install", ...files),
    remove: (root, name) => command(root, "remove", name),
    purge: (root, name) => command(root, "purge", name),
  };
}

function rpm(isForeign: boolean, options: readonly string[]): PackageManager {
  // Keys are the business of other checks (`slipway verify`, rpmkeys); here the question is what the package does.
  const command = (root: PrivateRoot, ...words: readonly string[]) => [
    "rpm",
    "--root",
    root.path,
    "--dbpath",
    "/var/lib/rpm",
    "--nosignature",
    ...options,
    ...words,
  ];
  return {
    name: "rpm",
    format: "rpm",
    canPurge: false,
    prepare: () => Promise.resolve(),
    install: (root, files) => command(root, ...(isForeign ? ["--ignorearch"] : []), "-U", ...files),
    remove: (root, name) => command(root, "-e", name),
    purge: (root, name) => command(root, "-e", name),
  };
}

function dnf(options: readonly string[]): PackageManager {
  const command = (root: PrivateRoot, ...words: readonly string[]) => [
    "dnf",
    "-c",
    join(root.folder, "dnf.conf"),
    `--installroot=${root.path}`,
    `--setopt=reposdir=${join(root.folder, "repos.d")}`,
    "--releasever=9",
    ...options,
    ...words,
  ];
  return {
    name: "dnf",
    format: "rpm",
    canPurge: false,
    prepare: async (root) => {
      await mkdir(join(root.folder, "repos.d"));
      const settings = {
        reposdir: join(root.folder, "repos.d"),
        cachedir: join(root.folder, "cache"),
        persistdir: join(root.folder, "persist"),
        logdir: join(root.folder, "log"),
        assumeyes: "1",
        gpgcheck: "0",
        localpkg_gpgcheck: "0",
        install_weak_deps: "0",
        plugins: "0",
        clean_requirements_on_remove: "0",
      };
      const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
      await writeFile(join(root.folder, "dnf.conf"), `[main]\n${lines.join("")}`);
    },
    install: (root, files) => command(root, "install", ...files),
    remove: (root, name) => command(root, "remove", name),
    purge: (root, name) => command(root, "remove", name),
  };
}

function apk(arch: string): PackageManager {
  const command = (root: PrivateRoot, ...words: readonly string[]) => [
    "apk",
    "--root",
    root.path,
    "--arch",
    arch,
    "--no-network",
    "--no-cache",
    "--allow-untrusted",
    "--repositories-file",
    "/dev/null",
    ...words,
  ];
  return {
    name: "apk",
    format: "apk",
    canPurge: false,
    prepare: async (root) => {
      await mkdir(join(root.path, "etc/apk"), { recursive: true });
      await writeFile(join(root.path, "etc/apk/world"), "");
    },
    install: (root, files) => command(root, "--initdb", "add", ...files),
    remove: (root, name) => command(root, "del", name),
    purge: (root, name) => command(root, "del", "--purge", name),
  };
}
