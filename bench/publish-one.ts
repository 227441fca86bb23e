/**
 * Adds packages to a repository folder with the project's own index code: what one publication does to the indexes, without a server.
 *
 * The folder holds `state.json`, `blobs/` (index blocks by digest) and `tree/` (what is served). Run as a program it takes the options as
 * one JSON argument, so that bench/publish.ts can measure a whole process.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { bytesSource } from "../src/formats/byte-source.ts";
import { readDeb } from "../src/formats/deb-read.ts";
import { readRpm } from "../src/formats/rpm-read.ts";
import { writeFileAtomic } from "../src/io/atomic-file.ts";
import { type Digest, digestHex } from "../src/model/digest.ts";
import { type AptEntry, aptStanza, aptStateSchema, emptyApt, renderApt, updateApt } from "../src/repositories/apt.ts";
import { type RepositoryFile, readFileParts } from "../src/repositories/repository-file.ts";
import { emptyYum, renderYum, updateYum, yumStateSchema } from "../src/repositories/yum.ts";
import { type YumFragments, yumFragments } from "../src/repositories/yum-fragments.ts";
import { clearsign, type OpenpgpSigningKey, readSigningKey, signDetachedArmored } from "../src/trust/openpgp.ts";

export type IndexKind = "apt" | "yum";
export type PublishOptions = { readonly kind: IndexKind; readonly folder: string; readonly packages: readonly string[]; readonly keyFile: string };

/** The server opens its key once, at start. */
const openKeys = new Map<string, Promise<OpenpgpSigningKey>>();

async function openKey(file: string): Promise<OpenpgpSigningKey> {
  const known = openKeys.get(file);
  if (known !== undefined) return known;
  const opening = readFile(file).then((bytes) => readSigningKey(bytes, { now: new Date() }));
  openKeys.set(file, opening);
  return opening;
}

/** Reads and checks each package, then adds all of them in one publication. Every file is durable when it returns. */
export async function publishOne({ kind, folder, packages, keyFile }: PublishOptions): Promise<void> {
  const key = await openKey(keyFile);
  const now = new Date();
  const seconds = Math.floor(now.getTime() / 1000);
  const sign = { clearsign: (text: string) => clearsign(text, key, seconds), detach: (bytes: Uint8Array) => signDetachedArmored(bytes, key, seconds) };
  const blobPath = (digest: Digest): string => join(folder, "blobs", digestHex(digest));
  const openBlock = (digest: Digest): Promise<Uint8Array> => readFile(blobPath(digest));
  const statePath = join(folder, "state.json");
  const stored = await readFile(statePath, "utf8").then(
    (text): unknown => JSON.parse(text),
    () => undefined,
  );
  await mkdir(join(folder, "blobs"), { recursive: true });
  const grow = async () => {
    if (kind === "apt") {
      const before = stored === undefined ? await emptyApt(["amd64"]) : aptStateSchema.parse(stored);
      const update = await updateApt(before, { add: await Promise.all(packages.map(describeDeb)) }, openBlock);
      return { ...update, files: () => renderApt({ state: update.state, product: "bench", channel: "stable", now, validUntilDays: 7, sign }) };
    }
    const before = stored === undefined ? await emptyYum() : yumStateSchema.parse(stored);
    const update = await updateYum(before, { add: await Promise.all(packages.map(describeRpm)) }, openBlock);
    return { ...update, files: () => renderYum({ state: update.state, now, sign, publicKey: key.privateKey.toPublic().armor() }) };
  };
  const { state, blocks, files } = await grow();
  for (const block of blocks) await writeFileAtomic(blobPath(block.digest), block.bytes);
  for (const file of await files()) await writeTreeFile(join(folder, "tree"), file, openBlock);
  await writeFileAtomic(statePath, JSON.stringify(state));
}

async function writeTreeFile(tree: string, file: RepositoryFile, openBlock: (digest: Digest) => Promise<Uint8Array>): Promise<void> {
  const path = join(tree, file.path);
  await mkdir(dirname(path), { recursive: true });
  const pieces: Uint8Array[] = [];
  for await (const piece of readFileParts(file, openBlock)) pieces.push(piece);
  await writeFileAtomic(path, Buffer.concat(pieces), { mode: 0o644 });
}

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function describeDeb(path: string): Promise<AptEntry> {
  const bytes = await readFile(path);
  const deb = await readDeb(bytesSource(bytes));
  return { arch: deb.architecture, stanza: aptStanza(deb, { filename: `pool/main/c/${deb.name}/${basename(path)}`, sha256: sha256Of(bytes) }) };
}

async function describeRpm(path: string): Promise<YumFragments> {
  const bytes = await readFile(path);
  const rpm = await readRpm(bytesSource(bytes));
  return yumFragments(rpm, { href: `${rpm.arch}/${basename(path)}`, sha256: sha256Of(bytes), modifiedAt: new Date() });
}

if (import.meta.main) await publishOne(JSON.parse(process.argv[2] ?? "{}") as PublishOptions);
