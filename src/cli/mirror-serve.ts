/** `slipway mirror serve` and `slipway serve --mirror`: a mirror's tree over HTTP, read-only. */
import { resolve } from "node:path";
import { readPairs } from "../mirror/pairs.ts";
import { SlipwayError } from "../model/errors.ts";
import { serveMirror } from "../server/mirror-server.ts";
import { type CommandRun, textOption } from "./command.ts";
import { loadMirrorSettings } from "./mirror-settings.ts";
import { untilStopped } from "./until-stopped.ts";

export const run: CommandRun = async (invocation) => {
  const { args, options, output, cwd, signal } = invocation;
  const named = args[0] ?? textOption(options, "mirror");
  const directory = named === undefined ? (await loadMirrorSettings(invocation)).directory : resolve(cwd, named);
  const pairsFile = textOption(options, "pairs");
  const listen = readListen(textOption(options, "listen") ?? "127.0.0.1:8420");
  const server = await serveMirror({
    directory,
    listen,
    pairs: pairsFile === undefined ? undefined : await readPairs(resolve(cwd, pairsFile)),
    log: (line) => output.note(JSON.stringify({ time: new Date().toISOString(), event: "request", ...line })),
  });
  try {
    output.result({ event: "started", address: server.address, directory });
    output.line(`serves ${directory} at ${server.address}${pairsFile === undefined ? ", to anybody who reaches it" : ""}`);
    await untilStopped(signal);
  } finally {
    await server.stop();
  }
  return 0;
};

function readListen(text: string): { readonly host: string; readonly port: number } {
  const [, host, port] = /^(?:\[([0-9a-f:]+)\]|([^:]+)):(\d{1,5})$/i.exec(text)?.filter((part) => part !== undefined) ?? [];
  if (host === undefined || port === undefined || Number(port) > 65_535)
    throw new SlipwayError("usage", "--listen looks like 0.0.0.0:8420", { place: "--listen" });
  return { host, port: Number(port) };
}
