/** `slipway mirror sync`: once, or again and again at an interval. */
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../io/clock.ts";
import { readDuration, withJitter } from "../mirror/schedule.ts";
import { type SyncEvent, type SyncSummary, syncMirror } from "../mirror/sync.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { loadMirrorKeys, loadMirrorSettings, loadProducts, openSource } from "./mirror-settings.ts";
import { formatBytes, type Output } from "./output.ts";

const hourMs = 3_600_000;

export const run: CommandRun = async (invocation) => {
  const { options, output, signal } = invocation;
  const every = textOption(options, "every");
  if (every === undefined) {
    await syncOnce(invocation);
    return 0;
  }
  if (flagOption(options, "dryRun")) throw new SlipwayError("usage", "--dry-run looks once; leave --every out");
  const everyMs = readDuration(every);
  while (!signal.aborted) {
    try {
      await syncOnce(invocation);
    } catch (thrown) {
      // The next turn may find what this one missed: a server that is away must not end the schedule, a wrong setting must.
      const error = asSlipwayError(thrown);
      if (signal.aborted) break;
      if (["setting_invalid", "policy_invalid", "key_invalid", "key_missing", "key_locked", "internal", "usage"].includes(error.code)) throw error;
      output.event({ event: "failed", error: error.toJSON() });
      output.note(`${output.colors.red("failed:")} ${error.message}\n  ${output.colors.dim(error.hint)}`);
    }
    const waitMs = withJitter(everyMs, Math.random());
    output.event({ event: "waiting", seconds: Math.round(waitMs / 1000) });
    output.note(`next sync in ${Math.round(waitMs / 60_000)} min`);
    await sleep(waitMs, undefined, { signal }).catch(() => undefined); // woken by Ctrl-C: the loop ends
  }
  return 0;
};

async function syncOnce(invocation: Invocation): Promise<SyncSummary> {
  const { options, output, signal } = invocation;
  const loaded = await loadMirrorSettings(invocation);
  const source = await openSource(loaded, invocation);
  const observer = showProgress(output);
  try {
    const summary = await syncMirror({
      directory: loaded.directory,
      source,
      products: await loadProducts(loaded, source, signal),
      keys: await loadMirrorKeys(loaded, invocation),
      others: "drop",
      isOlderAllowed: flagOption(options, "allowOlder"),
      isDryRun: flagOption(options, "dryRun"),
      keepMs: loaded.settings.keep_hours * hourMs,
      parallel: loaded.settings.parallel,
      clock: systemClock,
      signal,
      observe: observer.observe,
    });
    observer.end();
    showSummary(output, summary, loaded.directory);
    return summary;
  } finally {
    await source.close();
  }
}

/** One bar for the bytes to fetch; nothing where there are none. */
export function showProgress(output: Output): { readonly observe: (event: SyncEvent) => void; readonly end: () => void } {
  let bar: ReturnType<Output["progress"]> | undefined;
  return {
    observe: (event) => {
      switch (event.kind) {
        case "reading":
          output.event({ event: "reading", product: event.product, attempt: event.attempt });
          if (event.attempt > 1) output.note(`${event.product} is being published right now; reading it again (${event.attempt})`);
          break;
        case "planned":
          output.event({ event: "planned", files: event.files, missing: event.missing, missingBytes: event.missingBytes });
          bar?.end();
          bar = event.missingBytes === 0 ? undefined : output.progress("fetching", event.missingBytes);
          break;
        case "progress":
          bar?.update(event.bytes, formatBytes(event.bytes));
          break;
        case "expired":
          output.event({ event: "expired", product: event.product, text: event.text });
          output.note(`${event.product}: ${event.text}; taken all the same, as asked for, and noted in overrides.jsonl`);
          break;
        case "switched":
          output.event({ event: "switched", set: event.id });
          break;
        default:
          event satisfies never;
      }
    },
    end: () => bar?.end(),
  };
}

export function showSummary(output: Output, summary: SyncSummary, directory: string): void {
  output.result({ ...summary, directory });
  const rows = Object.entries(summary.products).map(([name, { versions, indexes, isStill }]) => [
    name,
    versions.length === 0 ? "-" : versions.slice(0, 5).join(" ") + (versions.length > 5 ? ` and ${versions.length - 5} more` : ""),
    indexes === "own" ? "signed by this mirror" : "as the vendor signed them",
    isStill ? "" : "the source never stood still: two formats may be one publication apart",
  ]);
  output.table(["PRODUCT", "VERSIONS", "INDEXES", ""], rows);
  const fetched = `${summary.fetchedFiles} files, ${formatBytes(summary.fetchedBytes)}`;
  const whole = `${summary.files} files, ${formatBytes(summary.bytes)}`;
  switch (summary.result) {
    case "planned":
      output.line(`would fetch ${fetched}; the mirror would have ${whole}`);
      break;
    case "unchanged":
      output.line(`up to date: ${whole} in ${directory}/current`);
      break;
    case "synced":
      output.line(`fetched ${fetched}; ${whole} in ${directory}/current${summary.freedBytes === 0 ? "" : `; freed ${formatBytes(summary.freedBytes)}`}`);
      break;
    default:
      summary.result satisfies never;
  }
}
