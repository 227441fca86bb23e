/**
 * Strategy `container`: a compose service, whose image the updater pins by digest in a compose file of its own.
 *
 *     compose.yaml             the operator's; never changed
 *     compose.slipway.yaml     the only switch point, replaced by one rename (compose-file.ts)
 *
 * The image comes out of the release's OCI archive, which is verified as any artifact and loaded by the engine: no registry, no tag and no second pair is in between, and an air gap is no other way. The image of the version before stays under a
 * name of its own, and the way back goes by its recorded id: where a tag leads meanwhile plays no part.
 */
import type { FileHandle } from "node:fs/promises";
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { bytesSource } from "../formats/byte-source.ts";
import { findOciArchiveFiles, type OciArchiveFiles } from "../formats/oci-archive.ts";
import { isSamePlatform, ociPlatform } from "../formats/oci-descriptor.ts";
import { blobPath, type OciImage, type OciLayoutSource, readOciLayout } from "../formats/oci-layout.ts";
import type { ByteSource } from "../formats/package.ts";
import { createTarWriter } from "../formats/tar.ts";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { formatTarget } from "../model/target.ts";
import { type ComposeOverride, parseComposeOverride, renderComposeOverride } from "./compose-file.ts";
import { containerEngine } from "./container-engine.ts";
import { composeCommand, overridePath } from "./container-section.ts";
import { lstatIfThere, readHandle } from "./file-tree.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";
import type { Transaction } from "./transaction.ts";

const overrideLimitBytes = 4096;
const readBytes = 256 * 1024;

export function containerStrategy({ installation, machine, directory }: StrategyContext): Strategy {
  const { container: section, product } = installation;
  if (section === undefined) throw new SlipwayError("internal", "strategy container without a service");
  const engine = containerEngine(section.engine, machine);
  const path = overridePath(section);
  const stagedPath = (transaction: Transaction): string => `${path}.${transaction.id}`;
  /** A name that no registry has; `+` is not allowed in tags. */
  const keptName = (version: string): string => `localhost/slipway-kept/${product}:${version.replaceAll("+", "_")}`;

  const read = async (file: string): Promise<ComposeOverride | undefined> => {
    const stat = await lstatIfThere(file);
    if (stat === undefined) return undefined;
    if (!stat.isFile()) throw new SlipwayError("state_dir_insecure", `${file} is not a regular file`, { place: file });
    const override = parseComposeOverride((await readFileBounded(file, overrideLimitBytes)).toString("utf8"), file);
    if (override.product === product && override.service === section.service) return override;
    throw new SlipwayError("state_dir_insecure", `${file} is about ${override.product} and its service ${override.service}`, { place: file });
  };

  const write = (file: string, version: string, image: string): Promise<void> =>
    writeFileAtomic(file, renderComposeOverride({ product, version, service: section.service, image }), { mode: 0o644 });

  return {
    canFinishBeforeStart: true,
    livePaths: () => [],
    isStartable: () => Promise.resolve(true), // one file, replaced by one rename

    look: async () => {
      const live = await read(path);
      return live === undefined ? { version: undefined, files: {} } : { version: live.version, files: {}, ref: live.image };
    },

    target: (artifact: ManifestArtifact) => ({
      files: { [artifact.name]: { sha256: artifact.sha256, mode: 0o600, size: artifact.size, member: artifact.name } },
    }),

    adopt: async (from) => {
      if (from.version === undefined || from.ref !== undefined) return from;
      const image = await engine.runningImage(composeCommand(section, false), section.service);
      if (image === undefined) {
        throw new SlipwayError("backup_failed", `the service ${section.service} does not run, so that nobody can say which image ${from.version} is`, {
          hint: "start it and run the upgrade again, or leave out --adopt: then there is nothing to go back to",
        });
      }
      return { ...from, ref: image };
    },

    backUpCode: async ({ from }) => {
      if (from.version === undefined) return;
      if (from.ref === undefined || !(await engine.has(from.ref))) {
        throw new SlipwayError("backup_failed", `the image ${from.ref ?? ""} of ${from.version} is not on this machine any more`, {
          hint: `load it again (${section.engine} load), then run the upgrade again`,
        });
      }
      await engine.keep(from.ref, keptName(from.version));
      // From here on compose is called with the updater's file, which must say what runs.
      if ((await read(path)) === undefined) await write(path, from.version, from.ref);
    },

    place: async (transaction, held) => {
      const archive = await openArchive(held.handle, held.artifact.name);
      const wanted = await imageOf(archive, held.artifact);
      const loadable = join(directory.staging(transaction.id), "engine.tar");
      await writeLoadable(loadable, archive, wanted.image);
      await engine.load(loadable);
      await rm(loadable, { force: true });
      const image = await firstHere(wanted.names);
      await engine.keep(image, keptName(transaction.to.version));
      await write(stagedPath(transaction), transaction.to.version, image);
      machine.observe({ event: "step", step: "place", text: `the engine has ${image}` });
    },

    reality: async (transaction) => ((await read(path))?.version === transaction.to.version ? "new" : "old"),

    switchForward: async (transaction) => {
      if ((await read(path))?.version === transaction.to.version) return;
      const staged = await read(stagedPath(transaction));
      if (staged === undefined || staged.version !== transaction.to.version || !(await engine.has(staged.image)))
        throw new SlipwayError("conflict", `the image of ${transaction.to.version} is gone`, { place: stagedPath(transaction) });
      await rename(stagedPath(transaction), path);
      await syncDirectory(dirname(path));
      machine.observe({ event: "step", step: "switch", text: `${section.service} is pinned to ${staged.image}` });
    },

    switchBack: async ({ from }) => {
      const live = await read(path);
      if (from.version === undefined || from.ref === undefined) {
        await rm(path, { force: true });
        await syncDirectory(dirname(path));
        machine.observe({ event: "step", step: "switch", text: `${path} is gone: nothing was installed before` });
        return;
      }
      if (!(await engine.has(from.ref))) {
        throw new SlipwayError("rollback_failed", `the image ${from.ref} of ${from.version} is not on this machine any more`, {
          detail: "backup_changed",
          hint: `load it again (${section.engine} load), then run \`slipway upgrade resume\``,
        });
      }
      if (live?.version === from.version && live.image === from.ref) return;
      await write(path, from.version, from.ref);
      machine.observe({ event: "step", step: "switch", text: `${section.service} is pinned to ${from.ref} again` });
    },

    clean: async (transaction, keep, drop) => {
      await rm(stagedPath(transaction), { force: true });
      const live = await read(path);
      for (const version of drop) if (!keep.has(version) && version !== live?.version) await engine.drop(keptName(version));
    },
  };

  /** Docker names an image by its configuration or by its manifest, as its store has it; podman by its configuration. */
  async function firstHere(candidates: readonly string[]): Promise<string> {
    for (const image of candidates) if (await engine.has(image)) return image;
    throw new SlipwayError("conflict", `${section?.engine ?? ""} loaded the archive, and has none of ${candidates.join(", ")}`);
  }

  /** The image of this machine's platform, and what the engine may call it; each name follows from the signed digest. */
  async function imageOf({ source }: Archive, artifact: ManifestArtifact): Promise<{ readonly image: OciImage; readonly names: readonly string[] }> {
    const [tagged] = await readOciLayout(source);
    const wrong = (text: string): SlipwayError => new SlipwayError("upgrade_verification_failed", text, { detail: "release_json_mismatch" });
    if (tagged === undefined || tagged.descriptor.digest !== artifact.image?.digest)
      throw wrong(`${artifact.name} holds ${tagged?.descriptor.digest ?? "no image"}; release.json lists ${artifact.image?.digest ?? "none"}`);
    const platform = ociPlatform(installation.target);
    const image = tagged.images.find((one) => isSamePlatform(one.platform, platform));
    if (image === undefined) throw wrong(`${artifact.name} has no image for ${formatTarget(installation.target)}`);
    return { image, names: [image.manifest.config.digest, image.descriptor.digest, tagged.descriptor.digest] };
  }
}

