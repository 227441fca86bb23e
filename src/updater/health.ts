/** The health gate: does the product answer, and is it the version that it should be? Upgrade and rollback pass the same one. */
import type { Probe } from "../model/probe.ts";
import type { Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import { type ProbeResult, runProbe } from "./probe.ts";
import type { Service } from "./service.ts";

export type Verdict =
  | { readonly isHealthy: true; readonly text: string }
  /** `isOtherVersion`: it answers, but as another version; starting it again will not change that. */
  | { readonly isHealthy: false; readonly text: string; readonly isOtherVersion: boolean };

/** Every check once; the first that is not good decides. */
async function runChecks(machine: Machine, checks: readonly Probe[], expected: string): Promise<ProbeResult> {
  let text = "";
  for (const check of checks) {
    const result = await runProbe(machine, check, expected);
    if (!result.isGood) return result;
    text = result.text;
  }
  // No checks would mean that nothing was proven; the installation file refuses it, and so does this.
  return checks.length === 0 ? { isGood: false, isOtherVersion: false, text: "there is no check" } : { isGood: true, isOtherVersion: false, text };
}

/**
 * Waits until all checks are good `consecutive` times in a row before the deadline, then watches for the bake time: as many bad answers in
 * a row, or a restart that the supervisor counted, end it. Times are measured on the machine's clock.
 */
export async function passHealthGate(options: {
  readonly installation: Installation;
  readonly machine: Machine;
  readonly service: Service;
  readonly version: string;
}): Promise<Verdict> {
  const { installation, machine, service, version } = options;
  const { health } = installation;
  const intervalMs = health.interval_seconds * 1000;
  const nowMs = (): number => machine.clock.now().getTime();
  const report = (isHealthy: boolean, text: string): void => machine.observe({ event: "health", isHealthy, text });

  const deadline = nowMs() + health.deadline_seconds * 1000;
  let inARow = 0;
  let last: ProbeResult;
  for (;;) {
    last = await runChecks(machine, health.checks, version);
    inARow = last.isGood ? inARow + 1 : 0;
    report(last.isGood, last.text);
    if (inARow >= health.consecutive) break;
    if (nowMs() + (last.isGood ? 0 : intervalMs) > deadline) {
      return { isHealthy: false, isOtherVersion: last.isOtherVersion, text: `not healthy within ${health.deadline_seconds} s: ${last.text}` };
    }
    await machine.sleep(intervalMs);
  }

  const restartsBefore = await service.restarts();
  const bakeUntil = nowMs() + health.bake_seconds * 1000;
  let badInARow = 0;
  while (nowMs() < bakeUntil) {
    await machine.sleep(Math.min(intervalMs, Math.max(1, bakeUntil - nowMs())));
    const restarts = await service.restarts();
    if (restarts !== undefined && restartsBefore !== undefined && restarts > restartsBefore) {
      return {
        isHealthy: false,
        isOtherVersion: false,
        text: `it was healthy, then crashed: restarted ${restarts - restartsBefore} times in the first ${health.bake_seconds} s`,
      };
    }
    const result = await runChecks(machine, health.checks, version);
    badInARow = result.isGood ? 0 : badInARow + 1;
    if (!result.isGood) report(false, result.text);
    const isLastLook = nowMs() >= bakeUntil;
    if (badInARow >= health.consecutive || (isLastLook && !result.isGood)) {
      return { isHealthy: false, isOtherVersion: result.isOtherVersion, text: `it was healthy, then not any more: ${result.text}` };
    }
  }
  return { isHealthy: true, text: last.text };
}
