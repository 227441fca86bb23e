/**
 * A restore that an operator asks for: verify everything, unpack beside, stop, replace, start, prove.
 *
 * `updates/restore.json` says where it stands, one durable write per change:
 *
 *     unpack    nothing live was touched; a crash here is undone
 *     replace   every `.new-` is complete; a crash here is finished forward, before the product may start
 *     prove     the state is replaced; a crash here starts the product and proves it
 */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { lazyObject } from "../model/lazy-object.ts";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { unreadableEpoch } from "../model/upgrade-contract.ts";
import { compareVersions, tryParseVersion } from "../model/version.ts";
import { type BackupManifest, outwardLinks, verifyBackup } from "./backup-archive.ts";
import { passHealthGate } from "./health.ts";
import { appendLine } from "./history.ts";
import { emptyState, type InstalledState, readState } from "./installed-state.ts";
import { readPrivateFile } from "./journal.ts";
import { cleanRestore, replaceSections, restoreDumps, type RestoreTarget, targetsOf, unpackBackup } from "./restore.ts";
import { sectionsOf } from "./sections.ts";
import { serviceOf } from "./service.ts";
import type { StrategyContext } from "./strategy.ts";

const sizeLimitBytes = 1024 * 1024;

const targetSchema = lazyObject(() => ({
  name: z.string(),
  kind: z.enum(["dir", "file", "cmd"]),
  target: z.string().startsWith("/"),
  isPresent: z.boolean(),
  count: z.number().optional(),
}));

const journalSchema = lazyObject(() => ({
  schema: z.literal(1),
  product: z.string(),
  id: z.string().regex(/^r-[0-9a-f]{16}$/),
  stage: z.enum(["unpack", "replace", "prove"]),
  version: z.string().nullable(),
  targets: z.array(targetSchema).max(200),
  startedAt: z.int(),
  stoppedAt: z.int().optional(),
}));

type RestoreJournal = z.infer<typeof journalSchema>;

export type RestorePlan = {
  readonly product: string;
  readonly version: string | null;
  readonly createdAt: string;
  readonly archiveOf: string;
  readonly sections: readonly { readonly name: string; readonly path: string; readonly files: number; readonly bytes: number; readonly isPresent: boolean }[];
};

export type RestoreResult = RestorePlan & { readonly downtimeMs: number };

const pathOf = (context: StrategyContext): string => join(context.directory.path, "restore.json");
const dumpsOf = (context: StrategyContext, id: string): string => join(context.directory.path, `restore-${id}`);

export type RestoreRequest = {
  readonly path: string;
  /** Also a backup of a newer version, of a format that this one does not read, or with links that lead out of it. */
  readonly isForced: boolean;
};

/** Verifies the whole archive and says what a restore would replace. Throws `backup_failed`, `compat_violation`. Changes nothing. */
export async function planRestore(
  context: StrategyContext,
  request: RestoreRequest,
): Promise<{ readonly plan: RestorePlan; readonly manifest: BackupManifest }> {
  const { installation, directory } = context;
  const state = await stateOf(context);
  const { manifest } = await verifyBackup(request.path, {
    onManifest: (early) => {
      requireFit(early, state, { product: installation.product, isForced: request.isForced });
      return Promise.resolve();
    },
  });
  const targets = targetsOf(manifest, { sections: sectionsOf(installation, state.installed?.contract), dumps: directory.path, isOwn: false });
  const sections = targets.map(({ name, kind, target, isPresent }) => {
    const files = manifest.files.filter(({ path }) => path === name || path.startsWith(`${name}/`));
    return {
      name,
      path: kind === "cmd" ? `(${name})` : target,
      files: files.filter(({ type }) => type === "file").length,
      bytes: files.reduce((sum, { size }) => sum + size, 0),
      isPresent,
    };
  });
  const { product, version = null, createdAt, archiveOf } = manifest;
  return { plan: { product, version, createdAt, archiveOf, sections }, manifest };
}

