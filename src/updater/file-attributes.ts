/**
 * What a file carries besides its content goes over to the file that takes its place: owner, mode, ACL, extended attributes (file capabilities are one)
 * and SELinux label. Node has no calls for the last ones, nor any to see whether a file has them: GNU cp is asked, which puts them on in the order in
 * which the kernel keeps them (a change of the owner takes capabilities away).
 */
import { access, lstat } from "node:fs/promises";
import type { CommandResult } from "../io/command.ts";
import { cleanEnvironment } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Machine } from "./machine.ts";

/** Mounted there where SELinux is in use; a cp that is told to keep a label fails everywhere else. */
const selinuxPath = "/sys/fs/selinux/enforce";
const timeoutMs = 30_000;
/** What cp says where it is of another make (busybox), or was built without a library. */
const unableWords = /unrecognized option|unknown option|invalid option|invalid argument|is built without|built without/i;

/**
 * `to` is a file of our own with its content complete; it is not made durable here. Throws `command_failed` where this machine's cp cannot do it and
 * `permission_denied` where we may not, or the file system of `to` cannot hold what `from` carries; detail `attributes`.
 */
export async function copyAttributes(
  machine: Pick<Machine, "runCommand">,
  { from, to }: { readonly from: string; readonly to: string },
  labelsAt = selinuxPath,
): Promise<void> {
  const hasLabels = await access(labelsAt).then(
    () => true,
    () => false,
  );
  const kinds = ["mode", "ownership", "xattr", ...(hasLabels ? ["context"] : [])];
  const argv = ["cp", "--attributes-only", `--preserve=${kinds.join(",")}`, "--no-dereference", "--no-target-directory", "--", from, to];
  let result: CommandResult;
  try {
    result = await machine.runCommand(argv, { timeoutMs, env: { ...cleanEnvironment(), LC_ALL: "C" } });
  } catch (error) {
    throw unable(from, error instanceof Error ? error.message : String(error));
  }
  const said = result.stderr.trim().split("\n")[0] ?? "";
  if (result.exitCode !== 0) throw unableWords.test(said) ? unable(from, said) : notAllowed(from, said === "" ? `cp ended with ${result.exitCode}` : said);
  // cp is silent about an owner that only root could give.
  const [wanted, got] = [await lstat(from), await lstat(to)];
  if (wanted.uid !== got.uid || wanted.gid !== got.gid || (wanted.mode & 0o7777) !== (got.mode & 0o7777)) {
    throw notAllowed(from, `owner ${wanted.uid}:${wanted.gid} and mode ${(wanted.mode & 0o7777).toString(8)} could not be given to the new file`);
  }
}

function unable(path: string, said: string): SlipwayError {
  return new SlipwayError("command_failed", `what ${path} carries besides its content (capabilities, ACL, labels) would be lost: ${said}`, {
    detail: "attributes",
    place: path,
    hint: "install GNU coreutils, whose cp keeps it (Alpine: `apk add coreutils`), or use strategy versions",
  });
}

function notAllowed(path: string, said: string): SlipwayError {
  return new SlipwayError("permission_denied", `what ${path} carries besides its content cannot be kept: ${said}`, {
    detail: "attributes",
    place: path,
    hint: "run slipway as root, with root and state_dir on file systems that hold what `getcap`, `getfacl` and `getfattr -d -m -` show of the file",
  });
}
