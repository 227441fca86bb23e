/** Lint rules about the files of a package themselves: their rights, owners, sizes, and what they are. */
import type { FileFacts } from "../model/package-facts.ts";
import { eachFile, isBelow, programFolders } from "./lint-entries.ts";
import type { LintRule } from "./lint-rule.ts";

/** rpm's size fields have 32 bits, so that old versions read the package. */
const rpmSizeLimit = 0xffffffff;

export const fileRules: readonly LintRule[] = [
  {
    id: "config-executable",
    severity: "warning",
    about: "a configuration that is executable, or a program below /etc",
    advice: "ship programs in /usr/bin or /usr/lib/<product> and leave settings in /etc",
    lintian: ["binary-in-etc"],
    rpmlint: ["executable-marked-as-config-file", "binary-in-etc"],
    find: eachFile((file) => {
      if (isBelow(file.path, "/etc") && file.nature.kind === "program") return `${file.path} is a program`;
      const isInit = isBelow(file.path, "/etc/init.d");
      return file.config !== undefined && isExecutable(file) && !isInit ? `the configuration ${file.path} is executable` : undefined;
    }),
  },
  {
    id: "setuid",
    severity: "warning",
    about: "a file that runs with its owner's rights whoever starts it",
    advice: "give a service its own user, or AmbientCapabilities= in its unit; keep the bit only where nothing else works",
    lintian: ["elevated-privileges", "setuid-binary", "setgid-binary"],
    rpmlint: ["setuid-binary", "setgid-binary", "missing-PERMISSIONS-file", "non-standard-executable-perm"],
    find: eachFile((file) =>
      (file.mode & 0o6000) === 0
        ? undefined
        : `${file.path} has the mode ${octal(file.mode)} (${setBits(file.mode)}) and belongs to ${file.owner}:${file.group}`,
    ),
  },
  {
    id: "world-writable",
    severity: "error",
    about: "everybody may write to it: any account of the machine can replace what root will run or read",
    advice: 'set a mode such as "0644" or "0755"; a shared folder needs the sticky bit',
    lintian: ["world-writable", "non-standard-file-perm", "non-standard-dir-perm", "octal-permissions"],
    rpmlint: ["world-writable", "non-standard-dir-perm", "non-standard-executable-perm"],
    find: ({ entries }) =>
      entries
        .filter((entry) => entry.kind !== "symlink")
        .filter(({ mode, kind }) => (mode & 0o002) !== 0 && !(kind === "directory" && (mode & 0o1000) !== 0))
        .map(({ place, path, mode }) => ({ place, message: `${path} has the mode ${octal(mode)}: everybody may write to it` })),
  },
  {
    id: "not-readable",
    severity: "note",
    about: "not readable for everybody: right for secrets, surprising elsewhere",
    advice: "keep it where the file holds a secret, and then give it to the group of the service",
    lintian: ["non-standard-file-perm", "non-standard-dir-perm"],
    rpmlint: ["non-readable", "non-standard-dir-perm", "non-standard-executable-perm"],
    find: ({ entries }) =>
      entries
        .filter((entry) => entry.kind !== "symlink")
        .filter(({ mode }) => (mode & 0o004) === 0)
        .map(({ place, path, mode }) => ({ place, message: `${path} has the mode ${octal(mode)}` })),
  },
  {
    id: "owner-unknown",
    severity: "warning",
    about: "the file belongs to an account that the package does not make: rpm and dpkg then give it to root or stop",
    advice: "declare the account in the recipe, or let systemd make the folder (StateDirectory=)",
    lintian: ["wrong-file-owner-uid-or-gid", "bad-owner-for-doc-file"],
    rpmlint: ["non-standard-uid", "non-standard-gid", "file-parent-ownership-mismatch"],
    find: ({ entries, users, scripts }) => {
      const isMadeByScript = (account: string): boolean =>
        scripts.some(({ text }) => new RegExp(`\\b(?:useradd|adduser|groupadd|addgroup)\\b.*\\b${account}\\b`).test(text));
      const isKnown = (account: string): boolean => account === "root" || users.includes(account) || isMadeByScript(account);
      return entries.flatMap(({ place, path, owner, group }) => {
        const unknown = [owner, group].find((account) => !isKnown(account));
        return unknown === undefined ? [] : [{ place, message: `${path} belongs to ${owner}:${group}; nothing in the package makes ${unknown}` }];
      });
    },
  },
  {
    id: "size-limit",
    severity: "error",
    about: "more than 4 GiB: rpm's size fields and cpio's end there",
    advice: "split the payload into packages below 4 GiB, or ship it as an archive",
    formats: ["rpm"],
    find: ({ entries }) => {
      const files = entries.filter((entry) => entry.kind === "file");
      const large = files.find(({ sizeBytes = 0 }) => sizeBytes > rpmSizeLimit);
      if (large !== undefined) return [{ place: large.place, message: `${large.source} has ${large.sizeBytes ?? 0} bytes; an rpm ends at ${rpmSizeLimit}` }];
      const total = files.reduce((sum, { sizeBytes = 0 }) => sum + sizeBytes, 0);
      const [first] = files;
      return total > rpmSizeLimit && first !== undefined
        ? [{ place: first.place, message: `the files together have ${total} bytes; an rpm ends at ${rpmSizeLimit}` }]
        : [];
    },
  },
  {
    id: "wrong-machine",
    severity: "error",
    about: "a program for another system or processor than the package's",
    advice: "let the build command build for {os} and {arch}, and put {arch} into the path",
    lintian: ["binary-from-other-architecture"],
    rpmlint: ["invalid-arch", "arch-independent-package-contains-binary-or-object"],
    find: ({ entries, target }) =>
      entries.flatMap((entry) => {
        if (entry.kind !== "file" || entry.nature.kind !== "program") return [];
        const { systems, arch } = entry.nature;
        if (systems.includes("linux") && (arch === undefined || arch === target.arch)) return [];
        return [
          { place: entry.place, message: `${entry.source} is a program for ${systems.join("/")}/${arch ?? "another machine"}, not for linux/${target.arch}` },
        ];
      }),
  },
  {
    id: "no-program",
    severity: "note",
    about: "a package for one processor without a program for it",
    advice: "say packages.arch: all, and there is one package for all processors",
    lintian: ["package-contains-no-arch-dependent-files"],
    rpmlint: ["no-binary"],
    find: ({ entries, target, isForAll, formatsPlace }) => {
      if (isForAll === true) return [];
      const files = entries.filter((entry) => entry.kind === "file");
      const hasProgram = files.some(({ nature }) => nature.kind === "program" || nature.kind === "unknown");
      return hasProgram || files.length === 0 ? [] : [{ place: formatsPlace, message: `nothing in the package for ${target.arch} is machine code` }];
    },
  },
  {
    id: "unstripped-program",
    severity: "warning",
    about: "a program with its table of symbols: twice as large, and of use to debuggers only",
    advice: 'strip it while building: go build -ldflags "-s -w", strip = true in Cargo, cc -s',
    lintian: ["unstripped-binary-or-object", "unstripped-static-library"],
    rpmlint: ["unstripped-binary-or-object"],
    find: eachFile((file) => (file.nature.kind === "program" && file.nature.isStripped === false ? `${file.source} is not stripped` : undefined)),
  },
  {
    id: "static-program",
    severity: "note",
    about: "a program without shared libraries: right for one that runs everywhere, but a fault in what it is linked with is mended by you alone",
    advice: "nothing to do where it is meant, as with Go and musl; publish a bill of materials with it",
    lintian: ["statically-linked-binary", "embedded-library"],
    rpmlint: ["statically-linked-binary"],
    find: eachFile((file) => (file.nature.kind === "program" && file.nature.isStatic === true ? `${file.source} is linked statically` : undefined)),
  },
  {
    id: "manual-page",
    severity: "note",
    about: "a program without a manual page",
    advice: "ship one as /usr/share/man/man1/<program>.1 (man8 for daemons)",
    lintian: ["no-manual-page", "binary-without-manpage"],
    rpmlint: ["no-manual-page-for-binary"],
    find: ({ entries }) => {
      const pages = new Set(entries.flatMap(({ path }) => /^\/usr\/share\/man\/man\d\/(.+)\.\d[a-z]*(?:\.(?:gz|xz|zst))?$/.exec(path)?.[1] ?? []));
      return entries.flatMap(({ kind, path, place }) => {
        const folder = programFolders.find((one) => path.startsWith(one));
        const name = folder === undefined ? undefined : path.slice(folder.length);
        return kind === "directory" || name === undefined || pages.has(name) ? [] : [{ place, message: `${path} has no manual page` }];
      });
    },
  },
  {
    id: "manual-page-plain",
    severity: "warning",
    about: "a manual page that is not compressed: Debian wants gzip -9n below /usr/share/man",
    advice: "run `gzip -9n` on it in the build, and ship the .gz",
    formats: ["deb"],
    lintian: ["uncompressed-manual-page"],
    find: eachFile((file) => (/^\/usr\/share\/man\/.*\.\d[a-z]*$/.test(file.path) ? `${file.path} is not compressed` : undefined)),
  },
  {
    id: "not-executable",
    severity: "warning",
    about: "a program that nobody may run, or a text that pretends to be one",
    advice: 'give it mode "0755" and a first line such as #!/bin/sh, or take both away',
    lintian: ["script-not-executable", "executable-not-elf-or-script", "executable-in-usr-share-doc", "executable-manual-page", "non-standard-executable-perm"],
    rpmlint: ["non-executable-script", "script-without-shebang", "executable-docs", "spurious-executable-perm", "non-standard-executable-perm"],
    find: eachFile((file) => {
      const isInPath = programFolders.some((folder) => file.path.startsWith(folder));
      const isRunnable = file.nature.kind === "program" || file.nature.kind === "script";
      if (isRunnable && !isExecutable(file) && (isInPath || file.nature.kind === "script"))
        return `${file.path} has the mode ${octal(file.mode)}, so nobody can run it`;
      if (isExecutable(file) && /^\/usr\/share\/(?:doc|man)\//.test(file.path)) return `${file.path} is a document with the mode ${octal(file.mode)}`;
      return isExecutable(file) && file.nature.kind === "other" ? `${file.path} is executable, but neither a program nor a script` : undefined;
    }),
  },
  {
    id: "script-interpreter-path",
    severity: "warning",
    about: "a shipped script whose interpreter is searched through env, or lies below /usr/local",
    advice: "write the interpreter's whole path: #!/usr/bin/python3",
    lintian: ["interpreter-in-usr-local", "incorrect-path-for-interpreter", "wrong-path-for-interpreter", "example-incorrect-path-for-interpreter"],
    rpmlint: ["env-script-interpreter", "wrong-script-interpreter"],
    find: eachFile((file) => {
      if (file.nature.kind !== "script") return undefined;
      const { interpreter } = file.nature;
      return /^(?:\/usr)?\/bin\/env\b|^\/usr\/local\//.test(interpreter) || !interpreter.startsWith("/")
        ? `${file.path} is run by ${JSON.stringify(interpreter)}`
        : undefined;
    }),
  },
  {
    id: "script-file-syntax",
    severity: "error",
    about: "a shipped script that its shell cannot read, or with Windows line ends, so that the kernel finds no interpreter",
    advice: "run `sh -n` on it, and save it with LF",
    lintian: ["shell-script-fails-syntax-check"],
    rpmlint: ["wrong-script-end-of-line-encoding"],
    find: eachFile((file) => {
      if (file.nature.kind !== "script") return undefined;
      if (file.nature.interpreter.endsWith("\r")) return `${file.source} has Windows line ends`;
      return file.nature.syntaxError;
    }),
  },
  {
    id: "interpreter-dependency",
    severity: "warning",
    about: "a shipped script whose interpreter is in no package that this one depends on",
    advice: "add the interpreter's package under packages.depends",
    lintian: [
      "python3-script-but-no-python3-dep",
      "missing-dep-for-interpreter",
      "php-script-but-no-php-cli-dep",
      "gawk-script-but-no-gawk-dep",
      "tclsh-script-but-no-tclsh-dep",
    ],
    find: ({ entries, dependsOn }) =>
      entries.flatMap((entry) => {
        if (entry.kind !== "file" || entry.nature.kind !== "script") return [];
        const program = interpreterProgram(entry.nature.interpreter);
        const isThere = program === undefined || presentInterpreters.has(program) || dependsOn.some((name) => name.includes(program.replace(/[\d.]+$/, "")));
        return isThere ? [] : [{ place: entry.place, message: `${entry.path} needs ${program}, and nothing under packages.depends brings it` }];
      }),
  },
  {
    id: "empty-file",
    severity: "note",
    about: "a file without content",
    advice: "leave it out where nothing looks for it",
    rpmlint: ["zero-length", "zero-perms"],
    find: eachFile((file) => (file.sizeBytes === 0 && file.nature.kind !== "unknown" ? `${file.source} is empty` : undefined)),
  },
];

const isExecutable = (file: FileFacts): boolean => (file.mode & 0o111) !== 0;
const octal = (mode: number): string => mode.toString(8).padStart(4, "0");
const setBits = (mode: number): string => [...((mode & 0o4000) === 0 ? [] : ["setuid"]), ...((mode & 0o2000) === 0 ? [] : ["setgid"])].join(" and ");

/** Essential in Debian and in every installation of Fedora. */
const presentInterpreters = new Set(["sh", "bash", "dash", "perl", "sed"]);

/** `python3` of `/usr/bin/env python3 -u` and of `/usr/bin/python3`. */
function interpreterProgram(interpreter: string): string | undefined {
  const [program = "", ...args] = interpreter.trim().split(/\s+/);
  const named = /(?:^|\/)env$/.test(program) ? args.find((word) => !word.startsWith("-") && !word.includes("=")) : program;
  return named?.split("/").at(-1);
}
