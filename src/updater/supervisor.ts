/**
 * `slipway guard exec -- cmd…`: starts the product, stands outside of its versions, and restarts it while one is on trial.
 *
 * For hosts without systemd and for containers. The updater (here, after a restart in the middle of a trial, or another process) stops and
 * starts the product through a socket. Outside of a trial the product's end is the supervisor's end, with the same exit code: whoever runs the
 * container decides what then happens.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { constants } from "node:os";
import { z } from "zod";
import { readStreamBounded } from "../io/bounded-read.ts";
import { lockOwner } from "../io/lock.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Installation } from "./installation.ts";
import { readJournal } from "./journal.ts";
import type { Machine } from "./machine.ts";
import { prepareStateDirectory, type StateDirectory } from "./state-directory.ts";
import { askSupervisor, supervisorRequests, type SupervisorRequest } from "./supervisor-client.ts";
import { isSwitching } from "./transaction.ts";
import { createUpdater } from "./updater.ts";

export type Supervision = {
  readonly installation: Installation;
  readonly machine: Machine;
  readonly argv: readonly string[];
  /** Aborted: the product is asked to end, and so does this. */
  readonly signal: AbortSignal;
};

const requestSchema = z.object({ request: z.enum(supervisorRequests) });
const requestLimitBytes = 4096;
const firstPauseMs = 200;
const longestPauseMs = 5_000;
const watchIntervalMs = 2_000;
/** sun_path holds 108 bytes with its end (unix(7)). */
const socketPathLimit = 107;
const passedOn = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"] as const;

type Ending = { readonly exitCode: number };

/** Runs until the product ends outside of a trial, or until the signal; returns the product's exit code, 128 + n where signal n ended it. Throws `lock_held` where another supervisor runs. */
export async function supervise({ installation, machine, argv, signal }: Supervision): Promise<number> {
  const directory = await prepareStateDirectory(installation.stateDir);
  const updater = createUpdater(installation, frozenAfter(signal, machine));
  const stopLimitMs = (installation.service?.timeout_seconds ?? 60) * 1000;
  let child: ChildProcess | undefined;
  let childEnd: Promise<void> = Promise.resolve();
  let isWanted = true;
  let stops = 0;
  let restarts = 0;
  let end: (ending: Ending) => void = () => undefined;
  const ended = new Promise<Ending>((resolve) => (end = resolve));

  const isTrialUnderWay = async (): Promise<boolean> => {
    const reading = await readJournal(directory.transaction, installation.product);
    return reading.kind === "known" && isSwitching(reading.transaction);
  };

  const start = async (): Promise<void> => {
    if (child !== undefined || signal.aborted) return;
    isWanted = true;
    await updater.beforeStart();
    const [program = "", ...args] = argv;
    const started = spawn(program, args, { stdio: "inherit" });
    child = started;
    childEnd = new Promise((resolve) => {
      const over = (exitCode: number): void => {
        if (child !== started) return;
        child = undefined;
        resolve();
        void afterEnd(exitCode);
      };
      started.once("error", (error) => {
        machine.observe({ event: "warning", text: `cannot run ${program}: ${error.message}` });
        over(127);
      });
      started.once("exit", (code, name) => over(code ?? 128 + (name === null ? 0 : constants.signals[name])));
    });
  };

  const stop = async (): Promise<void> => {
    isWanted = false;
    stops += 1;
    const running = child;
    if (running === undefined) return;
    running.kill("SIGTERM");
    const timer = setTimeout(() => running.kill("SIGKILL"), stopLimitMs);
    await childEnd;
    clearTimeout(timer);
  };

  // One change at a time: a restart after a crash and the updater's own start must not both spawn.
  let queue: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = queue.then(work);
    queue = mine.catch(() => undefined);
    return mine;
  };

  /** The product ended by itself: on trial it is started again (and counted), otherwise this ends with it. */
  const afterEnd = async (exitCode: number): Promise<void> => {
    if (!isWanted) return;
    // A stop while this waits takes the restart back: what is started after it may be another version, whose record is clean.
    const stopsBefore = stops;
    try {
      if (!(await isTrialUnderWay())) {
        end({ exitCode });
        return;
      }
      machine.observe({ event: "warning", text: `the product ended with ${exitCode} during a trial` });
      await machine.sleep(Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(restarts, 10)));
      await inTurn(async () => {
        if (stops !== stopsBefore) return;
        restarts += 1;
        await start();
      });
    } catch (error) {
      machine.observe({ event: "warning", text: `it cannot be started again: ${error instanceof Error ? error.message : String(error)}` });
      end({ exitCode: error instanceof SlipwayError ? error.exitCode : 1 });
    }
  };

  const answer = async (request: SupervisorRequest): Promise<unknown> => {
    if (signal.aborted) return never;
    if (request === "start") await inTurn(start);
    else if (request === "stop") await inTurn(stop);
    return { ok: true, isRunning: child !== undefined, restarts };
  };

  const server = await listen(directory, answer);
  const passOn = passedOn.map((name) => [name, (): void => void child?.kill(name)] as const);
  for (const [name, pass] of passOn) process.on(name, pass);
  const onAbort = (): void => void inTurn(stop).then(() => end({ exitCode: 128 + constants.signals.SIGTERM }));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await inTurn(start);
    const watch = watchTrials({ directory, isTrialUnderWay, finish: () => finishTrial(updater, machine, signal) });
    const { exitCode } = await ended;
    clearInterval(watch);
    return exitCode;
  } finally {
    signal.removeEventListener("abort", onAbort);
    for (const [name, pass] of passOn) process.off(name, pass);
    server.close();
    await rm(directory.supervisor, { force: true });
  }
}

