/**
 * A ceremony's folder: files that wait for signatures, carried to each key holder and back.
 *
 *     ceremony.json                             the product
 *     online.root.json, offline.root.json       the next roots
 *     online.present.json, offline.present.json the roots of now, where there are some: their keys must sign too
 *     targets.json, channel.<name>.json         the targets role and each channel's
 *
 * `slipway tuf sign` works on it without a network; nothing in it is secret.
 */
import { mkdir, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { readPassphrase } from "../io/passphrase.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseProductName, parseWord } from "../model/names.ts";
import { loadTufKey } from "../packaging/release-signer.ts";
import { channelRole, type TufRepository, tufRepositories } from "../repositories/tuf.ts";
import { addTufSignature, joinTufSignatures, readTufFile, type TufFile, tufLimits, type TufRole } from "../trust/tuf-metadata.ts";
import { goodSignatures } from "../trust/tuf-signatures.ts";
import type { TufSigningKey } from "../trust/tuf-key.ts";
import { type CommandRun, type Invocation, textOption } from "./command.ts";
import type { Output } from "./output.ts";

export type Ceremony = {
  readonly product: string;
  readonly roots: Readonly<Partial<Record<TufRepository, TufFile<"root">>>>;
  /** The roots that the server has now. */
  readonly present: Readonly<Partial<Record<TufRepository, TufFile<"root">>>>;
  readonly targets: TufFile<"targets"> | undefined;
  /** By channel. */
  readonly channels: ReadonlyMap<string, TufFile<"targets">>;
};

const noteSchema = z.strictObject({ schema: z.literal(1), product: z.string().transform(parseProductName) });

/** Writes the files of a new ceremony; throws `conflict` where the folder holds one already. */
export async function writeCeremony(folder: string, product: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) {
    throw new SlipwayError("conflict", `${folder} is not empty`, { hint: "name a folder that does not exist: each ceremony has its own" });
  }
  for (const [name, bytes] of files) await writeFileAtomic(join(folder, name), bytes, { mode: 0o644 });
  await writeFileAtomic(join(folder, "ceremony.json"), `${JSON.stringify({ schema: 1, product })}\n`, { mode: 0o644 });
}

/** Throws `source_missing` for a folder without a ceremony, `metadata_invalid` for a file that is none. */
export async function readCeremony(folder: string): Promise<Ceremony> {
  const note = await readIfThere(join(folder, "ceremony.json"), 4096);
  if (note === undefined) {
    throw new SlipwayError("source_missing", `${folder} holds no ceremony`, { hint: "begin one with `slipway tuf init` or `slipway tuf rotate`" });
  }
  const parsed = noteSchema.safeParse(JSON.parse(note.toString("utf8")));
  if (!parsed.success) throw new SlipwayError("format_invalid", `${join(folder, "ceremony.json")} is not ours`, { cause: parsed.error });
  const roots: Partial<Record<TufRepository, TufFile<"root">>> = {};
  const present: Partial<Record<TufRepository, TufFile<"root">>> = {};
  for (const repository of tufRepositories) {
    const next = await readIfThere(join(folder, `${repository}.root.json`), tufLimits.root);
    const now = await readIfThere(join(folder, `${repository}.present.json`), tufLimits.root);
    if (next !== undefined) roots[repository] = readTufFile("root", next);
    if (now !== undefined) present[repository] = readTufFile("root", now);
  }
  const targets = await readIfThere(join(folder, "targets.json"), tufLimits.targets);
  const channels = new Map<string, TufFile<"targets">>();
  for (const name of (await readdir(folder)).sort()) {
    const channel = /^channel\.([a-z0-9][a-z0-9-]*)\.json$/.exec(name)?.[1];
    if (channel !== undefined) {
      channels.set(parseWord("channel", channel), readTufFile("targets", await readFileBounded(join(folder, name), tufLimits.targets)));
    }
  }
  return { product: parsed.data.product, roots, present, targets: targets === undefined ? undefined : readTufFile("targets", targets), channels };
}

