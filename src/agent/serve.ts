/** Runs the agent: its sockets, what an earlier run left, and its schedule, until it is told to stop. */
import { readFile, lstat, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { dirname, join, resolve } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import type { Installation } from "../updater/installation.ts";
import type { Machine } from "../updater/machine.ts";
import { prepareStateDirectory } from "../updater/state-directory.ts";
import { type AgentEvent, createAgent } from "./agent.ts";
import { createCheckIns, outcomeOf } from "./check-in.ts";
import type { Door } from "./door.ts";
import { buildApi, type Tls } from "./http-api.ts";
import { runSchedule } from "./schedule.ts";

/** sun_path of unix(7), without its NUL. */
const socketPathLimit = 107;
const loopback = /^(?:127(?:\.\d{1,3}){3}|::1|localhost)$/i;

export type RunningAgent = {
  /** `unix:/…` and `http(s)://…`, as they listen. */
  readonly addresses: readonly string[];
  readonly stop: () => Promise<void>;
};

/**
 * Starts listening, then takes up what was left unfinished. Throws `installation_invalid` for an address that would carry tokens in the clear,
 * `conflict` where another agent listens.
 */
export async function serveAgent(options: {
  readonly installation: Installation;
  readonly machine: Omit<Machine, "observe">;
  readonly onEvent?: (event: AgentEvent) => void;
  readonly onFailure: (error: SlipwayError) => void;
}): Promise<RunningAgent> {
  const { installation, machine, onFailure } = options;
  const { agent: section, place } = installation;
  const at = (path: string): string => resolve(dirname(place), path);
  const directory = await prepareStateDirectory(installation.stateDir);
  const socket = section.socket === false ? undefined : section.socket === undefined ? join(directory.path, "agent.sock") : at(section.socket);
  const listen = section.listen === undefined ? undefined : readAddress(section.listen);
  requireSafeAddresses(installation, { socket, listen });
  const tls: Tls | undefined =
    section.tls === undefined ? undefined : { cert: await readFile(at(section.tls.certificate)), key: await readFile(at(section.tls.key)) };
  const ending = new AbortController();
  const checkIns = createCheckIns({ installation, machine, signal: ending.signal, onFailure });
  const agent = createAgent({
    installation,
    machine,
    onEvent: (event) => {
      options.onEvent?.(event);
      const outcome = section.check_in ? outcomeOf(event) : undefined;
      if (outcome !== undefined) checkIns.tell(outcome);
    },
  });
  const tokens = section.tokens === undefined ? undefined : at(section.tokens);
  const origins = new Set(section.origins.map((origin) => origin.replace(/\/$/, "")));
  const ownNames = listen === undefined ? [] : [listen.host, ...(loopback.test(listen.host) ? ["localhost", "127.0.0.1", "::1"] : [])];
  const hosts = new Set([...ownNames, ...section.hosts].map((name) => name.toLowerCase()));
  const stops: (() => Promise<void>)[] = [];
  const addresses: string[] = [];
  const open = async (door: Door, where: { readonly path: string } | { readonly host: string; readonly port: number }): Promise<void> => {
    const { app, stop } = buildApi(agent, door, "path" in where ? undefined : tls);
    stops.push(async () => {
      stop();
      await app.close();
    });
    const address = "path" in where ? await listenPrivately(() => app.listen(where), where.path) : await app.listen(where);
    addresses.push(tls === undefined ? address : address.replace(/^http:/, "https:")); // fastify does not look into the server that it was given
  };
  try {
    if (socket !== undefined) await open({ isLocal: true, hosts, origins, tokens }, { path: socket });
    if (listen !== undefined) await open({ isLocal: false, hosts, origins, tokens }, listen);
  } catch (error) {
    await Promise.all(stops.map((stop) => stop()));
    throw error;
  }
  const schedule = runSchedule({ agent, installation, now: machine.clock.now, sleep: machine.sleep, random: machine.random, signal: ending.signal, onFailure });
  return {
    addresses,
    stop: async () => {
      ending.abort();
      await agent.close(); // first the work, so that its last events still go out
      await Promise.all(stops.map((stop) => stop()));
      await schedule;
      await checkIns.ended();
    },
  };
}

function readAddress(text: string): { readonly host: string; readonly port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}

function requireSafeAddresses(
  { agent: section, place }: Installation,
  given: { readonly socket: string | undefined; readonly listen: { readonly host: string } | undefined },
): void {
  const { socket, listen } = given;
  const refuse = (message: string): never => {
    throw new SlipwayError("installation_invalid", message, { place });
  };
  if (socket === undefined && listen === undefined) refuse("agent: with socket: false it needs listen");
  if (listen !== undefined && !loopback.test(listen.host) && section.tls === undefined)
    refuse(`agent: ${listen.host} is not this machine alone, so that listen needs tls`);
  if (listen !== undefined && section.tokens === undefined) refuse("agent: listen needs tokens: a file that `slipway agent token` fills");
  if (socket !== undefined && Buffer.byteLength(socket) > socketPathLimit)
    refuse(`agent: ${socket} is too long for a Unix socket; name a shorter one with socket`);
}

/** Nobody else may ever open the socket: it is born with mode 0600. A left-over one is replaced when nobody listens on it. */
async function listenPrivately(listen: () => Promise<string>, path: string): Promise<string> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (found !== undefined) {
    if (!found.isSocket()) throw new SlipwayError("state_dir_insecure", `${path} is there and is no socket`, { place: path });
    if (await answers(path))
      throw new SlipwayError("conflict", "another agent runs for this installation", {
        place: path,
        hint: "stop it first; `slipway upgrade status` says what it does",
      });
    await rm(path, { force: true });
  }
  const mask = process.umask(0o177);
  try {
    await listen();
  } finally {
    process.umask(mask);
  }
  return `unix:${path}`;
}

function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const probe = createConnection(path, () => {
      probe.destroy();
      done(true);
    });
    probe.on("error", () => done(false));
  });
}