const never = new Promise<never>(() => undefined);

/**
 * The machine for a trial that is finished in this process: once the supervisor is told to end, nothing that is asked of it comes back. A product
 * that was stopped with its container is no unhealthy one, so no verdict may follow; the next start goes on where this one stood.
 */
function frozenAfter(signal: AbortSignal, machine: Machine): Machine {
  const freeze = async <T>(work: () => Promise<T>): Promise<T> => {
    if (signal.aborted) return never;
    try {
      const result = await work();
      return signal.aborted ? await never : result;
    } catch (error) {
      if (signal.aborted) return never;
      throw error;
    }
  };
  return {
    ...machine,
    sleep: (ms, stop) => freeze(() => machine.sleep(ms, stop)),
    fetch: (...call) => freeze(() => machine.fetch(...call)),
    runCommand: (...call) => freeze(() => machine.runCommand(...call)),
  };
}

/** A trial whose updater is gone (a reboot, a crash) is finished from here. */
function watchTrials(options: {
  readonly directory: StateDirectory;
  readonly isTrialUnderWay: () => Promise<boolean>;
  readonly finish: () => Promise<void>;
}): NodeJS.Timeout {
  const { directory, isTrialUnderWay, finish } = options;
  let isBusy = false;
  const look = async (): Promise<void> => {
    if (isBusy) return;
    isBusy = true;
    try {
      if ((await isTrialUnderWay()) && (await lockOwner(directory.path)) === undefined) await finish();
    } finally {
      isBusy = false;
    }
  };
  const lookSafely = (): void => void look().catch(() => undefined); // what cannot be read now is looked at again in a moment
  lookSafely();
  return setInterval(lookSafely, watchIntervalMs);
}

/** A trial that was cut by a reboot is brought to its end from here; where another updater does it, nothing is to be done. */
async function finishTrial(updater: ReturnType<typeof createUpdater>, machine: Machine, signal: AbortSignal): Promise<void> {
  try {
    await updater.resume({ signal });
  } catch (error) {
    machine.observe({ event: "warning", text: error instanceof Error ? error.message : String(error) });
  }
}

async function listen(directory: StateDirectory, answer: (request: SupervisorRequest) => Promise<unknown>): Promise<Server> {
  const path = directory.supervisor;
  if (Buffer.byteLength(path) > socketPathLimit) {
    throw new SlipwayError("installation_invalid", `${path} is too long for a socket (${socketPathLimit} bytes); name a shorter state_dir`, { place: path });
  }
  const isTaken = await askSupervisor(path, "status", 2_000).then(
    () => true,
    () => false, // nobody listens: the socket of a dead supervisor, or none
  );
  if (isTaken) throw new SlipwayError("lock_held", "another `slipway guard exec` runs this product", { place: path });
  await rm(path, { force: true });
  const serve = async (socket: Socket): Promise<void> => {
    let reply: unknown;
    try {
      const { request } = requestSchema.parse(JSON.parse((await readStreamBounded(socket, requestLimitBytes, "the request")).toString("utf8")));
      reply = await answer(request);
    } catch (error) {
      reply = { ok: false, message: (error instanceof Error ? error.message : String(error)).slice(0, 2000) };
    }
    socket.end(`${JSON.stringify(reply)}\n`);
  };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined); // whoever asked has gone; what was asked for is done all the same
    void serve(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  return server;
}
