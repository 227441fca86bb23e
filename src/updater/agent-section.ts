/** The part `agent:` of an installation file: where `slipway agent` listens, who may ask it, and what it may do by itself. */
import { z } from "zod";
import { lazyStrictObject } from "../model/lazy-object.ts";

const minuteMs = 60_000;
const unitsMs: Readonly<Record<string, number>> = { m: minuteMs, h: 60 * minuteMs, d: 24 * 60 * minuteMs };

const interval = z
  .string()
  .regex(/^\d{1,4}[mhd]$/, "must be an interval, as 30m, 6h or 1d")
  .refine((text) => intervalMs(text) >= minuteMs && intervalMs(text) <= 31 * 24 * 60 * minuteMs, "must lie between a minute and 31 days");

/** `30m`, `6h`, `1d` in ms. */
export function intervalMs(text: string): number {
  return Number(text.slice(0, -1)) * (unitsMs[text.slice(-1)] ?? Number.NaN);
}

/** `127.0.0.1:8431`, `[::1]:8431`, `host.example:8431`. */
const listenSchema = z.string().regex(/^(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, "must be address:port, as 127.0.0.1:8431");
const path = z.string().min(1).max(4096);

export const agentSectionSchema = lazyStrictObject(() => ({
  /** Unix socket, for this user alone; `{state_dir}/updates/agent.sock` by default, and none where it is false. */
  socket: z.union([path, z.literal(false)]).optional(),
  /** TCP besides; an address that is not this machine's own needs tls. */
  listen: listenSchema.optional(),
  tls: lazyStrictObject(() => ({ certificate: path, key: path })).optional(),
  /** Names that clients call it by, besides the address itself (against DNS rebinding). */
  hosts: z.array(z.string().min(1).max(253)).max(32).default([]),
  /** Web pages that may call it, as https://console.example.com; none by default. */
  origins: z.array(z.url().max(300)).max(32).default([]),
  /** Written by `slipway agent token`. */
  tokens: path.optional(),
  /** How often it asks whether there is something new; off never asks. */
  check_every: z.union([interval, z.literal("off")]).default("6h"),
  /** May it install what it finds, in the maintenance window? */
  automatic: z.boolean().default(false),
  /** May it tell the vendor's server which version runs, and how an upgrade ended? */
  check_in: z.boolean().default(false),
}));

export type AgentSection = z.output<typeof agentSectionSchema>;
