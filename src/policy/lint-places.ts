/** Lint rules about where the files of a package go, and under which names. */
import type { DirectoryFacts, PackageFacts } from "../model/package-facts.ts";
import { eachEntry, eachFile, isBelow, programFolders } from "./lint-entries.ts";
import type { Hit, LintRule } from "./lint-rule.ts";

/** Links into /usr on every distribution that has merged it; a package that owns `/lib` conflicts with `filesystem` there. */
const aliasedFolders = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] as const;
/** Top folders of FHS 3.0 that packages may write to. */
const packageFolders = new Set(["bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "srv", "usr", "var"]);
/** For operators, users and run time (FHS 3.0; Debian policy 9.1). */
const foreignFolders = ["/home", "/root", "/tmp", "/run", "/var/run", "/var/tmp", "/var/lock", "/mnt", "/media", "/dev", "/proc", "/sys", "/etc/skel"] as const;
/** NAME_MAX of Linux' file systems; eCryptfs, as on encrypted homes, ends at 143. */
const nameLimit = 255;
/** PATH_MAX without the zero byte. */
const pathLimit = 4095;
const strayNames =
  /^(?:\.git|\.gitignore|\.gitattributes|\.gitmodules|\.gitkeep|\.svn|\.hg|\.hgignore|\.bzr|CVS|\.DS_Store|Thumbs\.db|\.npmignore|.*~|.*\.(?:orig|rej|bak|swp))$/;

export const placeRules: readonly LintRule[] = [
  {
    id: "usr-local",
    severity: "warning",
    about: "files below /usr/local: that is the operator's own place, and Debian and Fedora keep packages out of it",
    advice: "ship programs in /usr/bin, everything else below /usr/lib/<product> or /usr/share/<product>",
    lintian: ["file-in-usr-local", "dir-in-usr-local", "file-in-unusual-dir"],
    rpmlint: ["dir-or-file-in-usr-local"],
    find: eachEntry((entry) => (isBelow(entry.path, "/usr/local") ? `${entry.path} is below /usr/local` : undefined)),
  },
  {
    id: "aliased-path",
    severity: "warning",
    about: "a path through /bin, /sbin or /lib, which are links into /usr: dpkg and rpm then know the file by another name than the system",
    advice: "write the path below /usr: /usr/lib/systemd/system, /usr/bin",
    lintian: ["aliased-location", "systemd-service-in-odd-location"],
    find: eachEntry((entry) =>
      aliasedFolders.some((folder) => isBelow(entry.path, folder)) ? `${entry.path} goes through a link; the real place is /usr${entry.path}` : undefined,
    ),
  },
  {
    id: "foreign-folder",
    severity: "warning",
    about: "files in folders of users, of the operator or of run time: they vanish at boot, or are no business of a package",
    advice: "let the program or systemd (StateDirectory=, RuntimeDirectory=) make what it needs at run time",
    lintian: [
      "dir-or-file-in-home",
      "dir-or-file-in-tmp",
      "dir-or-file-in-run",
      "dir-or-file-in-var-run",
      "dir-or-file-in-var-lock",
      "dir-or-file-in-mnt",
      "dir-or-file-in-var-tmp",
      "non-standard-dir-perm",
      "package-contains-file-in-etc-skel",
      "dir-or-file-in-dev",
    ],
    rpmlint: [
      "dir-or-file-in-home",
      "dir-or-file-in-tmp",
      "dir-or-file-in-mnt",
      "dir-or-file-in-var-run",
      "dir-or-file-in-var-lock",
      "dir-or-file-in-var-tmp",
      "dir-or-file-in-var-local",
    ],
    find: eachEntry((entry) => {
      const folder = foreignFolders.find((one) => isBelow(entry.path, one));
      return folder === undefined ? undefined : `${entry.path} is below ${folder}, which is not for packages`;
    }),
  },
  {
    id: "opt-folder",
    severity: "note",
    about: "files below /opt or /srv: right for a vendor outside a distribution (FHS 3.13), refused inside one",
    advice: "use /usr/bin and /usr/lib/<product> if the package shall pass lintian and rpmlint",
    lintian: ["dir-or-file-in-opt", "dir-or-file-in-srv"],
    rpmlint: ["dir-or-file-in-opt", "dir-or-file-in-srv"],
    find: eachEntry((entry) => (isBelow(entry.path, "/opt") || isBelow(entry.path, "/srv") ? `${entry.path} is below ${entry.path.slice(0, 4)}` : undefined)),
  },
  {
    id: "top-folder",
    severity: "warning",
    about: "a new folder at the top of the file system",
    advice: "use /usr, /etc, /var or /opt",
    lintian: ["non-standard-toplevel-dir", "file-in-root-and-usr", "file-in-unusual-dir"],
    find: eachEntry((entry) => {
      const [, top = "", ...below] = entry.path.split("/");
      const isForeign = foreignFolders.some((folder) => isBelow(entry.path, folder));
      if (isForeign || packageFolders.has(top)) return undefined;
      return below.length === 0 ? `${entry.path} stands at the top of the file system` : `${entry.path} makes the folder /${top} at the top of the file system`;
    }),
  },
  {
    id: "apk-dotfile",
    severity: "error",
    about: "a file at the top whose name begins with a dot: apk takes it for its own and drops it without a word",
    advice: "put it into a folder",
    formats: ["apk"],
    find: eachEntry((entry) => (entry.path.startsWith("/.") ? `${entry.path} would not be in the apk` : undefined)),
  },
  {
    id: "config-outside-etc",
    severity: "warning",
    about: "a configuration outside /etc: deb and rpm keep an operator's edit there, but no operator looks there",
    advice: "move it below /etc/<product>",
    formats: ["deb", "rpm"],
    lintian: ["non-etc-file-marked-as-conffile", "file-in-usr-marked-as-conffile"],
    rpmlint: ["non-etc-or-var-file-marked-as-conffile"],
    find: eachFile((file) => (file.config !== undefined && !isBelow(file.path, "/etc") ? `the configuration ${file.path} is outside /etc` : undefined)),
  },
  {
    id: "apk-config-outside-etc",
    severity: "error",
    about: "a configuration outside /etc in an apk: apk protects /etc only, so an upgrade overwrites the operator's edit",
    advice: "move it below /etc/<product>",
    formats: ["apk"],
    find: eachFile((file) => (file.config !== undefined && !isBelow(file.path, "/etc") ? `apk overwrites ${file.path} on upgrade` : undefined)),
  },
  {
    id: "etc-without-config",
    severity: "warning",
    about: "a file below /etc that is not marked as configuration: an upgrade overwrites the operator's edit",
    advice: "write `{ from: …, config: noreplace }`, or ship it below /usr/share or /usr/lib",
    lintian: ["file-in-etc-not-marked-as-conffile"],
    rpmlint: ["non-conffile-in-etc"],
    find: eachFile((file) => (isBelow(file.path, "/etc") && file.config === undefined ? `${file.path} is not marked as configuration` : undefined)),
  },
  {
    id: "shared-folder-owned",
    severity: "error",
    about: "the package owns a folder of the system: rpm refuses to install two owners that disagree on its rights",
    advice: "leave the folder out: it is there already",
    rpmlint: ["standard-dir-owned-by-package"],
    find: eachEntry((entry) =>
      entry.kind === "directory" && entry.isShared ? `${entry.path} belongs to the system (the package filesystem or base-files)` : undefined,
    ),
  },
  {
    id: "folder-unowned",
    severity: "note",
    about: "files in a folder of the product that the package does not own: rpm leaves the empty folder behind",
    advice: "add `/the/folder: { directory: true }`",
    formats: ["rpm"],
    find: unownedFolders,
  },
  {
    id: "path-length",
    severity: "error",
    about: "a path that no file system can hold",
    advice: "shorten the name",
    find: eachEntry((entry) => {
      const longest = Math.max(...entry.path.split("/").map((name) => Buffer.byteLength(name)));
      if (longest > nameLimit) return `a name in ${entry.path.slice(0, 80)}… has ${longest} bytes; file systems end at ${nameLimit}`;
      return Buffer.byteLength(entry.path) > pathLimit
        ? `${entry.path.slice(0, 80)}… has ${Buffer.byteLength(entry.path)} bytes; Linux ends at ${pathLimit}`
        : undefined;
    }),
  },
  {
    id: "name-encoding",
    severity: "warning",
    about: "a program's name with letters beyond ASCII, or a name with spaces",
    advice: "rename it",
    lintian: ["file-name-in-PATH-is-not-ASCII", "file-name-contains-wildcard-character"],
    find: eachEntry((entry) => {
      const isProgram = programFolders.some((folder) => entry.path.startsWith(folder));
      return isProgram && !/^[!-~]+$/.test(entry.path) ? `${JSON.stringify(entry.path)} cannot be typed on every keyboard` : undefined;
    }),
  },
  {
    id: "program-folder",
    severity: "warning",
    about: "a folder inside a folder of programs",
    advice: "put it below /usr/lib/<product>",
    lintian: ["subdir-in-bin", "subdir-in-usr-bin"],
    rpmlint: ["subdir-in-bin"],
    find: eachEntry((entry) => {
      const folder = programFolders.find((one) => entry.path.startsWith(one));
      const rest = folder === undefined ? "" : entry.path.slice(folder.length);
      return rest.includes("/") || (entry.kind === "directory" && rest !== "")
        ? `${entry.path} is in a folder inside ${String(folder).slice(0, -1)}`
        : undefined;
    }),
  },
  {
    id: "doc-folder",
    severity: "warning",
    about: "a file directly in /usr/share or /usr/share/doc",
    advice: "put it into a folder with the product's name",
    lintian: ["file-directly-in-usr-share-doc", "file-directly-in-usr-share"],
    find: eachFile((file) => (/^\/usr\/share\/(?:doc\/)?[^/]+$/.test(file.path) ? `${file.path} has no folder of its own` : undefined)),
  },
  {
    id: "stray-file",
    severity: "warning",
    about: "leftovers of editors, version control or other systems",
    advice: "name the files one by one, or use a pattern that leaves them out",
    lintian: [
      "package-contains-vcs-control-dir",
      "package-contains-vcs-control-file",
      "backup-file-in-package",
      "macos-ds-store-file-in-package",
      "windows-thumbnail-database-in-package",
      "package-contains-npm-ignore-file",
    ],
    rpmlint: ["version-control-internal-file", "backup-file-in-package", "hidden-file-or-dir"],
    find: eachEntry((entry) => {
      const stray = entry.path.split("/").find((name) => strayNames.test(name));
      return stray === undefined ? undefined : `${entry.path}: ${stray} is a leftover`;
    }),
  },
  {
    id: "link-target",
    severity: "warning",
    about: "a link that breaks when the root is mounted elsewhere, or that leads above the root",
    advice: "write the target relative to the link's folder, as `../lib/jaco/jaco`, within one top folder (Debian policy 10.5)",
    lintian: [
      "symlink-should-be-relative",
      "absolute-symbolic-link-target-in-source",
      "symlink-has-too-many-up-segments",
      "package-contains-unsafe-symlink",
      "symlink-is-self-recursive",
      "lengthy-symlink",
      "absolute-symlink-in-top-level-folder",
    ],
    rpmlint: ["symlink-should-be-relative", "symlink-has-too-many-up-segments", "symlink-contains-up-and-down-segments"],
    find: eachEntry((entry) => (entry.kind === "symlink" ? linkProblem(entry.path, entry.target) : undefined)),
  },
];

/** Folders named after the product that hold its files and are nobody's, each once. */
function unownedFolders({ name, entries }: PackageFacts): readonly Hit[] {
  const owned = new Set(entries.filter((entry): entry is DirectoryFacts => entry.kind === "directory").map(({ path }) => path));
  const hits = new Map<string, Hit>();
  for (const { path, place } of entries) {
    const match = new RegExp(`^(/.+?/${escapeRegExp(name)})/`).exec(path)?.[1];
    if (match === undefined || owned.has(match) || hits.has(match)) continue;
    hits.set(match, { place, message: `rpm will leave the folder ${match} behind: nobody owns it` });
  }
  return [...hits.values()];
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function linkProblem(path: string, target: string): string | undefined {
  const folders = path.split("/").slice(1, -1);
  if (target.startsWith("/")) {
    const isSameTop = target.split("/")[1] === folders[0];
    return isSameTop ? `${path} -> ${target} is absolute within /${folders[0] ?? ""}` : undefined;
  }
  const up = target.split("/").filter((part) => part === "..").length;
  if (up > folders.length) return `${path} -> ${target} leads above the root`;
  return target === path.split("/").at(-1) ? `${path} points at itself` : undefined;
}