async function stateOf({ directory, installation }: StrategyContext): Promise<InstalledState> {
  try {
    return await readState(directory.state, installation.product);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return emptyState(installation.product);
    throw error;
  }
}

/** Spec: the archive's version is at most the code's, and the code reads its formats. */
function requireFit(
  manifest: BackupManifest,
  { installed }: InstalledState,
  { product, isForced }: { readonly product: string; readonly isForced: boolean },
): void {
  if (manifest.product !== product)
    throw new SlipwayError("backup_failed", `the backup is of ${manifest.product}, not of ${product}`, { detail: "other_product" });
  if (isForced) return;
  const [outward] = outwardLinks(manifest);
  if (outward !== undefined)
    throw new SlipwayError("backup_failed", `the backup's link ${outward.path} -> ${outward.target ?? ""} leads out of its section`, {
      detail: "symlink_out",
      hint: "restore it with --force if you made the backup yourself and the link belongs there",
    });
  const archived = manifest.version === undefined ? undefined : tryParseVersion(manifest.version);
  const present = installed === undefined ? undefined : tryParseVersion(installed.version);
  if (archived !== undefined && present !== undefined && compareVersions(archived, present) > 0) {
    throw new SlipwayError("compat_violation", `the backup is of ${archived}, and ${present} is installed, which is older`, {
      detail: "newer_backup",
      hint: "install the backup's version first, or restore with --force",
    });
  }
  const unread = unreadableEpoch(installed?.contract?.compat, manifest.epochs);
  if (unread !== undefined) {
    throw new SlipwayError(
      "compat_violation",
      `${present ?? "this version"} does not read the format ${unread.written} of ${unread.name}, which the backup has`,
      {
        detail: "epoch",
        hint: "install the backup's version first, or restore with --force",
      },
    );
  }
}

/**
 * Restores. Until everything is unpacked nothing live is touched. Throws what planRestore throws, `disk_full`, and `rollback_failed` where the product
 * is not healthy afterwards: what was there before then still lies beside it as `.old-`.
 */
export async function restoreByHand(context: StrategyContext, request: RestoreRequest): Promise<RestoreResult> {
  const { installation, machine, directory } = context;
  const { plan, manifest } = await planRestore(context, request);
  const state = await readState(directory.state, installation.product);
  const id = `r-${randomBytes(8).toString("hex")}`;
  const targets = targetsOf(manifest, { sections: sectionsOf(installation, state.installed?.contract), dumps: dumpsOf(context, id), isOwn: false });
  const journal: RestoreJournal = {
    schema: 1,
    product: installation.product,
    id,
    stage: "unpack",
    version: state.installed?.version ?? null,
    targets: targets.map((target) => ({ ...target })),
    startedAt: machine.clock.now().getTime(),
  };
  await write(context, journal);
  try {
    await unpackBackup({ path: request.path, id, targets });
  } catch (error) {
    await undo(context, journal);
    throw error;
  }
  machine.observe({ event: "step", step: "restore", text: "the backup is verified and unpacked beside the state" });
  const stoppedAt = machine.clock.now().getTime();
  const replacing: RestoreJournal = { ...journal, stage: "replace", stoppedAt };
  await write(context, replacing);
  await bringForward(context, replacing);
  return { ...plan, downtimeMs: machine.clock.now().getTime() - stoppedAt };
}

async function write(context: StrategyContext, journal: RestoreJournal): Promise<void> {
  await writeFileAtomic(pathOf(context), `${JSON.stringify(journalSchema.parse(journal), undefined, 1)}\n`);
  context.machine.observe({ event: "step", step: "restore", text: `stage ${journal.stage}` });
}

async function read(context: StrategyContext): Promise<RestoreJournal | undefined> {
  const bytes = await readPrivateFile(pathOf(context), sizeLimitBytes);
  if (bytes === undefined) return undefined;
  const refuse = (why: string): never => {
    throw new SlipwayError("journal_corrupt", `restore.json cannot be continued by this slipway: ${why}`, { place: pathOf(context) });
  };
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    return refuse("it is not JSON");
  }
  const parsed = journalSchema.safeParse(value);
  if (!parsed.success) return refuse(z.prettifyError(parsed.error).split("\n")[0] ?? "");
  if (parsed.data.product !== context.installation.product) return refuse(`it belongs to ${parsed.data.product}`);
  return parsed.data;
}

