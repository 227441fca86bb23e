/** `slipway mirror pair`: a pair for who reads a mirror that is served. */
import { resolve } from "node:path";
import { addPair } from "../mirror/pairs.ts";
import type { CommandRun } from "./command.ts";

export const run: CommandRun = async ({ args, output, cwd }) => {
  const { keyId, secret } = await addPair(resolve(cwd, args[0] ?? ""), args[1] ?? "");
  output.result({ id: keyId, secret });
  output.line(`id      ${keyId}`);
  output.line(`secret  ${secret}`);
  output.note("the secret is shown this once; the server reads the file when it starts");
  return 0;
};