async function readIfThere(path: string, limit: number): Promise<Buffer | undefined> {
  try {
    return await readFileBounded(path, limit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

export function loadKeyOption(invocation: Invocation, reference: string): Promise<TufSigningKey> {
  const { env, options, cwd } = invocation;
  const terminal = { input: process.stdin, output: process.stderr };
  const passphrase = (question: string): Promise<string | undefined> =>
    readPassphrase({ env, file: textOption(options, "passphraseFile"), terminal }, question);
  return loadTufKey(reference, { env, folder: cwd, passphrase });
}

/** One file of the ceremony, with the roles whose keys must sign it. */
type Paper = {
  readonly name: string;
  readonly title: string;
  readonly file: TufFile<"root" | "targets">;
  readonly roles: readonly { readonly role: TufRole; readonly keys: TufFile<"root">["signed"]["keys"]; readonly title: string }[];
};

function papersOf(ceremony: Ceremony): readonly Paper[] {
  const papers: Paper[] = [];
  for (const repository of tufRepositories) {
    const root = ceremony.roots[repository];
    const present = ceremony.present[repository];
    if (root === undefined) continue;
    const roles = [{ role: root.signed.roles.root, keys: root.signed.keys, title: "new root keys" }];
    if (present !== undefined) roles.unshift({ role: present.signed.roles.root, keys: present.signed.keys, title: "present root keys" });
    papers.push({ name: `${repository}.root.json`, title: `${repository} root`, file: root, roles });
  }
  const root = ceremony.roots.online ?? ceremony.present.online;
  if (ceremony.targets !== undefined && root !== undefined) {
    papers.push({
      name: "targets.json",
      title: "targets",
      file: ceremony.targets,
      roles: [{ role: root.signed.roles.targets, keys: root.signed.keys, title: "targets keys" }],
    });
  }
  const delegations = ceremony.targets?.signed.delegations;
  for (const [channel, file] of ceremony.channels) {
    const role = delegations?.roles?.find(({ name }) => name === channelRole(ceremony.product, channel));
    if (role === undefined) throw new SlipwayError("format_invalid", `the targets role of the ceremony does not know the channel ${channel}`);
    papers.push({
      name: `channel.${channel}.json`,
      title: `channel ${channel}`,
      file,
      roles: [{ role, keys: delegations?.keys ?? {}, title: "targets keys" }],
    });
  }
  return papers;
}

/** `2 of 2` for each role that must sign. */
function standOf(paper: Paper): { readonly text: string; readonly isComplete: boolean } {
  const stands = paper.roles.map(({ role, keys, title }) => ({ good: goodSignatures(paper.file, role, keys).length, needed: role.threshold, title }));
  return {
    text: stands.map(({ good, needed, title }) => `${Math.min(good, needed)} of ${needed} ${title}`).join(", "),
    isComplete: stands.every(({ good, needed }) => good >= needed),
  };
}

export function printStand(output: Output, ceremony: Ceremony): boolean {
  const rows = papersOf(ceremony).map((paper) => ({ paper, stand: standOf(paper) }));
  output.table(
    ["FILE", "VERSION", "EXPIRES", "SIGNED BY"],
    rows.map(({ paper, stand }) => [paper.title, String(paper.file.signed.version), paper.file.signed.expires, stand.text]),
  );
  return rows.every(({ stand }) => stand.isComplete);
}

export const runSign: CommandRun = async (invocation) => {
  const { args, options, output, cwd } = invocation;
  const folder = resolve(cwd, args[0] ?? "");
  const ceremony = await readCeremony(folder);
  const key = await loadKeyOption(invocation, textOption(options, "key") ?? "");
  const papers = papersOf(ceremony).filter(({ roles }) => roles.some(({ role }) => role.keyids.includes(key.keyId)));
  if (papers.length === 0) {
    throw new SlipwayError("key_unfit", `no file of the ceremony names the key ${key.keyId}`, {
      hint: "check that its public half was given to `slipway tuf init` or rotate",
    });
  }
  for (const paper of papers) {
    describePaper(output, paper);
    await writeFileAtomic(join(folder, paper.name), addTufSignature(paper.file, key), { mode: 0o644 });
  }
  const isComplete = printStand(output, await readCeremony(folder));
  output.result({ key: key.keyId, signed: papers.map(({ name }) => name), isComplete });
  output.line(isComplete ? "all signatures are there; go on with: slipway tuf upload" : "more signatures are needed");
  return 0;
};

/** What a holder of an offline key signs must be readable before he signs it. */
function describePaper(output: Output, { title, file }: Paper): void {
  output.line(`signing ${title}, version ${file.signed.version}, good until ${file.signed.expires}`);
  if (file.kind === "root") {
    const { roles } = (file as TufFile<"root">).signed;
    for (const [name, role] of Object.entries(roles)) if (role !== undefined) output.line(`  ${name}: ${role.threshold} of ${role.keyids.join(" ")}`);
  } else output.line(`  lists ${Object.keys((file as TufFile<"targets">).signed.targets).length} files`);
}

export const runJoin: CommandRun = async ({ args, output, cwd }) => {
  const folder = resolve(cwd, args[0] ?? "");
  const copies = await Promise.all(args.slice(1).map((copy) => readCeremony(resolve(cwd, copy))));
  const own = await readCeremony(folder);
  for (const paper of papersOf(own)) {
    const others = copies.flatMap((copy) => papersOf(copy).filter(({ name }) => name === paper.name));
    await writeFileAtomic(join(folder, paper.name), joinTufSignatures([paper.file, ...others.map(({ file }) => file)]), { mode: 0o644 });
  }
  const isComplete = printStand(output, await readCeremony(folder));
  output.result({ folder, copies: copies.length, isComplete });
  return 0;
};