async function undo(context: StrategyContext, journal: RestoreJournal): Promise<void> {
  await cleanRestore(filesOf(journal), journal.id);
  await remove(context, journal);
}

const filesOf = ({ targets }: RestoreJournal): readonly string[] => targets.flatMap(({ kind, target }) => (kind === "cmd" ? [] : [target]));

async function remove(context: StrategyContext, journal: RestoreJournal): Promise<void> {
  await rm(dumpsOf(context, journal.id), { recursive: true, force: true });
  await rm(pathOf(context), { force: true });
  await syncDirectory(context.directory.path);
}

const onStep =
  ({ machine }: StrategyContext) =>
  (text: string): void =>
    machine.observe({ event: "step", step: "restore", text });

async function replaceState(context: StrategyContext, journal: RestoreJournal): Promise<RestoreJournal> {
  const { installation, machine } = context;
  const state = await readState(context.directory.state, installation.product);
  const targets: readonly RestoreTarget[] = journal.targets;
  await replaceSections(targets, journal.id, onStep(context));
  await restoreDumps(machine, targets, { sections: sectionsOf(installation, state.installed?.contract), onStep: onStep(context) });
  const next: RestoreJournal = { ...journal, stage: "prove" };
  await write(context, next);
  return next;
}

/** From `replace` or `prove` to the end. */
async function bringForward(context: StrategyContext, journal: RestoreJournal): Promise<void> {
  const { installation, machine, directory } = context;
  const service = serviceOf(installation, machine, directory);
  let at = journal;
  if (at.stage === "replace") {
    await service.stop().catch((error: unknown) => {
      machine.observe({ event: "warning", text: `stop: ${asSlipwayError(error).message}` }); // what still writes there is seen by the renames
    });
    at = await replaceState(context, at);
  }
  if (at.version !== null) {
    const { version } = at;
    const verdict = await service.start().then(
      () => passHealthGate({ installation, machine, service, version }),
      (error: unknown) => ({ isHealthy: false, text: asSlipwayError(error).message }) as const,
    );
    if (!verdict.isHealthy) {
      await remove(context, at);
      throw new SlipwayError("rollback_failed", `the backup is restored, but ${at.version} is not healthy with it: ${verdict.text}`, {
        detail: "restored_unhealthy",
        hint: `what was there before lies beside the state as .<name>.old-${at.id}; look at the product's log`,
      });
    }
  }
  await cleanRestore(filesOf(at), at.id);
  await appendLine(directory.history, {
    at: machine.clock.now().getTime(),
    id: at.id,
    to: at.version ?? "none",
    phase: "restored",
    rolledBack: false,
    rollbackFailed: false,
    ...(at.stoppedAt === undefined ? {} : { downtimeMs: Math.max(0, machine.clock.now().getTime() - at.stoppedAt) }),
  });
  await remove(context, at);
}

/** A restore that a crash cut: undone before the first rename, finished after it. The caller holds the lock. */
export async function finishRestore(context: StrategyContext): Promise<void> {
  const journal = await read(context);
  if (journal === undefined) return;
  context.machine.observe({
    event: "warning",
    text: `a restore was cut while it stood at ${journal.stage}; it is ${journal.stage === "unpack" ? "undone" : "finished"}`,
  });
  if (journal.stage === "unpack") await undo(context, journal);
  else await bringForward(context, journal);
}

/** The guard's part: the product must not start on a state that is half replaced. True where something was to be done. */
export async function finishRestoreBeforeStart(context: StrategyContext): Promise<boolean> {
  const journal = await read(context);
  if (journal?.stage !== "replace") return false;
  await replaceState(context, journal);
  return true;
}
