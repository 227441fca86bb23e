/**
 * One version on several hosts, batch after batch: drain, install, healthy, undrain. The first rollback or failure halts it, and the hosts that have not
 * begun stay as they are (snapd and Mender go on with the next device; a cluster must not).
 *
 * Which host is where is asked of the agents each time, never remembered: that makes it resumable.
 */
import { type CommandResult, type RunCommand } from "../io/command.ts";
import { asSlipwayError, type ErrorCode, errorTable, SlipwayError } from "../model/errors.ts";
import { compareVersions, parseVersion, tryParseVersion, type Version } from "../model/version.ts";
import { askAgent, answerSchemas } from "./agent-client.ts";
import type { Fleet, FleetHost } from "./fleet-file.ts";
import { type FleetRecord, readFleetRecord, writeFleetRecord } from "./fleet-record.ts";

export type HostState = "upgraded" | "already" | "rolled_back" | "failed" | "waits";
export type HostReport = {
  readonly host: string;
  readonly from: string | null;
  readonly state: HostState;
  readonly isDrained: boolean;
  readonly seconds: number;
  readonly error?: SlipwayError;
};
export type FleetReport = { readonly product: string; readonly version: Version; readonly isHalted: boolean; readonly hosts: readonly HostReport[] };
export type FleetEvent = {
  readonly event: "host";
  readonly host: string;
  readonly step: "drain" | "install" | "phase" | "health" | "undrain" | "done" | "halt" | "pause";
  readonly text: string;
};

export type FleetPlan = {
  readonly version: Version;
  readonly hosts: readonly { readonly host: FleetHost; readonly from: string | null; readonly isDone: boolean }[];
};

type Surroundings = {
  readonly fleet: Fleet;
  readonly runCommand: RunCommand;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly observe: (event: FleetEvent) => void;
  readonly signal: AbortSignal;
};

const pollMs = 1000;
/** A host that reboots, or whose agent is upgraded, is not there for a while. */
const unreachableLimitMs = 10 * 60_000;
const hookTries = 3;
const hookPauseMs = 5000;
const outputLimitBytes = 64 * 1024;
const tempfail = 75;

/**
 * Asks every host and decides. Throws `compat_violation` where the new release does not promise to run beside the present ones, `conflict` for a host of
 * another product, `version_not_found` where nothing is offered.
 */
export async function planFleet({ fleet, signal }: Surroundings, wanted: Version | undefined): Promise<FleetPlan> {
  const seen: { readonly host: FleetHost; readonly from: string | null }[] = [];
  for (const host of fleet.hosts) {
    const status = await askAgent(host.address, { verb: "GET", path: "/v1/update/status", answer: answerSchemas.status, signal });
    if (status.product !== fleet.product)
      throw new SlipwayError("conflict", `${host.name} runs ${status.product}, not ${fleet.product}`, { hint: "correct the file of hosts" });
    seen.push({ host, from: status.installed ?? status.live });
  }
  const version = wanted ?? fleet.version ?? (await offeredTo(seen[0]?.host, signal));
  const hosts = seen.map(({ host, from }) => ({ host, from, isDone: isAt(from, version) }));
  const waiting = hosts.filter(({ isDone }) => !isDone);
  // Two versions serve at the same time, unless every host is out of service at once.
  if (hosts.length > 1 && fleet.max_unavailable < hosts.length) for (const { host, from } of waiting) await requireMayMix({ host, from, version, signal });
  return { version, hosts };
}

function isAt(from: string | null, version: Version): boolean {
  const running = from === null ? undefined : tryParseVersion(from);
  return running !== undefined && compareVersions(running, version) === 0;
}

async function offeredTo(host: FleetHost | undefined, signal: AbortSignal): Promise<Version> {
  if (host === undefined) throw new SlipwayError("usage", "the file names no hosts");
  const { installed, offer } = await askAgent(host.address, { verb: "POST", path: "/v1/update/check", body: {}, answer: answerSchemas.check, signal });
  if (offer.kind === "upgrade") return parseVersion(offer.version);
  // The first host may be done already: the others follow it.
  const present = installed === null ? undefined : tryParseVersion(installed);
  if (present === undefined || offer.reason !== "up_to_date") throw new SlipwayError("version_not_found", `${host.name} is offered nothing (${offer.reason})`);
  return present;
}

const lineOf = (version: string): string => version.split(".").slice(0, 2).join(".");

