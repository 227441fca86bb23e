/**
 * Outcomes: named proofs that the product does what it is for (K6), looked at from the outside.
 *
 * A check is PASS, FAIL or SKIP. An outcome is PASS only if nothing failed and every required check passed; where a required check was
 * skipped, or there was none at all, nothing is proven: INCOMPLETE.
 */
import { setTimeout as sleepFor } from "node:timers/promises";
import { SlipwayError } from "../model/errors.ts";
import { readStreamBounded } from "../io/bounded-read.ts";
import type { Outcome, OutcomeCheck, RoundTrip, RoundTripRequest, UpgradeContract } from "../model/upgrade-contract.ts";
import { lstatIfThere } from "./file-tree.ts";
import type { Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import { firstGroup, jsonAt, runProbe } from "./probe.ts";

export type CheckReport = {
  readonly name: string;
  readonly result: "PASS" | "FAIL" | "SKIP";
  readonly isRequired: boolean;
  readonly detail: string;
  readonly ms: number;
  /** What to do about it; empty where it passed. */
  readonly next: string;
};

export type OutcomeReport = {
  readonly outcome: string;
  readonly result: "PASS" | "FAIL" | "INCOMPLETE";
  readonly checks: readonly CheckReport[];
  readonly version: string | null;
  /** RFC 3339. */
  readonly at: string;
};

const answerLimitBytes = 1024 * 1024;

/** What the release promised, with the operator's own outcomes over it. */
export function outcomesOf(installation: Pick<Installation, "outcomes">, contract: UpgradeContract | undefined): readonly Outcome[] {
  const own = new Set(installation.outcomes.map(({ name }) => name));
  return [...installation.outcomes, ...(contract?.outcomes ?? []).filter(({ name }) => !own.has(name))];
}

export type Proving = {
  readonly machine: Machine;
  readonly outcomes: readonly Outcome[];
  /** An outcome's name, or `auto`: all that are marked so and whose `when` is there. */
  readonly name: string;
  /** The version that must answer. */
  readonly version: string | undefined;
  readonly signal: AbortSignal;
};

/** Throws `not_found` for a name that nobody declared; what fails is a result. */
export async function proveOutcomes(proving: Proving): Promise<OutcomeReport> {
  const { machine, outcomes, name, version } = proving;
  const chosen = name === "auto" ? outcomes.filter(({ auto }) => auto) : outcomes.filter((outcome) => outcome.name === name);
  if (name !== "auto" && chosen.length === 0) {
    throw new SlipwayError("not_found", `there is no outcome ${JSON.stringify(name)}`, {
      hint: `known are: ${outcomes.map((outcome) => outcome.name).join(", ") || "none; the release or the installation file declares them under outcomes:"}`,
    });
  }
  const checks: CheckReport[] = [];
  for (const outcome of chosen) {
    const isThere = outcome.when === undefined || (await lstatIfThere(outcome.when)) !== undefined;
    if (!isThere && name === "auto") continue; // a feature that is not configured here
    for (const check of outcome.checks) {
      const whenNot = isThere ? check.when : outcome.when;
      checks.push(await runCheck(proving, check, { name: name === "auto" ? `${outcome.name}/${check.name}` : check.name, when: whenNot }));
    }
  }
  return { outcome: name, result: judge(checks), checks, version: version ?? null, at: machine.clock.now().toISOString() };
}

/** The rule of the header; exported for its table of cases. */
export function judge(checks: readonly Pick<CheckReport, "result" | "isRequired">[]): OutcomeReport["result"] {
  if (checks.some(({ result }) => result === "FAIL")) return "FAIL";
  if (checks.some(({ result, isRequired }) => isRequired && result === "SKIP")) return "INCOMPLETE";
  return checks.some(({ result }) => result === "PASS") ? "PASS" : "INCOMPLETE";
}

async function runCheck(proving: Proving, check: OutcomeCheck, at: { readonly name: string; readonly when: string | undefined }): Promise<CheckReport> {
  const { machine, version } = proving;
  const started = performance.now();
  const report = (result: CheckReport["result"], detail: string, next: string): CheckReport => ({
    name: at.name,
    result,
    isRequired: check.required,
    detail,
    ms: Math.round(performance.now() - started),
    next,
  });
  if (at.when !== undefined && (await lstatIfThere(at.when)) === undefined)
    return report("SKIP", `${at.when} is not there`, check.required ? `configure it, or mark the check required: false` : "");
  const { name: _, required: __, when: ___, roundtrip, ...probe } = check;
  const seen = roundtrip === undefined ? await runProbe(machine, probe, version) : await runRoundTrip(proving, roundtrip);
  return seen.isGood
    ? report("PASS", seen.text, "")
    : report("FAIL", seen.text, "look at the product's log; `slipway upgrade rollback` goes back to the previous version");
}

/** Starts something durable and waits for its terminal state; only the states that were named as good are good. */
async function runRoundTrip({ machine, signal }: Proving, trip: RoundTrip): Promise<{ readonly isGood: boolean; readonly text: string }> {
  const bad = (text: string): { readonly isGood: false; readonly text: string } => ({ isGood: false, text });
  let id: string | undefined;
  try {
    id = await ask(machine, trip.create, undefined);
  } catch (error) {
    return bad(`create: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (id === undefined || !/^[0-9A-Za-z._:-]{1,200}$/.test(id))
    return bad(`create: the answer names no id${id === undefined ? "" : `: ${JSON.stringify(id.slice(0, 80))}`}`);
  const deadline = performance.now() + trip.deadline_seconds * 1000;
  let last = "no answer yet";
  for (;;) {
    try {
      const state = await ask(machine, trip.poll, id);
      last = state === undefined ? "the answer names no state" : `state ${JSON.stringify(state.slice(0, 80))}`;
      if (state !== undefined && trip.expect.includes(state)) return { isGood: true, text: `${id}: ${last}` };
      if (state !== undefined && trip.refuse.includes(state)) return bad(`${id}: ${last}; good is ${trip.expect.join(" or ")}`);
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (signal.aborted) return bad(`${id}: interrupted; ${last}`);
    if (performance.now() + trip.interval_seconds * 1000 > deadline)
      return bad(`${id}: not done after ${trip.deadline_seconds} s; ${last}; good is ${trip.expect.join(" or ")}`);
    await sleepFor(trip.interval_seconds * 1000, undefined, { signal }).catch(() => undefined); // an interrupt is seen above
  }
}

/** The id goes into an address as one segment, and into a command as one argument's part. */
async function ask(machine: Machine, request: RoundTripRequest, id: string | undefined): Promise<string | undefined> {
  const timeoutMs = request.timeout_seconds * 1000;
  let text: string;
  if (request.argv !== undefined) {
    const argv = request.argv.map((argument) => argument.replaceAll("{id}", id ?? ""));
    const result = await machine.runCommand(argv, { timeoutMs, outputLimit: answerLimitBytes });
    if (result.exitCode !== 0) throw new Error(`${argv[0] ?? ""}: exit ${result.exitCode ?? result.signal ?? "?"}: ${result.stderr.trim().slice(0, 300)}`);
    text = result.stdout;
  } else {
    const url = (request.url ?? "").replaceAll("{id}", encodeURIComponent(id ?? ""));
    const method = request.method ?? (request.body === undefined ? "GET" : "POST");
    // The machine's own fetch only reads; what starts a task is a small request to the product beside us.
    const response = await (method === "GET" ? machine.fetch : fetch)(url, {
      redirect: "manual",
      method,
      signal: AbortSignal.timeout(timeoutMs),
      headers: { connection: "close", ...(request.body === undefined ? {} : { "content-type": "application/json" }) },
      ...(request.body === undefined ? {} : { body: request.body }),
    });
    text = response.body === null ? "" : (await readStreamBounded(response.body, answerLimitBytes, url)).toString("utf8");
    if (!response.ok) throw new Error(`${new URL(url).host}: HTTP ${response.status}`);
  }
  return request.json === undefined ? firstGroup(request.regex ?? "", text) : jsonAt(text, request.json);
}
