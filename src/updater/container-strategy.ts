/**
 * Strategy `container`: a compose service or a quadlet, whose image the updater pins by digest.
 *
 *     compose.slipway.yaml     beside the operator's compose file, which never changes; replaced by one rename (compose-pin.ts)
 *     jaco.container           the operator's quadlet, in which one line is replaced (quadlet-pin.ts)
 *
 * The image comes from the vendor's registry by the digest that the verified release.json lists (image-pull.ts), or out of the release's OCI
 * archive, which is verified as any artifact and loaded by the engine: then no registry is in between, and an air gap is no other way. The image of
 * the version before stays under a name of its own, and the way back goes by its recorded id or digest: where a tag leads meanwhile plays no part.
 */
import { access, constants, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { containerService } from "./container-service.ts";
import { openImageArchive, wantedImage, writeLoadable } from "./image-archive.ts";
import { pullImage } from "./image-pull.ts";
import { readPrivateFile } from "./journal.ts";
import { keptImageName } from "./quadlet-file.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";
import type { Transaction } from "./transaction.ts";

/** What the switch will write; beside the release's description in the staging folder. */
const stagedSchema = z.object({ version: z.string(), image: z.string() });
const stagedLimitBytes = 4096;

export function containerStrategy({ installation, machine, directory }: StrategyContext): Strategy {
  const { product } = installation;
  const { engine, pin } = containerService(installation, machine);
  const keptName = (version: string): string => keptImageName(product, version);
  const stagedPath = ({ id }: Transaction): string => join(directory.staging(id), "image.json");

  const readStaged = async (transaction: Transaction): Promise<z.infer<typeof stagedSchema> | undefined> => {
    const bytes = await readPrivateFile(stagedPath(transaction), stagedLimitBytes);
    return bytes === undefined ? undefined : stagedSchema.parse(JSON.parse(bytes.toString("utf8")));
  };

  return {
    canFinishBeforeStart: pin.isReadAtStart,
    livePaths: () => [],
    isStartable: () => Promise.resolve(true), // one file, replaced by one rename

    look: async () => {
      const live = await pin.read();
      return live === undefined ? { version: undefined, files: {} } : { version: live.version, files: {}, ref: live.image };
    },

    target: (artifact: ManifestArtifact) => ({
      files: { [artifact.name]: { sha256: artifact.sha256, mode: 0o600, size: artifact.size, member: artifact.name } },
    }),

    adopt: async (from) => {
      if (from.ref !== undefined) return from;
      const id = await pin.runningImage();
      if (from.version === undefined) {
        if (id === undefined || pin.isReadAtStart) return from;
        throw new SlipwayError("backup_failed", `${pin.name} runs already, and nobody can say which version`, {
          hint: "name the version that runs with --adopt",
        });
      }
      if (id === undefined) {
        throw new SlipwayError("backup_failed", `${pin.name} does not run, so that nobody can say which image ${from.version} is`, {
          hint: "start it and run the upgrade again, or leave out --adopt: then there is nothing to go back to",
        });
      }
      await engine.keep(id, keptName(from.version));
      return { ...from, ref: await pin.nameOf({ version: from.version, id }) };
    },

    fetch: ({ artifact, version, path }) => pullImage({ installation, machine, directory, engine }, { artifact, version, path, keptName: keptName(version) }),

    backUpCode: async ({ from }) => {
      if (from.version === undefined) return;
      if (from.ref === undefined || !(await engine.has(from.ref))) {
        throw new SlipwayError("backup_failed", `the image ${from.ref ?? ""} of ${from.version} is not on this machine any more`, {
          hint: `load it again (${engine.name} load), then run the upgrade again`,
        });
      }
      await engine.keep(from.ref, keptName(from.version));
      // From here on the service is started by what the updater wrote, which must say what runs.
      if ((await pin.read()) === undefined) await pin.write({ version: from.version, image: from.ref });
    },

    place: async (transaction, held) => {
      const { version } = transaction.to;
      const archive = await openImageArchive(held.handle, held.artifact.name);
      const wanted = await wantedImage(archive, held.artifact, installation.target);
      const isPulled = transaction.download.registry !== undefined;
      if (!isPulled) {
        const loadable = join(directory.staging(transaction.id), "engine.tar");
        await writeLoadable(loadable, archive, wanted.image);
        await engine.load(loadable);
        await rm(loadable, { force: true });
      }
      const id = await firstHere(wanted.names, isPulled);
      await engine.keep(id, keptName(version));
      await requireWritable(dirname(pin.path));
      await writeFileAtomic(stagedPath(transaction), JSON.stringify({ version, image: await pin.nameOf({ version, id }) }));
      machine.observe({ event: "step", step: "place", text: `${engine.name} has ${id}` });
    },

    reality: async (transaction) => ((await pin.read())?.version === transaction.to.version ? "new" : "old"),

    switchForward: async (transaction) => {
      const live = await pin.read();
      const isNew = live?.version === transaction.to.version;
      const wanted = isNew ? live : await readStaged(transaction);
      if (wanted === undefined || wanted.version !== transaction.to.version || !(await engine.has(wanted.image)))
        throw new SlipwayError("conflict", `the image of ${transaction.to.version} is gone`, {
          place: stagedPath(transaction),
          hint: "somebody removed it meanwhile: run the upgrade again",
        });
      await pin.write(wanted);
      machine.observe({ event: "step", step: "switch", text: `${pin.name} is pinned to ${wanted.image}` });
    },

    switchBack: async ({ from }) => {
      if (from.version === undefined || from.ref === undefined) {
        await pin.unpin();
        machine.observe({ event: "step", step: "switch", text: `${pin.path} is as it was: nothing was installed before` });
        return;
      }
      if (!(await engine.has(from.ref))) {
        throw new SlipwayError("rollback_failed", `the image ${from.ref} of ${from.version} is not on this machine any more`, {
          detail: "backup_changed",
          hint: `load it again (${engine.name} load), then run \`slipway upgrade resume\``,
        });
      }
      await pin.write({ version: from.version, image: from.ref });
      machine.observe({ event: "step", step: "switch", text: `${pin.name} is pinned to ${from.ref}` });
    },

    clean: async (_transaction, keep, drop) => {
      if (installation.isCopy === true) return; // the engine is the live one's
      const live = await pin.read();
      for (const version of drop) if (!keep.has(version) && version !== live?.version) await engine.drop(keptName(version));
    },
  };

  /** One of the names that follow from the signed digest: Docker knows an image by its configuration or its manifest, podman by its configuration. */
  async function firstHere(names: readonly string[], isPulled: boolean): Promise<string> {
    for (const name of names) {
      const id = await engine.idOf(name);
      if (id !== undefined && names.includes(id)) return id;
    }
    if (isPulled)
      throw new SlipwayError("unavailable", `${engine.name} lost the image ${names[0] ?? ""} again`, {
        detail: "staging_lost",
        hint: "`slipway upgrade resume` fetches it again",
      });
    throw new SlipwayError("conflict", `${engine.name} loaded the archive, and has none of ${names.join(", ")}`, {
      hint: `nothing was changed; is ${engine.name} one that reads OCI archives? Tell the vendor its version`,
    });
  }
}

/** The folder of a switch that is to come must take a file: said before the service is stopped. */
async function requireWritable(folder: string): Promise<void> {
  try {
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new SlipwayError("permission_denied", `${folder} cannot be written: ${(error as NodeJS.ErrnoException).code ?? ""}`, { place: folder, cause: error });
  }
}