/** The release's own signed promise (`upgrade: { compat: { mixedWith } }` in the recipe); releases of one line may always be mixed. */
async function requireMayMix(question: {
  readonly host: FleetHost;
  readonly from: string | null;
  readonly version: Version;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { host, from, version, signal } = question;
  if (from === null) return;
  const { plan } = await askAgent(host.address, { verb: "POST", path: "/v1/update/plan", body: { version }, answer: answerSchemas.plan, signal });
  if (plan === null) return;
  const refuse = (why: string): never => {
    throw new SlipwayError("compat_violation", `${host.name}: ${why}`, {
      detail: "mixed_versions",
      hint: "upgrade over a version that may run beside both, or stop all hosts at once: max_unavailable as large as their number",
    });
  };
  if (plan.path.length > 1) refuse(`from ${from} it takes more than one step (${plan.path.join(", ")}); bring all hosts to ${plan.to} first`);
  if (plan.isContractPhase) refuse(`${version} removes what ${from} still needs: the two cannot serve together`);
  if (lineOf(from) !== lineOf(version) && plan.mixedWith?.includes(lineOf(from)) !== true)
    refuse(`${version} does not promise to run beside ${lineOf(from)} (mixedWith: ${plan.mixedWith?.join(", ") ?? "nothing"})`);
}

/** Runs the plan. A failure of a host is in the report, not thrown; `isHalted` says that hosts wait because of one. */
export async function upgradeFleet(surroundings: Surroundings, plan: FleetPlan, recordPath: string): Promise<FleetReport> {
  const { fleet, observe, sleep, signal } = surroundings;
  const memory = await openMemory(recordPath, { schema: 1, product: fleet.product, version: plan.version, drained: [] });
  const reports = new Map<string, HostReport>();
  const queue = plan.hosts.filter(({ host, isDone }) => !isDone || memory.isDrained(host.name));
  for (const { host, from, isDone } of plan.hosts) {
    if (isDone && !memory.isDrained(host.name)) reports.set(host.name, { host: host.name, from, state: "already", isDrained: false, seconds: 0 });
  }
  let isHalted = false;
  while (queue.length > 0 && !isHalted && !signal.aborted) {
    const batch = queue.splice(0, fleet.max_unavailable);
    const made = await Promise.all(batch.map(({ host, from, isDone }) => upgradeHost(surroundings, { host, from, isDone, version: plan.version, memory })));
    for (const report of made) reports.set(report.host, report);
    isHalted = made.some(({ state }) => state === "rolled_back" || state === "failed");
    if (isHalted) {
      const bad = made.filter(({ error }) => error !== undefined).map(({ host }) => host);
      observe({ event: "host", host: bad.join(", "), step: "halt", text: `the rollout halts; ${queue.length} hosts stay as they are` });
    } else if (queue.length > 0 && fleet.pause_seconds > 0) {
      observe({ event: "host", host: "", step: "pause", text: `${fleet.pause_seconds} s until the next` });
      await sleep(fleet.pause_seconds * 1000, signal).catch(() => undefined); // interrupted: the loop ends
    }
  }
  const hosts = plan.hosts.map(
    ({ host, from }): HostReport => reports.get(host.name) ?? { host: host.name, from, state: "waits", isDrained: memory.isDrained(host.name), seconds: 0 },
  );
  return { product: fleet.product, version: plan.version, isHalted, hosts };
}

type Memory = { readonly isDrained: (name: string) => boolean; readonly set: (name: string, isDrained: boolean) => Promise<void> };

/** Hosts that an earlier run took out of service stay known, whichever version it was for. */
async function openMemory(path: string, fresh: FleetRecord): Promise<Memory> {
  const before = await readFleetRecord(path);
  if (before !== undefined && before.product !== fresh.product)
    throw new SlipwayError("conflict", `the record is of the product ${before.product}`, {
      place: path,
      hint: "give each hosts file its own record: move this one away, or name another hosts file",
    });
  const drained = new Set(before?.drained);
  let writing = Promise.resolve();
  return {
    isDrained: (name) => drained.has(name),
    set: (name, isDrained) => {
      if (isDrained) drained.add(name);
      else drained.delete(name);
      writing = writing.then(() => writeFleetRecord(path, { ...fresh, drained: [...drained] }));
      return writing;
    },
  };
}

async function upgradeHost(
  surroundings: Surroundings,
  task: { readonly host: FleetHost; readonly from: string | null; readonly isDone: boolean; readonly version: Version; readonly memory: Memory },
): Promise<HostReport> {
  const { observe } = surroundings;
  const { host, from, isDone, version, memory } = task;
  const startedAt = performance.now();
  const tell = (step: FleetEvent["step"], text: string): void => observe({ event: "host", host: host.name, step, text });
  const report = (state: HostState, error?: SlipwayError): HostReport => ({
    host: host.name,
    from,
    state,
    isDrained: memory.isDrained(host.name),
    seconds: Math.round((performance.now() - startedAt) / 1000),
    ...(error === undefined ? {} : { error }),
  });
  const backInService = async (): Promise<void> => {
    if (host.health !== undefined) await runHook(surroundings, host, { step: "health", argv: host.health });
    if (host.undrain !== undefined) await runHook(surroundings, host, { step: "undrain", argv: host.undrain });
    if (memory.isDrained(host.name)) await memory.set(host.name, false);
  };
  try {
    if (!isDone) {
      if (host.drain !== undefined) {
        await memory.set(host.name, true); // before the hook: a drain that was cut may have happened
        await runHook(surroundings, host, { step: "drain", argv: host.drain });
      }
      await installOn(surroundings, host, version, tell);
    }
    await backInService();
    tell("done", `runs ${version}`);
    return report(isDone ? "already" : "upgraded");
  } catch (thrown) {
    const error = asSlipwayError(thrown);
    tell("done", error.message);
    const isBack = error.code === "health_failed"; // the agent has proven that the old version is healthy
    // A host that runs its old version in health serves again; another one stays out of service for a human to look at.
    if (isBack || refusals.has(error.code)) await backInService().catch((second: unknown) => tell("undrain", asSlipwayError(second).message));
    return report(isBack ? "rolled_back" : "failed", error);
  }
}

/** Refusals that come before anything on the host was touched. */
const refusals = new Set<string>([
  "upgrade_verification_failed",
  "downgrade_refused",
  "version_blocked",
  "version_withdrawn",
  "version_not_found",
  "no_upgrade_path",
  "waypoint_missing",
  "compat_violation",
  "outside_window",
  "pinned",
  "held",
  "cohort_not_selected",
  "lock_held",
  "forbidden",
  "unauthorized",
  "package_owned",
  "backup_failed",
  "disk_full",
] satisfies ErrorCode[]);

/** Begins the installation and follows it to its end, also over times in which the agent cannot be asked. Throws the agent's error. */
async function installOn(
  { fleet, sleep, signal }: Surroundings,
  host: FleetHost,
  version: Version,
  tell: (step: FleetEvent["step"], text: string) => void,
): Promise<void> {
  const deadline = performance.now() + fleet.timeout_seconds * 1000;
  tell("install", version);
  let operation = await askAgent(host.address, { verb: "POST", path: "/v1/update/install", body: { version }, answer: answerSchemas.operation, signal });
  let lastSeen = performance.now();
  let said = "";
  for (;;) {
    const { transaction } = operation;
    const where = transaction === null ? operation.state : `${transaction.phase}${transaction.step === undefined ? "" : ` ${transaction.step}`}`;
    if (where !== said) tell("phase", where);
    said = where;
    if (operation.state === "done") return;
    if (operation.state === "failed") throw failureOf(operation.error);
    if (performance.now() > deadline)
      throw new SlipwayError("interrupted", `no end after ${fleet.timeout_seconds} s; the agent goes on`, { detail: "timeout" });
    await sleep(pollMs, signal);
    try {
      const status = await askAgent(host.address, { verb: "GET", path: "/v1/update/status", answer: answerSchemas.status, signal });
      lastSeen = performance.now();
      if (status.operation !== null) operation = status.operation;
      else if (isAt(status.installed, version))
        return; // the agent was started anew and its memory is the journal
      else operation = await askAgent(host.address, { verb: "POST", path: "/v1/update/install", body: { version }, answer: answerSchemas.operation, signal });
    } catch (error) {
      const isAway = error instanceof SlipwayError && error.code === "network_unreachable" && !signal.aborted;
      if (!isAway || performance.now() - lastSeen > unreachableLimitMs) throw error;
    }
  }
}

function failureOf(error: { readonly code: string; readonly message: string; readonly detail?: string | undefined } | null): SlipwayError {
  const code = error !== null && isErrorCode(error.code) ? error.code : "server_error";
  return new SlipwayError(code, error?.message ?? "the agent did not say why", error?.detail === undefined ? {} : { detail: error.detail });
}

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorTable, code);

