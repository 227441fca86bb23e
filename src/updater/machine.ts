/** The machine that the updater runs on, as arguments: clock, waiting, network, commands, and whoever wants to hear what happens. */
import { setTimeout as sleepFor } from "node:timers/promises";
import { type Clock, systemClock } from "../io/clock.ts";
import { type RunCommand, runCommand } from "../io/command.ts";
import type { Fetch } from "../io/download.ts";
import { plainFetch } from "../io/plain-fetch.ts";
import type { UpdateEvent } from "./update-event.ts";

export type { UpdateEvent };

export type Machine = {
  readonly clock: Clock;
  /** Rejects when the signal is aborted. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly fetch: Fetch;
  readonly runCommand: RunCommand;
  /** 0 to 1, for the jitter of retries. */
  readonly random: () => number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly observe: (event: UpdateEvent) => void;
};

/** This machine as it is. */
export function thisMachine(observe: (event: UpdateEvent) => void): Machine {
  return {
    clock: systemClock,
    sleep: (ms, signal) => sleepFor(ms, undefined, signal === undefined ? {} : { signal }),
    fetch: plainFetch,
    runCommand,
    random: Math.random,
    env: process.env,
    observe,
  };
}
