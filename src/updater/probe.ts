/** Runs a probe against the product as it is now: good or not, in words, and which version it found. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { connect } from "node:net";
import { readStreamBounded } from "../io/bounded-read.ts";
import type { Probe } from "../model/probe.ts";
import type { Machine } from "./machine.ts";

/** `isOtherVersion`: it answers, but as another version. */
export type ProbeResult = { readonly isGood: boolean; readonly isOtherVersion: boolean; readonly text: string };

const bodyLimitBytes = 256 * 1024;
const metricsLimitBytes = 16 * 1024 * 1024;
const logTailBytes = 1024 * 1024;

const good = (text: string): ProbeResult => ({ isGood: true, isOtherVersion: false, text });
const bad = (text: string): ProbeResult => ({ isGood: false, isOtherVersion: false, text });

const sameVersion = (seen: string, expected: string): boolean => seen.trim().replace(/^v/, "") === expected;

/** Without an expected version, any version is good. */
function judgeVersion(what: string, seen: string | undefined, expected: string | undefined): ProbeResult {
  if (seen === undefined) return bad(`${what} does not say its version`);
  if (expected === undefined || sameVersion(seen, expected)) return good(`${what} is ${expected ?? seen.slice(0, 80)}`);
  return { isGood: false, isOtherVersion: true, text: `${what} says version ${JSON.stringify(seen.slice(0, 80))}; expected ${expected}` };
}

export function firstGroup(pattern: string, text: string): string | undefined {
  const found = new RegExp(pattern, "m").exec(text);
  return found === null ? undefined : (found[1] ?? found[0]);
}

/** `a.b` in a JSON answer, as text. */
export function jsonAt(text: string, path: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // not JSON: what is asked for does not stand there
  }
  for (const part of path.replace(/^[$./]+/, "").split(/[./]/)) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[part];
  }
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

const reasonOf = (error: unknown): string =>
  error instanceof Error && error.cause instanceof Error ? error.cause.message : error instanceof Error ? error.message : String(error);

type Of<Kind extends keyof Probe> = NonNullable<Probe[Kind]>;

async function probeHttp(machine: Machine, check: Of<"http">, expected: string | undefined): Promise<ProbeResult> {
  const what = new URL(check.url).host;
  const response = await machine.fetch(check.url, {
    redirect: "manual",
    signal: AbortSignal.timeout(check.timeout_seconds * 1000),
    headers: { connection: "close" },
  });
  const body = response.body === null ? "" : (await readStreamBounded(response.body, bodyLimitBytes, what)).toString("utf8");
  if (response.status !== check.status) return bad(`${what}: HTTP ${response.status}; expected ${check.status}`);
  if (check.expect !== undefined && !new RegExp(check.expect, "m").test(body)) return bad(`${what}: the answer does not match ${check.expect}`);
  const { version } = check;
  if (version === undefined) return good(`${what} answers ${check.status}`);
  if (version.header !== undefined) return judgeVersion(what, response.headers.get(version.header) ?? undefined, expected);
  return judgeVersion(what, version.json === undefined ? firstGroup(version.regex ?? "", body) : jsonAt(body, version.json), expected);
}

async function probeTcp(check: Of<"tcp">): Promise<ProbeResult> {
  const what = `${check.host}:${check.port}`;
  const socket = connect({ host: check.host, port: check.port });
  try {
    const isOpen = await new Promise<boolean>((resolve, reject) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", reject);
      socket.setTimeout(check.timeout_seconds * 1000, () => resolve(false));
    });
    return isOpen ? good(`${what} listens`) : bad(`${what}: no answer after ${check.timeout_seconds} s`);
  } finally {
    socket.destroy();
  }
}

async function probeCommand(machine: Machine, check: Of<"command">, expected: string | undefined): Promise<ProbeResult> {
  const what = check.argv[0] ?? "";
  const result = await machine.runCommand(check.argv, { timeoutMs: check.timeout_seconds * 1000, outputLimit: bodyLimitBytes });
  if (result.isTimedOut) return bad(`${what}: no end after ${check.timeout_seconds} s`);
  if (result.exitCode !== 0)
    return bad(`${what}: exit ${result.exitCode ?? result.signal ?? "?"}: ${result.stderr.trim().split("\n").at(-1)?.slice(0, 300) ?? ""}`);
  const output = `${result.stdout}\n${result.stderr}`;
  if (check.expect !== undefined && !new RegExp(check.expect, "m").test(output)) return bad(`${what}: its output does not match ${check.expect}`);
  return check.version === undefined ? good(`${what} exits 0`) : judgeVersion(what, firstGroup(check.version, output), expected);
}

