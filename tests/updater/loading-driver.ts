/** Preloaded (`node --import`) into a command: on exit it writes to the file LOADING_REPORT which modules were loaded and how many schemas were made. */
import { writeFileSync } from "node:fs";
import { registerHooks } from "node:module";

const modules: string[] = [];
let schemas = 0;

// zod calls it for every schema and check that is made; it is there for `zod/compile`, and has to be there before zod.
Object.assign(globalThis, {
  __zod_globalConfig: {
    postProcessor: () => {
      schemas += 1;
    },
  },
});

registerHooks({
  load: (url, context, next) => {
    modules.push(url);
    return next(url, context);
  },
});

process.on("exit", () => writeFileSync(process.env["LOADING_REPORT"] ?? "", JSON.stringify({ modules, schemas })));
