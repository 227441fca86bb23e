/** A small real image, built with our own code: a static busybox for two platforms, a user, a folder of that user's, a CA bundle, time zones. */
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { PackageEntry } from "../../src/formats/package.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { fileBytes } from "../../src/io/spool.ts";
import { parseTarget } from "../../src/model/target.ts";
import { parseVersion } from "../../src/model/version.ts";
import type { ImageBase } from "../../src/packaging/image-base.ts";
import { type BuiltImage, buildImage, writeImageArchive } from "../../src/packaging/image-build.ts";
import { systemEntries } from "../../src/packaging/image-files.ts";
import { createImageLayout, type ImageLayout } from "../../src/packaging/image-layout.ts";
import { type PlannedImage, planImage } from "../../src/packaging/image-plan.ts";
import { imageSchema } from "../../src/packaging/image-schema.ts";
import { findProgram } from "./clients.ts";

export const sampleEpoch = 1_700_000_000;

export const sampleRecipe = {
  name: "acme/toolbox",
  tags: ["{version}", "{tag}"],
  users: { app: { uid: 65532, home: "/var/lib/app" } },
  user: "app",
  entrypoint: ["/usr/bin/busybox"],
  cmd: ["echo", "hello from the image"],
  env: { MODE: "test" },
  ports: [8080, "53/udp"],
  workingDir: "/var/lib/app",
  labels: { team: "acme" },
  nsswitch: true,
};

/** The plan of one image of a recipe, as the recipe reader would make it. */
export function planSample(recipe: Readonly<Record<string, unknown>>, targets = ["linux/amd64", "linux/arm64"]): PlannedImage {
  return planImage({
    image: imageSchema(z.unknown()).parse(recipe),
    product: {
      name: "toolbox",
      summary: "Small tools",
      license: "Apache-2.0",
      binaries: ["busybox"],
      vendor: "Acme",
      source: "https://git.example/acme/toolbox",
    },
    version: parseVersion("1.2.0-rc.1"),
    commit: "0123456789abcdef0123456789abcdef01234567",
    epochSeconds: sampleEpoch,
    recipeTargets: targets.map(parseTarget),
    targets: targets.map(parseTarget),
    placeOf: () => "slipway.yaml:9:5",
  });
}

/** Files as the recipe's resolver would give them; busybox stands for both platforms' programs. */
export async function sampleEntries(architecture: string): Promise<readonly PackageEntry[]> {
  const busybox = findProgram("busybox");
  if (busybox === undefined) throw new Error("busybox is missing");
  const byRoot = { owner: "root", group: "root" };
  return [
    { kind: "file", path: "/etc/toolbox/arch", mode: 0o640, owner: "root", group: "app", source: bytesSource(Buffer.from(`${architecture}\n`)) },
    { kind: "file", path: `/opt/${"long/".repeat(30)}name`, mode: 0o644, ...byRoot, source: bytesSource(Buffer.from("long\n")) },
    { kind: "directory", path: "/tmp", mode: 0o1777, ...byRoot },
    { kind: "file", path: "/usr/bin/busybox", mode: 0o755, ...byRoot, source: fileBytes(busybox, (await stat(busybox)).size) },
    { kind: "symlink", path: "/usr/bin/sh", target: "busybox", ...byRoot },
    { kind: "directory", path: "/var/lib/app", mode: 0o750, owner: "app", group: "app" },
  ];
}

export type SampleImage = { readonly plan: PlannedImage; readonly layout: ImageLayout; readonly built: BuiltImage };

export async function buildSample(folder: string, change: Readonly<Record<string, unknown>> = {}, base?: ImageBase): Promise<SampleImage> {
  const plan = planSample({ ...sampleRecipe, ...change });
  const layout = await createImageLayout(folder);
  const built = await buildImage({
    plan,
    layout,
    productEntries: (target) => sampleEntries(target.arch),
    systemEntries: await systemEntries(plan, { folder: join(folder, "..") }),
    ...(base === undefined ? {} : { base }),
  });
  return { plan, layout, built };
}

/** The image as the archive that a release carries (`…-oci.tar`). */
export async function archiveBytes(image: Pick<SampleImage, "layout" | "built">): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  await writeImageArchive(image.layout, image.built, {
    epochSeconds: sampleEpoch,
    sink: (piece) => {
      pieces.push(Buffer.from(piece));
    },
  });
  return Buffer.concat(pieces);
}

/** A bundle with the form of a CA's; nothing here reads the certificate itself. */
export async function writeCaBundle(path: string): Promise<void> {
  await writeFile(path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
}