async function probeSystemd(machine: Machine, { unit, max_restarts: most }: Of<"systemd">): Promise<ProbeResult> {
  const argv = ["systemctl", "show", "--property=ActiveState,NRestarts", "--", unit];
  const { stdout, exitCode, stderr } = await machine.runCommand(argv, { timeoutMs: 10_000 });
  if (exitCode !== 0) return bad(`${unit}: ${stderr.trim().slice(0, 300)}`);
  const state = firstGroup("^ActiveState=(.*)$", stdout);
  const restarts = Number(firstGroup("^NRestarts=(\\d+)$", stdout) ?? 0);
  if (state !== "active") return bad(`${unit} is ${state ?? "unknown"}; expected active`);
  return restarts <= most ? good(`${unit} is active`) : bad(`${unit} was restarted ${restarts} times by systemd; at most ${most} are good`);
}

/** The text format of Prometheus: `name{labels} value [time]`. */
async function probeMetric(machine: Machine, check: Of<"metric">): Promise<ProbeResult> {
  const what = new URL(check.url).host;
  const response = await machine.fetch(check.url, {
    redirect: "manual",
    signal: AbortSignal.timeout(check.timeout_seconds * 1000),
    headers: { connection: "close" },
  });
  const body = response.body === null ? "" : (await readStreamBounded(response.body, metricsLimitBytes, what)).toString("utf8");
  if (response.status !== 200) return bad(`${what}: HTTP ${response.status}; expected 200`);
  const values = body.split("\n").flatMap((line) => {
    const isIt = line.startsWith(check.name) && [" ", ...(check.name.includes("{") ? [] : ["{"])].includes(line[check.name.length] ?? "");
    const value = isIt
      ? Number(/(?:^|[}\s])\s*([-+0-9.eE]+|NaN|[+-]Inf)(?:\s+-?\d+)?\s*$/.exec(line.slice(check.name.length))?.[1]?.replace("Inf", "Infinity"))
      : Number.NaN;
    return isIt && !Number.isNaN(value) ? [value] : [];
  });
  if (values.length === 0) return bad(`${what}: there is no metric ${check.name}`);
  const sum = values.reduce((total, value) => total + value, 0);
  if (check.min !== undefined && sum < check.min) return bad(`${what}: ${check.name} is ${sum}; at least ${check.min} is good`);
  if (check.max !== undefined && sum > check.max) return bad(`${what}: ${check.name} is ${sum}; at most ${check.max} is good`);
  return good(`${what}: ${check.name} is ${sum}`);
}

async function probeLog(machine: Machine, check: Of<"log">, expected: string | undefined): Promise<ProbeResult> {
  const what = check.file ?? check.unit ?? "";
  const text = check.file === undefined ? await unitLog(machine, check.unit ?? "") : await readTail(check.file);
  const all = [...text.matchAll(new RegExp(check.version, "gm"))];
  const last = all.at(-1);
  return judgeVersion(what, last === undefined ? undefined : (last[1] ?? last[0]), expected);
}

/** Lines since the unit's last start: an older start named an older version. */
async function unitLog(machine: Machine, unit: string): Promise<string> {
  const options = { timeoutMs: 10_000, outputLimit: logTailBytes };
  const { stdout: invocation } = await machine.runCommand(["systemctl", "show", "--property=InvocationID", "--value", "--", unit], options);
  const since = invocation.trim() === "" ? [] : [`_SYSTEMD_INVOCATION_ID=${invocation.trim()}`];
  const { stdout, stderr, exitCode } = await machine.runCommand(
    ["journalctl", "--no-pager", "--output=cat", "--lines=5000", `--unit=${unit}`, ...since],
    options,
  );
  if (exitCode !== 0) throw new Error(`journalctl: ${stderr.trim().slice(0, 300)}`);
  return stdout;
}

async function readTail(path: string): Promise<string> {
  const handle: FileHandle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new Error(`${path} is no file`);
    const length = Math.min(stat.size, logTailBytes);
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await handle.read(buffer, 0, length, stat.size - length);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** Never throws: what cannot be asked is not good. `expected` is the version that must answer. */
export async function runProbe(machine: Machine, probe: Probe, expected: string | undefined): Promise<ProbeResult> {
  const { http, tcp, command, systemd, metric, log } = probe;
  const what =
    http !== undefined
      ? new URL(http.url).host
      : tcp !== undefined
        ? `${tcp.host}:${tcp.port}`
        : (command?.argv[0] ?? systemd?.unit ?? metric?.url ?? log?.file ?? "");
  try {
    if (http !== undefined) return await probeHttp(machine, http, expected);
    if (tcp !== undefined) return await probeTcp(tcp);
    if (command !== undefined) return await probeCommand(machine, command, expected);
    if (systemd !== undefined) return await probeSystemd(machine, systemd);
    if (metric !== undefined) return await probeMetric(machine, metric);
    if (log !== undefined) return await probeLog(machine, log, expected);
    return bad("a probe without content");
  } catch (error) {
    return bad(`${what}: ${reasonOf(error)}`);
  }
}
