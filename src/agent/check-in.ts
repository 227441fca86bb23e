/**
 * Tells the vendor's server which version runs and how an upgrade ended, where the operator says agent: { check_in: true }.
 *
 * Sent are product, version, outcome and the installation's random id, with the access pair that reads the releases: nothing else, and to nobody else.
 */
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { SlipwayError } from "../model/errors.ts";
import { type Installation, readCredentials } from "../updater/installation.ts";
import { readState } from "../updater/installed-state.ts";
import { stateDirectoryOf } from "../updater/state-directory.ts";
import type { AgentEvent } from "./agent.ts";
import { exchangeJson } from "./agent-client.ts";

export type CheckInOutcome = "running" | "upgraded" | "rolled_back" | "rollback_failed" | "failed";

const timeLimitMs = 15_000;

/** What an event of the agent means to the vendor; undefined for what is none of his business, or not over yet. */
export function outcomeOf(event: AgentEvent): CheckInOutcome | undefined {
  if (event.event === "update.offer") return "running";
  const outcome = event.event === "update.operation" ? event.subject.outcome : undefined;
  if (event.event !== "update.operation" || outcome === undefined) return undefined;
  if (outcome.kind === "done") {
    if (event.subject.kind === "rollback") return "rolled_back";
    return outcome.result["kind"] === "installed" ? "upgraded" : "running";
  }
  const { code, isRetryable } = outcome.error;
  if (code === "health_failed") return "rolled_back";
  if (code === "rollback_failed") return "rollback_failed";
  return isRetryable || code === "needs_confirmation" ? undefined : "failed";
}

/** Throws where the server does not take it; whoever calls this says so and goes on. */
export async function sendCheckIn(
  installation: Installation,
  checkIn: { readonly outcome: CheckInOutcome; readonly env: Readonly<Record<string, string | undefined>>; readonly signal: AbortSignal },
): Promise<void> {
  const { outcome, env, signal } = checkIn;
  const { product, source } = installation;
  const { installed, machineId } = await readState(stateDirectoryOf(installation.stateDir).state, product);
  if (installed === undefined || machineId === undefined) return; // nothing was installed by us yet
  const pair = await readCredentials(source, installation, env);
  if (pair === undefined) return;
  const url = new URL(`${source.url.replace(/\/+$/, "")}/releases/${encodeURIComponent(product)}/check-in`);
  const bytes = JSON.stringify({ version: installed.version, outcome, machine: machineId });
  const agent = url.protocol === "https:" ? new HttpsAgent({ proxyEnv: process.env }) : new HttpAgent({ proxyEnv: process.env });
  const { status } = await exchangeJson(
    { url: url.href },
    {
      method: "POST",
      path: url.pathname,
      agent,
      headers: {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(bytes),
        authorization: `Basic ${Buffer.from(`${pair.keyId}:${pair.secret}`).toString("base64")}`,
      },
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeLimitMs)]),
    },
    bytes,
  );
  if (status !== 200)
    throw new SlipwayError("server_error", `the check-in was answered with ${status}`, {
      hint: "an older server does not know check-ins; agent: { check_in: false } ends them",
    });
}
