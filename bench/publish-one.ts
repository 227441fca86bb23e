/**
 * Adds packages to a repository folder with the project's own index code: what one publication does to the indexes, without a server.
 *
 * The folder holds `state.json`, `blobs/` (the server's blob store) and `tree/` (what is served). Run as a program it takes the options as
 * one JSON argument, so that bench/publish.ts can measure a whole process; forked, it stays and publishes what its parent names.
 */
import { createHash } from "node:crypto";
import { link, mkdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { bytesSource } from "../src/formats/byte-source.ts";
import { readDeb } from "../src/formats/deb-read.ts";
import { readRpm } from "../src/formats/rpm-read.ts";
import { writeFileAtomic } from "../src/io/atomic-file.ts";
import { digestHex } from "../src/model/digest.ts";
import { type AptEntry, aptStanza, aptStateSchema, emptyApt, renderApt, updateApt } from "../src/repositories/apt.ts";
import type { IndexFiles } from "../src/repositories/index-files.ts";
import { renderYum, updateYum, yumStateSchema } from "../src/repositories/yum.ts";
import { type YumFragments, yumFragments } from "../src/repositories/yum-fragments.ts";
import type { BlobStore } from "../src/store/blobs.ts";
import { openDiskBlobs } from "../src/store/disk-blobs.ts";
import { clearsign, type OpenpgpSigningKey, readSigningKey, signDetachedArmored } from "../src/trust/openpgp.ts";

/** Synthetic packages that are added at once. */
const growStep = 5000;

export type IndexKind = "apt" | "yum";
export type PublishOptions = { readonly kind: IndexKind; readonly folder: string; readonly packages: readonly string[]; readonly keyFile: string };

/** The server opens its key once, at start. */
const openKeys = new Map<string, Promise<OpenpgpSigningKey>>();

/** Nor does it open its blob store anew for each publication. */
const openStores = new Map<string, Promise<BlobStore>>();

function openBlobs(folder: string): Promise<BlobStore> {
  const opening = openStores.get(folder) ?? mkdir(folder, { recursive: true }).then(() => openDiskBlobs({ folder }));
  openStores.set(folder, opening);
  return opening;
}

async function openKey(file: string): Promise<OpenpgpSigningKey> {
  const known = openKeys.get(file);
  if (known !== undefined) return known;
  const opening = readFile(file).then((bytes) => readSigningKey(bytes, { now: new Date() }));
  openKeys.set(file, opening);
  return opening;
}

type Described = { readonly kind: "apt"; readonly add: readonly AptEntry[] } | { readonly kind: "yum"; readonly add: readonly YumFragments[] };

/** Reads and checks each package, then adds all of them in one publication. Every file is durable when it returns. */
export async function publishOne({ kind, folder, packages, keyFile }: PublishOptions): Promise<void> {
  const described: Described =
    kind === "apt" ? { kind, add: await Promise.all(packages.map(describeDeb)) } : { kind, add: await Promise.all(packages.map(describeRpm)) };
  await publishDescribed(folder, keyFile, described);
}

/** Adds what is described already, through the server's own blob store: the indexes, then each rendered file, then the state. */
async function publishDescribed(folder: string, keyFile: string, described: Described): Promise<void> {
  const key = await openKey(keyFile);
  const now = new Date();
  const seconds = Math.floor(now.getTime() / 1000);
  const sign = { clearsign: (text: string) => clearsign(text, key, seconds), detach: (bytes: Uint8Array) => signDetachedArmored(bytes, key, seconds) };
  const blobs = await openBlobs(join(folder, "blobs"));
  // As src/releases/snapshot-views.ts has it, whose import would weigh on the time of the whole process.
  const files: IndexFiles = {
    readInto: (file, start, into) => blobs.readInto(file, start, into),
    put: async (content) => (await blobs.put(content)).digest,
  };
  const statePath = join(folder, "state.json");
  const stored = await readFile(statePath, "utf8").then(
    (text): unknown => JSON.parse(text),
    () => undefined,
  );
  const grow = async () => {
    if (described.kind === "apt") {
      const before = stored === undefined ? await emptyApt(files, ["amd64"]) : aptStateSchema.parse(stored);
      const state = await updateApt(before, { add: described.add }, files);
      return { state, render: () => renderApt({ state, product: "bench", channel: "stable", now, validUntilDays: 7, sign }) };
    }
    const before = stored === undefined ? undefined : yumStateSchema.parse(stored);
    const state = await updateYum(before, { add: described.add }, files);
    return { state, render: () => renderYum({ state, now, sign, publicKey: key.privateKey.toPublic().armor() }) };
  };
  const { state, render } = await grow();
  const rendered = await render();
  await Promise.all(rendered.map(async ({ bytes }) => bytes !== undefined && blobs.put(bytes)));
  for (const file of rendered) {
    await linkInTree(join(folder, "blobs/sha256", digestHex(file.digest).slice(0, 2), digestHex(file.digest)), join(folder, "tree", file.path));
  }
  await writeFileAtomic(statePath, JSON.stringify(state));
}

/** For the clients that check the result; the server has rows in its database instead. */
async function linkInTree(blob: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await rm(path, { force: true });
  await link(blob, path);
}

/**
 * Grows an empty repository to the packages `from 0 to count` without their files: real fragments of one real package (`model`), each
 * with the name, version and digest of its own number. `nameOf` and `versionOf` as the caller names its real packages.
 */
export async function growFromModel(
  options: Omit<PublishOptions, "packages"> & { readonly model: string; readonly count: number },
  nameOf: (index: number) => string,
  versionOf: (index: number) => string,
): Promise<void> {
  const { kind, folder, keyFile, model, count } = options;
  const numbers = Array.from({ length: count }, (_, index) => index);
  const describe = await likePackage(kind, await readFile(model), nameOf, versionOf);
  for (let start = 0; start < count; start += growStep) await publishDescribed(folder, keyFile, describe(numbers.slice(start, start + growStep)));
}

type DescribeNumbers = (numbers: readonly number[]) => Described;

/** Entries like those of one real package, each with the name, version and digest of its own number. */
export function likePackage(
  kind: IndexKind,
  model: Uint8Array,
  nameOf: (index: number) => string,
  versionOf: (index: number) => string,
): Promise<DescribeNumbers> {
  return kind === "apt" ? debLike(model, nameOf, versionOf) : rpmLike(model, nameOf, versionOf);
}

async function debLike(bytes: Uint8Array, nameOf: (index: number) => string, versionOf: (index: number) => string): Promise<DescribeNumbers> {
  const deb = await readDeb(bytesSource(bytes));
  return (numbers) => ({
    kind: "apt",
    add: numbers.map((index) => {
      const own: Readonly<Record<string, string>> = { Package: nameOf(index), Version: versionOf(index) };
      const fields = deb.fields.map((field) => ({ ...field, value: own[field.name] ?? field.value }));
      const filename = `pool/main/c/${nameOf(index)}/${nameOf(index)}_${versionOf(index)}_amd64.deb`;
      return { arch: deb.architecture, stanza: aptStanza({ ...deb, fields }, { filename, sha256: sha256Of(Buffer.from(filename)) }) };
    }),
  });
}

async function rpmLike(bytes: Uint8Array, nameOf: (index: number) => string, versionOf: (index: number) => string): Promise<DescribeNumbers> {
  const rpm = await readRpm(bytesSource(bytes));
  return (numbers) => ({
    kind: "yum",
    add: numbers.map((index) => {
      const [name, version] = [nameOf(index), versionOf(index)];
      const href = `${rpm.arch}/${name}-${version}-1.${rpm.arch}.rpm`;
      const files = rpm.files.map((file) => ({ ...file, path: file.path.replaceAll(rpm.name, name) }));
      const provides = rpm.provides.map((entry) => ({ ...entry, name: entry.name.replace(rpm.name, name), version }));
      return yumFragments({ ...rpm, name, version, files, provides }, { href, sha256: sha256Of(Buffer.from(href)), modifiedAt: new Date() });
    }),
  });
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

/** What a resident process answers to the path of a package: what publishing it took, and its largest resident memory so far. */
export type ResidentAnswer = { readonly wallMs: number; readonly cpuMs: number; readonly peakBytes: number };

/** Publishes each package whose path comes by IPC, as the server does in one process that stays; ends when its parent hangs up. */
function serveParent(options: Omit<PublishOptions, "packages">): void {
  process.on("message", (file: string) => void answer({ ...options, packages: [file] }));
}

async function answer(options: PublishOptions): Promise<void> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await publishOne(options);
  const wallMs = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  process.send?.({ wallMs, cpuMs: (user + system) / 1000, peakBytes: await peakMemory() } satisfies ResidentAnswer);
}

/** Not getrusage's maxRSS: that one starts at the memory of the parent that forked. */
export async function peakMemory(): Promise<number> {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(await readFile("/proc/self/status", "utf8"))?.[1]) * 1024;
}

if (import.meta.main) {
  const options = JSON.parse(process.argv[2] ?? "{}") as PublishOptions;
  if (process.send === undefined) await publishOne(options);
  else serveParent(options);
}
