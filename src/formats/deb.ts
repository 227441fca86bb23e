/**
 * Writes a Debian package (deb(5)): an ar archive of `debian-binary`, `control.tar.<x>`, `data.tar.<x>`, in that order, and where it is asked
 * for `_gpgorigin`: debsigs' detached signature over the bytes of those three, one after the other (debsigs "Signature types").
 *
 * control.tar holds the MD5 of every file and the ar header the size of data.tar, and both come before it: so data.tar is compressed
 * into a spool first, hashing on the way, and each file is read once.
 */
import { arHeader, arMagic, arPadding } from "./ar.ts";
import { bytesSource, countingSink, pour } from "./byte-source.ts";
import { createCompressor } from "./compress.ts";
import { debConffiles, debControl, debScripts, debTriggers } from "./deb-control.ts";
import { checkEntries, comparePaths, undeclaredParents } from "./entry-path.ts";
import type { ByteSink, ByteSource, PackageCompression, PackageEntry, PackageOutput, PackageSpec, Spool } from "./package.ts";
import { formatScripts } from "./package-script.ts";
import { createTarWriter, type TarWriter } from "./tar.ts";

const memberSuffix: Readonly<Record<PackageCompression["codec"], string>> = { gzip: ".gz", zstd: ".zst", xz: ".xz", none: "" };

/** Takes the signed bytes piece by piece and gives the OpenPGP signature packet over them. */
export type DebSigner = { readonly update: (piece: Uint8Array) => void; readonly finish: () => Uint8Array };

export type DebOutput = PackageOutput & {
  /** Asks for debsigs' signature. dpkg ignores it unless debsig-verify is set up; APT's trust is the signed index. */
  readonly makeSigner?: () => DebSigner;
};

/**
 * Writes the package to `output.sink` and returns its size. The same spec gives the same bytes.
 * Throws `recipe_invalid` and `name_invalid` for what a deb cannot say, `format_limit` for what it cannot hold, `source_unusable` for a
 * source that changes while it is read. The spools are removed in every case; what the sink has got is the caller's to drop.
 */
export async function writeDeb(spec: PackageSpec, output: DebOutput): Promise<{ readonly sizeBytes: number }> {
  checkEntries(spec.entries);
  const control = debControl(spec);
  const triggers = debTriggers(spec);
  formatScripts("deb", spec.scripts, debScripts);
  const { sink, count } = countingSink(output.sink);
  const data = await output.makeSpool();
  try {
    const { source: dataSource, md5sums } = await spoolTar(data, { spec, output }, (tar) => writeData(tar, spec));
    const controlSpool = await output.makeSpool();
    try {
      const { source: controlSource } = await spoolTar(controlSpool, { spec, output }, (tar) => writeControl(tar, { spec, control, triggers, md5sums }));
      const suffix = memberSuffix[spec.compression.codec];
      const { epochSeconds } = spec;
      const signer = output.makeSigner?.();
      await sink(arMagic);
      for (const member of [
        { name: "debian-binary", source: bytesSource(Buffer.from("2.0\n")) },
        { name: `control.tar${suffix}`, source: controlSource },
        { name: `data.tar${suffix}`, source: dataSource },
      ]) {
        await writeMember(sink, { ...member, epochSeconds }, signer);
      }
      if (signer !== undefined) await writeMember(sink, { name: "_gpgorigin", source: bytesSource(signer.finish()), epochSeconds });
    } finally {
      await controlSpool.remove();
    }
  } finally {
    await data.remove();
  }
  return { sizeBytes: count() };
}

/** Compresses what `write` puts into a tar into the spool. */
async function spoolTar(
  spool: Spool,
  { spec, output }: { readonly spec: PackageSpec; readonly output: PackageOutput },
  write: (tar: TarWriter) => Promise<string>,
): Promise<{ readonly source: ByteSource; readonly md5sums: string }> {
  const compressor = createCompressor(spec.compression, spool.write, output.makeXzCompressor);
  const tar = createTarWriter(compressor.write);
  const md5sums = await write(tar);
  await tar.end();
  await compressor.end();
  return { source: await spool.finish(), md5sums };
}

type Member = { readonly name: string; readonly source: ByteSource; readonly epochSeconds: number };

async function writeMember(sink: ByteSink, member: Member, signer?: DebSigner): Promise<void> {
  await sink(arHeader({ name: member.name, sizeBytes: member.source.size, epochSeconds: member.epochSeconds }));
  const content: ByteSink = (piece) => {
    signer?.update(piece);
    return sink(piece);
  };
  await pour(member.source, content, { name: member.name });
  const padding = arPadding(member.source.size);
  if (padding.length > 0) await sink(padding);
}

/** Writes all entries with their folders and returns the text of `md5sums`: files that are no configuration, without `./`. */
async function writeData(tar: TarWriter, spec: PackageSpec): Promise<string> {
  const { epochSeconds } = spec;
  const entries: readonly PackageEntry[] = spec.entries.filter((entry) => entry.kind !== "ghost");
  const parents = undeclaredParents(entries).map((path): PackageEntry => ({ kind: "directory", path, mode: 0o755, owner: "root", group: "root" }));
  const sums: string[] = [];
  await tar.add({ name: "./", kind: "directory", mode: 0o755, epochSeconds });
  for (const entry of [...entries, ...parents].sort((left, right) => comparePaths(left.path, right.path))) {
    const { path, owner, group } = entry;
    switch (entry.kind) {
      case "directory":
        await tar.add({ name: `.${path}/`, kind: "directory", mode: entry.mode, epochSeconds, owner, group });
        break;
      case "symlink":
        await tar.add({ name: `.${path}`, kind: "symlink", mode: 0o777, target: entry.target, epochSeconds, owner, group });
        break;
      case "file": {
        const header = { name: `.${path}`, kind: "file", mode: entry.mode, epochSeconds, owner, group } as const;
        const md5 = await tar.addHashed(header, entry.source, "md5");
        if (entry.config === undefined) sums.push(`${md5}  ${path.slice(1)}\n`);
        break;
      }
      case "ghost":
        throw new Error(`${path}: ghosts were filtered out above`);
    }
  }
  return sums.join("");
}

type ControlTexts = { readonly spec: PackageSpec; readonly control: string; readonly triggers: string | undefined; readonly md5sums: string };

async function writeControl(tar: TarWriter, { spec, control, triggers, md5sums }: ControlTexts): Promise<string> {
  const { epochSeconds } = spec;
  const members: { readonly name: string; readonly text: string | undefined; readonly mode: number }[] = [
    { name: "control", text: control, mode: 0o644 },
    { name: "md5sums", text: md5sums === "" ? undefined : md5sums, mode: 0o644 },
    { name: "conffiles", text: debConffiles(spec), mode: 0o644 },
    { name: "triggers", text: triggers, mode: 0o644 },
    { name: "templates", text: spec.deb?.templates, mode: 0o644 },
    ...(Object.entries(debScripts) as [keyof typeof debScripts, string][]).map(([script, name]) => ({ name, text: spec.scripts[script], mode: 0o755 })),
  ];
  await tar.add({ name: "./", kind: "directory", mode: 0o755, epochSeconds });
  for (const { name, text, mode } of members) {
    if (text !== undefined) await tar.add({ name: `./${name}`, kind: "file", mode, epochSeconds }, bytesSource(Buffer.from(text)));
  }
  return md5sums;
}
