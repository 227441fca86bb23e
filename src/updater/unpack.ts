/** Puts the files of a held artifact to their places, each compared with the signed list while it is written, each durable. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, symlink } from "node:fs/promises";
import { dirname, join, posix } from "node:path";
import { decompress } from "../formats/decompress.ts";
import { readTar } from "../formats/tar-read.ts";
import { readHandle, readHandleInPlace } from "../io/hash-file.ts";
import { SlipwayError } from "../model/errors.ts";
import { requireRunnable } from "./place-check.ts";
import type { HeldArtifact } from "./strategy.ts";
import type { FileTable } from "./transaction.ts";

export type Unpacking = {
  readonly held: HeldArtifact;
  /** Live path -> signed content; `member` is the path in the archive. */
  readonly files: FileTable;
  /** The path to write for a live path: a name that nobody uses yet. Its folder is made where absent. */
  readonly destination: (path: string) => string;
  /** Called when the file of this live path is complete, before it is made durable: for owner and labels. */
  readonly finish?: (path: string) => Promise<void>;
  /** Where symbolic links of the archive are made; without it they are refused. */
  readonly linkRoot?: string;
};

/** The manifest lists at most 20,000 files; folders and links may come on top. */
const memberLimit = 60_000;

/** Headers, padding, name records and folders that are not listed: nothing that a real release comes near. */
const overheadBytes = (files: number): number => 1024 * 1024 + files * 8192;

/**
 * Throws `upgrade_verification_failed` for a file that is missing, not listed or of other content, `format_invalid` and `format_limit` for an archive
 * that is damaged, unsafe or larger than its list, `permission_denied` where programs cannot run at their destination. What was written until then is
 * the caller's to remove.
 */
export async function unpackArtifact(unpacking: Unpacking): Promise<void> {
  const { held, files } = unpacking;
  const { artifact } = held;
  const byMember = new Map(Object.entries(files).map(([path, file]) => [file.member ?? path, { path, file }]));
  const listed = new Map((artifact.files ?? []).map((file) => [file.path, file]));
  if (artifact.kind === "binary") {
    const [only] = byMember.values();
    if (only === undefined) throw refused("release_json_mismatch", `${artifact.name} lists no file`);
    await writeFile(unpacking, only.path, readHandleInPlace(held.handle));
    return;
  }
  const codec = codecOf(artifact.name);
  const total = [...listed.values()].reduce((sum, file) => sum + file.size, 0);
  const plain = decompress(readHandle(held.handle), { codec, limitBytes: total + overheadBytes(listed.size), name: artifact.name });
  const links: { readonly path: string; readonly target: string }[] = [];
  for await (const entry of readTar(plain, { name: artifact.name, memberLimit, pax: "read" })) {
    if (entry.kind === "refused") {
      throw new SlipwayError("format_invalid", `${artifact.name} holds ${JSON.stringify(entry.name.slice(0, 200))}, which is never installed`, {
        hint: "nothing was changed; tell the vendor",
        detail: entry.reason,
      });
    }
    if (entry.kind === "directory") continue; // folders come into being with their files
    if (entry.kind === "symlink") {
      links.push(checkLink(entry.path, entry.target ?? "", artifact.name));
      continue;
    }
    const signed = listed.get(entry.path);
    if (signed === undefined) throw refused("release_json_mismatch", `${artifact.name} holds ${entry.path}, which release.json does not list`);
    if (signed.size !== entry.sizeBytes) throw refused("size_mismatch", `${entry.path} has ${entry.sizeBytes} bytes; signed were ${signed.size}`);
    listed.delete(entry.path);
    const wanted = byMember.get(entry.path);
    if (wanted !== undefined) await writeFile(unpacking, wanted.path, entry.body());
  }
  const [missing] = listed.keys();
  if (missing !== undefined) throw refused("release_json_mismatch", `${artifact.name} does not hold ${missing}, which release.json lists`);
  if (links.length > 0 && unpacking.linkRoot === undefined) {
    throw new SlipwayError("format_invalid", `${artifact.name} holds the link ${links[0]?.path ?? ""}; strategy inplace replaces files only`, {
      hint: "nothing was changed; strategy versions installs links, too",
    });
  }
  // Links last: while files are written, no path of the archive can lead anywhere else.
  for (const link of links) {
    const at = join(unpacking.linkRoot ?? "", link.path);
    await mkdir(dirname(at), { recursive: true, mode: 0o755 });
    await symlink(link.target, at);
  }
}

function refused(detail: string, message: string): SlipwayError {
  return new SlipwayError("upgrade_verification_failed", message, { detail });
}

function codecOf(name: string): "gzip" | "zstd" | "xz" | "none" {
  if (name.endsWith(".tar.gz") || name.endsWith(".tgz")) return "gzip";
  if (name.endsWith(".tar.zst")) return "zstd";
  if (name.endsWith(".tar.xz")) return "xz";
  if (name.endsWith(".tar")) return "none";
  throw new SlipwayError("format_invalid", `${name} is no archive that the updater unpacks (.tar, .tar.gz, .tar.zst, .tar.xz)`, {
    hint: "nothing was changed; choose another file of the release with artifact: { name_contains: … }",
  });
}

/** A link may lead to another place of the same version, never out of it. */
function checkLink(path: string, target: string, archive: string): { readonly path: string; readonly target: string } {
  const reached = posix.normalize(posix.join(posix.dirname(path), target));
  if (target === "" || posix.isAbsolute(target) || target.includes("\\") || reached === ".." || reached.startsWith("../")) {
    throw new SlipwayError("format_invalid", `${archive} holds the link ${path} -> ${JSON.stringify(target.slice(0, 200))}, which leads out of the release`, {
      hint: "nothing was changed; tell the vendor",
    });
  }
  return { path, target };
}

async function writeFile(unpacking: Unpacking, path: string, content: AsyncIterable<Uint8Array>): Promise<void> {
  const expected = unpacking.files[path];
  if (expected === undefined) throw refused("release_json_mismatch", `${path} is not listed`);
  const destination = unpacking.destination(path);
  await mkdir(dirname(destination), { recursive: true, mode: 0o755 });
  const handle = await open(destination, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  try {
    const hash = createHash("sha256");
    let size = 0;
    for await (const piece of content) {
      hash.update(piece);
      size += piece.length;
      await handle.appendFile(piece);
    }
    const got = hash.digest("hex");
    if (got !== expected.sha256) throw refused("hash_mismatch", `${path} has SHA-256 ${got} (${size} bytes); signed was ${expected.sha256}`);
    await handle.chmod(expected.mode);
    await unpacking.finish?.(path);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await requireRunnable(destination);
}
