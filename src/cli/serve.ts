/** `slipway serve`: starts the server, says where it is and where the first admin token lies, and stops it at a signal. */
import { isIPv4 } from "node:net";
import { loadSettings } from "../config/load.ts";
import { systemClock } from "../io/clock.ts";
import type { AdminTokenFile } from "../server/first-start.ts";
import { createLog } from "../server/log.ts";
import { createServer } from "../server/server.ts";
import { type CommandRun, textOption } from "./command.ts";
import { untilStopped } from "./until-stopped.ts";

export const run: CommandRun = async (invocation) => {
  const { options, env, output, signal, version } = invocation;
  if (textOption(options, "mirror") !== undefined) return (await import("./mirror-serve.ts")).run(invocation);
  const settings = await loadSettings({ flags: options, env, configFile: textOption(options, "config") });
  const log = createLog(settings.logLevel);
  const server = await createServer({ settings, version, clock: systemClock, log });
  try {
    const address = await server.listen();
    const { dialect } = server.context.store;
    log.info({ event: "started", version, address, database: dialect, dataDir: settings.dataDir, repositoryKey: server.context.repositoryKey.fingerprint });
    if (!isLoopback(settings.listen.host) && !settings.publicUrl.startsWith("https:")) {
      log.warn({ event: "plain_http", text: "access pairs travel unencrypted: put TLS in front and set public-url to its https address" });
    }
    output.result({
      event: "started",
      version,
      address,
      api: `${address}/api/v1`,
      dataDir: settings.dataDir,
      adminTokenFile: server.adminTokenFile?.path ?? null,
    });
    output.line(`slipway ${version} serves at ${address}`);
    output.line(`  API            ${address}/api/v1 (${address}/api/v1/openapi.json)`);
    output.line(`  data           ${settings.dataDir} (${dialect})`);
    if (server.adminTokenFile !== undefined) output.line(`  admin token    ${tokenText(server.adminTokenFile)}`);
    await untilStopped(signal);
    log.info({ event: "stopping" });
  } finally {
    await server.stop();
  }
  log.info({ event: "stopped" });
  return 0;
};

function tokenText({ path, isNew }: AdminTokenFile): string {
  return isNew ? `${path}, made just now; use it with --token-file` : `${path}; keep it elsewhere and delete the file`;
}

function isLoopback(host: string): boolean {
  return host === "::1" || host === "localhost" || (isIPv4(host) && host.startsWith("127."));
}
