/** The health gate: does the product answer, and is it the version that it should be? Upgrade and rollback pass the same one. */
import { readStreamBounded } from "../io/bounded-read.ts";
import type { HealthCheck, Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import type { Service } from "./service.ts";

export type Verdict =
  | { readonly isHealthy: true; readonly text: string }
  /** `isOtherVersion`: it answers, but as another version; starting it again will not change that. */
  | { readonly isHealthy: false; readonly text: string; readonly isOtherVersion: boolean };

type CheckResult = { readonly isGood: boolean; readonly isOtherVersion: boolean; readonly text: string };

const bodyLimitBytes = 256 * 1024;

const sameVersion = (seen: string, expected: string): boolean => seen.trim().replace(/^v/, "") === expected;

function judgeVersion(what: string, seen: string | undefined, expected: string): CheckResult {
  if (seen === undefined) return { isGood: false, isOtherVersion: false, text: `${what} does not say its version` };
  if (sameVersion(seen, expected)) return { isGood: true, isOtherVersion: false, text: `${what} is ${expected}` };
  return { isGood: false, isOtherVersion: true, text: `${what} says version ${JSON.stringify(seen.slice(0, 80))}; expected ${expected}` };
}

function firstGroup(pattern: string, text: string): string | undefined {
  const found = new RegExp(pattern, "m").exec(text);
  return found === null ? undefined : (found[1] ?? found[0]);
}

/** `a.b` in a JSON answer, as text. */
function jsonAt(text: string, path: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // not JSON: it does not say its version
  }
  for (const part of path.replace(/^[$./]+/, "").split(/[./]/)) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[part];
  }
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

async function runHttp(machine: Machine, check: NonNullable<HealthCheck["http"]>, expected: string): Promise<CheckResult> {
  const what = new URL(check.url).host;
  const bad = (text: string): CheckResult => ({ isGood: false, isOtherVersion: false, text: `${what}: ${text}` });
  try {
    const response = await machine.fetch(check.url, {
      redirect: "manual",
      signal: AbortSignal.timeout(check.timeout_seconds * 1000),
      headers: { connection: "close" },
    });
    const body = response.body === null ? "" : (await readStreamBounded(response.body, bodyLimitBytes, what)).toString("utf8");
    if (response.status !== check.status) return bad(`HTTP ${response.status}; expected ${check.status}`);
    const { version } = check;
    if (version === undefined) return { isGood: true, isOtherVersion: false, text: `${what} answers ${check.status}` };
    if (version.header !== undefined) return judgeVersion(what, response.headers.get(version.header) ?? undefined, expected);
    return judgeVersion(what, version.json === undefined ? firstGroup(version.regex ?? "", body) : jsonAt(body, version.json), expected);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : error instanceof Error ? error.message : String(error);
    return bad(cause);
  }
}

async function runProgram(machine: Machine, check: NonNullable<HealthCheck["command"]>, expected: string): Promise<CheckResult> {
  const what = check.argv[0] ?? "";
  const bad = (text: string): CheckResult => ({ isGood: false, isOtherVersion: false, text: `${what}: ${text}` });
  try {
    const result = await machine.runCommand(check.argv, { timeoutMs: check.timeout_seconds * 1000, outputLimit: bodyLimitBytes });
    if (result.isTimedOut) return bad(`no end after ${check.timeout_seconds} s`);
    if (result.exitCode !== 0) return bad(`exit ${result.exitCode ?? result.signal ?? "?"}: ${result.stderr.trim().split("\n").at(-1)?.slice(0, 300) ?? ""}`);
    if (check.version === undefined) return { isGood: true, isOtherVersion: false, text: `${what} exits 0` };
    return judgeVersion(what, firstGroup(check.version, `${result.stdout}\n${result.stderr}`), expected);
  } catch (error) {
    return bad(error instanceof Error ? error.message : String(error));
  }
}

/** Every check once; the first that is not good decides. */
async function runChecks(machine: Machine, checks: readonly HealthCheck[], expected: string): Promise<CheckResult> {
  let text = "";
  for (const check of checks) {
    const result =
      check.http !== undefined
        ? await runHttp(machine, check.http, expected)
        : check.command !== undefined
          ? await runProgram(machine, check.command, expected)
          : { isGood: false, isOtherVersion: false, text: "a check without content" };
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
  let last: CheckResult;
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
