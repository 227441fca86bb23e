/** What goes into an image's layer: the product's entries with numbers for owners, and the system files that were asked for. */
import { lstat, readdir, readlink } from "node:fs/promises";
import { join, posix } from "node:path";
import { bytesSource } from "../formats/byte-source.ts";
import { comparePaths } from "../formats/entry-path.ts";
import type { OciLayerEntry } from "../formats/oci-layer.ts";
import type { PackageEntry } from "../formats/package.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { safeJoin } from "../io/safe-path.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ImageAccount, PlannedImage } from "./image-plan.ts";

/** Where distributions keep them; the first that is there is the build machine's. */
export const machineCaBundles: readonly string[] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
export const machineTimeZones = "/usr/share/zoneinfo";

const caBundlePath = "/etc/ssl/certs/ca-certificates.crt";
/** Mozilla's whole list has 220 kB. */
const caBundleLimitBytes = 8 * 1024 * 1024;
/** The largest real zone has 4 kB. */
const timeZoneLimitBytes = 64 * 1024;
const timeZoneCountLimit = 5_000;

const byRoot = { owner: "root", group: "root", uid: 0, gid: 0 } as const;

/**
 * Looks the owners up and sorts. Throws `recipe_invalid` for an owner that neither is root nor among the image's users, and where two
 * entries have one path.
 */
export function layerEntries(
  plan: PlannedImage,
  groups: { readonly product: readonly PackageEntry[]; readonly system: readonly OciLayerEntry[] },
): readonly OciLayerEntry[] {
  const users = new Map([["root", 0], ...plan.accounts.map((account) => [account.name, account.uid] as const)]);
  const owners = new Map([["root", 0], ...plan.accounts.map((account) => [account.name, account.gid] as const)]);
  const numberOf = (ids: ReadonlyMap<string, number>, name: string, path: string): number => {
    const id = ids.get(name);
    if (id === undefined)
      throw new SlipwayError("recipe_invalid", `${path} belongs to ${name}, which is not among the image's users`, {
        place: plan.place,
        hint: "add it to images.users, or leave the owner out",
      });
    return id;
  };
  const product = groups.product.flatMap((entry): readonly OciLayerEntry[] =>
    entry.kind === "ghost" ? [] : [{ ...entry, uid: numberOf(users, entry.owner, entry.path), gid: numberOf(owners, entry.group, entry.path) }],
  );
  const all = [...product, ...groups.system].sort((left, right) => comparePaths(left.path, right.path));
  const twice = all.find((entry, index) => entry.path === all[index - 1]?.path);
  if (twice !== undefined)
    throw new SlipwayError("recipe_invalid", `${twice.path} is written twice: by images.files and by caBundle, timeZones, nsswitch or users`, {
      place: plan.place,
    });
  return all;
}

export type MachineFiles = {
  /** The recipe's folder, absolute. */
  readonly folder: string;
  readonly caBundles?: readonly string[];
  readonly timeZones?: string;
};

/**
 * The system files of the plan. A CA bundle or time zones of the build machine change with it: a recipe that must rebuild byte for byte on
 * another machine names its own. Throws `source_missing` and `source_unusable`.
 */
export async function systemEntries(plan: PlannedImage, machine: MachineFiles): Promise<readonly OciLayerEntry[]> {
  const { caBundle, timeZones, hasNsswitch } = plan.systemFiles;
  const entries: OciLayerEntry[] = [];
  if (caBundle !== undefined) {
    const paths = caBundle.kind === "recipe" ? [safeJoin(machine.folder, caBundle.path)] : (machine.caBundles ?? machineCaBundles);
    entries.push(textFile(caBundlePath, await readCaBundle(paths, plan.place)));
  }
  if (timeZones !== undefined) {
    const zones = timeZones.kind === "recipe" ? safeJoin(machine.folder, timeZones.path) : (machine.timeZones ?? machineTimeZones);
    entries.push(...(await readTimeZones(zones, plan.place)));
  }
  if (hasNsswitch) entries.push(textFile("/etc/nsswitch.conf", Buffer.from("hosts: files dns\n")));
  if (plan.accounts.length > 0) {
    entries.push(textFile("/etc/passwd", Buffer.from(passwd(plan.accounts))), textFile("/etc/group", Buffer.from(group(plan.accounts))));
  }
  return entries;
}