type Archive = { readonly files: OciArchiveFiles; readonly source: OciLayoutSource };

/** Reads the archive where it was verified: on the open descriptor, whatever its name leads to by now. */
export async function openArchive(handle: FileHandle, name: string): Promise<Archive> {
  const files = await findOciArchiveFiles(readHandle(handle), name);
  const openFile = (path: string): AsyncIterable<Uint8Array> => {
    const file = files.get(path);
    if (file === undefined) throw new SlipwayError("format_invalid", `${name} is no whole image layout: there is no ${path} in it`);
    return readRange(handle, file.offset, file.size);
  };
  return { files, source: { open: openFile } };
}

async function* readRange(handle: FileHandle, offset: number, size: number): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < size; ) {
    const piece = Buffer.allocUnsafe(Math.min(readBytes, size - done));
    const { bytesRead } = await handle.read(piece, 0, piece.length, offset + done);
    if (bytesRead === 0) throw new SlipwayError("format_invalid", "the archive became shorter");
    yield piece.subarray(0, bytesRead);
    done += bytesRead;
  }
}

/**
 * The layout with Docker's older `manifest.json` beside it: Docker's own store reads that (26.1 takes a plain layout for its oldest format, and
 * fails), containerd's and podman read the layout.
 */
export async function writeLoadable(path: string, { files, source }: Archive, image: OciImage): Promise<void> {
  const { config, layers } = image.manifest;
  const manifest = [{ Config: blobPath(config.digest), RepoTags: null, Layers: layers.map((layer) => blobPath(layer.digest)) }];
  await rm(path, { force: true });
  const output = await open(path, "wx", 0o600);
  try {
    const tar = createTarWriter(async (piece) => {
      for (let done = 0; done < piece.length; ) done += (await output.write(piece, done, piece.length - done)).bytesWritten;
    });
    const add = (name: string, bytes: ByteSource): Promise<void> => tar.add({ name, kind: "file", mode: 0o644, epochSeconds: 0 }, bytes);
    await add("manifest.json", bytesSource(Buffer.from(JSON.stringify(manifest))));
    for (const [name, { size }] of files) if (name !== "manifest.json") await add(name, { size, open: () => source.open(name) });
    await tar.end();
  } finally {
    await output.close();
  }
}
