/** Node's compile cache for the programs that tests start: half of a short run is compiling. One folder for all test files, kept between runs. */
import { join } from "node:path";
import { rootsFolder } from "./cached-folder.ts";

/** For the environment of a program; `tests/run.ts` puts it into that of the test files. */
export const compiled = { NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? join(rootsFolder, "compiled") } as const;