function textFile(path: string, bytes: Uint8Array): OciLayerEntry {
  return { kind: "file", path, mode: 0o644, source: bytesSource(bytes), ...byRoot };
}

const root: ImageAccount = { name: "root", uid: 0, gid: 0, home: "/root", shell: "/sbin/nologin" };

/** passwd(5); root comes first, the others by number. */
function passwd(accounts: readonly ImageAccount[]): string {
  return sortedAccounts(accounts)
    .map(({ name, uid, gid, home, shell }) => `${name}:x:${uid}:${gid}:${name}:${home}:${shell}\n`)
    .join("");
}

/** group(5). */
function group(accounts: readonly ImageAccount[]): string {
  return sortedAccounts(accounts)
    .map(({ name, gid }) => `${name}:x:${gid}:\n`)
    .join("");
}

function sortedAccounts(accounts: readonly ImageAccount[]): readonly ImageAccount[] {
  return [root, ...accounts.filter((account) => account.name !== "root").sort((left, right) => left.uid - right.uid || comparePaths(left.name, right.name))];
}

/** A file of certificates and nothing else: a private key pasted below them would be published with the image. */
async function readCaBundle(paths: readonly string[], place: string): Promise<Buffer> {
  for (const path of paths) {
    if ((await fileKind(path)) === undefined) continue;
    const bytes = await readFileBounded(path, caBundleLimitBytes);
    const labels = [...bytes.toString("latin1").matchAll(/^-----BEGIN ([A-Z0-9 ]+)-----/gm)].map((match) => match[1]);
    const odd = labels.find((label) => label !== "CERTIFICATE" && label !== "TRUSTED CERTIFICATE");
    if (odd !== undefined) throw new SlipwayError("source_unusable", `${path} holds a ${odd}, not only certificates`, { place: path });
    if (labels.length === 0) throw new SlipwayError("source_unusable", `${path} holds no certificate in PEM form`, { place: path });
    return bytes;
  }
  throw new SlipwayError("source_missing", `there is no CA bundle at ${paths.join(", ")}`, {
    place,
    hint: "install ca-certificates on the build machine, or name a file in caBundle",
  });
}

/** Compiled zones (TZif, RFC 9636) and the links between them; `posix` and `right` are the same zones again. */
async function readTimeZones(folder: string, place: string): Promise<readonly OciLayerEntry[]> {
  if ((await fileKind(folder)) !== "directory")
    throw new SlipwayError("source_missing", `there are no time zones at ${folder}`, {
      place,
      hint: "install tzdata on the build machine, or name a folder in timeZones",
    });
  const entries: OciLayerEntry[] = [];
  const walk = async (relative: string): Promise<void> => {
    for (const name of (await readdir(join(folder, relative))).sort(comparePaths)) {
      const below = posix.join(relative, name);
      if (below === "posix" || below === "right" || name.startsWith(".")) continue;
      const path = `${machineTimeZones}/${below}`;
      const kind = await fileKind(join(folder, below));
      if (kind === "directory") await walk(below);
      if (kind === "symlink") {
        const target = await readlink(join(folder, below));
        const isInside = !target.startsWith("/") && !posix.join(relative, target).startsWith("..");
        if (isInside) entries.push({ kind: "symlink", path, target, ...byRoot });
      }
      if (kind === "file") {
        const bytes = await readFileBounded(join(folder, below), timeZoneLimitBytes).catch((error: unknown) => {
          if (error instanceof SlipwayError && error.code === "format_limit") return undefined; // tables beside the zones, such as tzdata.zi
          throw error;
        });
        if (bytes?.subarray(0, 4).toString("latin1") === "TZif") entries.push(textFile(path, bytes));
      }
      if (entries.length > timeZoneCountLimit)
        throw new SlipwayError("format_limit", `${folder} holds more than ${timeZoneCountLimit} time zones`, { place: folder });
    }
  };
  await walk("");
  const files = new Set(entries.flatMap((entry) => (entry.kind === "file" ? [entry.path] : [])));
  if (files.size === 0) throw new SlipwayError("source_unusable", `${folder} holds no compiled time zone`, { place: folder });
  return entries;
}

async function fileKind(path: string): Promise<"file" | "directory" | "symlink" | undefined> {
  try {
    const stat = await lstat(path);
    if (stat.isSymbolicLink()) return "symlink";
    if (stat.isDirectory()) return "directory";
    return stat.isFile() ? "file" : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
