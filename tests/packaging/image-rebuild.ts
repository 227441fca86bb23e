/** Builds the sample image and its archive into the folder of the first argument: the reproducibility test runs it in other surroundings. */
import { join } from "node:path";
import { createHashedFile } from "../../src/io/hashed-file.ts";
import { writeImageArchive } from "../../src/packaging/image-build.ts";
import { buildSample } from "../support/sample-image.ts";

const [, , folder = ""] = process.argv;
const { plan, layout, built } = await buildSample(join(folder, "layout"));
const archive = await createHashedFile(join(folder, "image.tar"), 0o644);
await writeImageArchive(layout, built, { epochSeconds: plan.epochSeconds, sink: archive.write });
await archive.close();