/** 75 means: not yet. Throws `hook_failed` for another exit code, for no end in time, and where it cannot be run. */
async function runHook(
  { fleet, runCommand, sleep, signal, observe }: Surroundings,
  host: FleetHost,
  hook: { readonly step: "drain" | "undrain" | "health"; readonly argv: readonly string[] },
): Promise<void> {
  const { step, argv } = hook;
  observe({ event: "host", host: host.name, step, text: argv[0] ?? "" });
  const timeoutMs = fleet.hook_timeout_seconds * 1000;
  let result: CommandResult | undefined;
  for (let attempt = 1; attempt <= hookTries; attempt += 1) {
    result = await runCommand(argv, { timeoutMs, outputLimit: outputLimitBytes, signal });
    if (result.exitCode === 0) return;
    if (result.exitCode !== tempfail || attempt === hookTries) break;
    await sleep(hookPauseMs * attempt, signal);
  }
  const why = result?.isTimedOut === true ? `no end after ${fleet.hook_timeout_seconds} s` : `exit ${result?.exitCode ?? result?.signal ?? "?"}`;
  const tail = (result?.stderr || result?.stdout || "").trim().split("\n").slice(-3).join("\n").slice(-1000);
  throw new SlipwayError("hook_failed", `${host.name}: ${step}: ${why}${tail === "" ? "" : `: ${tail}`}`);
}
