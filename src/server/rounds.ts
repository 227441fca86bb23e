/** What the server does by itself: signs indexes again before they expire, retires what is due, counts pulls, and clears away what nobody needs. */
import { judgePairs } from "../access/abuse.ts";
import { clearCountedPulls, rollUpPulls } from "../access/pull-rollups.ts";
import { asSlipwayError } from "../model/errors.ts";
import { refreshSnapshots } from "../releases/refresh.ts";
import { retainAutomatically } from "../releases/retain.ts";
import { sweep } from "../releases/sweep.ts";
import { refreshTuf } from "../releases/tuf-publish.ts";
import type { ServerContext } from "./context.ts";

const refreshEveryMs = 3_600_000;
const judgeEveryMs = 5 * 60_000;
/** Another server's rotation of the repository key is known here within this time. */
const keyEveryMs = 30_000;
const countEveryMs = 6 * 3_600_000;
const sweepEveryMs = 24 * 3_600_000;

/** Starts the rounds, the first one now; the returned function ends them and waits for one that runs. */
export function startRounds(context: ServerContext): () => Promise<void> {
  const { store, repositoryKey, log, settings } = context;
  let running: Promise<void> = Promise.resolve();
  /** One after the other: both switch snapshots or look at what they name. A round that fails is logged and tried again at its next turn. */
  const round = (event: string, act: () => Promise<Readonly<Record<string, unknown>>>): void => {
    running = running.then(async () => {
      try {
        log.debug({ event, ...(await act()) });
      } catch (error) {
        const { code } = asSlipwayError(error);
        log.error({ event: `${event}_failed`, code, err: error });
      }
    });
  };
  const refresh = (): void => round("indexes_refreshed", async () => ({ products: await refreshSnapshots(store, repositoryKey) }));
  const signTuf = (): void => round("tuf_signed", async () => ({ repositories: await refreshTuf(store, context.kek) }));
  const retain = (): void => round("retained", async () => ({ steps: await retainAutomatically(store, repositoryKey) }));
  const clear = (): void => round("swept", async () => ({ ...(await sweep(store)) }));
  const countPulls = (): void =>
    round("pulls_counted", async () => {
      const days = await rollUpPulls(store);
      return { days, cleared: settings.auditKeep === 0 ? 0 : await clearCountedPulls(store, settings.auditKeep) };
    });
  const followKey = (): void =>
    round("repository_key_read", async () => {
      await repositoryKey.reload?.();
      return { fingerprint: repositoryKey.fingerprint };
    });
  const judge = (): void =>
    round("pairs_judged", async () => {
      const slowed = await judgePairs(store, { maySuspend: settings.abuseSuspend === "on" });
      context.pace.slowDown(slowed, store.clock.now());
      return { slowed: slowed.length };
    });
  const timers = [
    setInterval(judge, judgeEveryMs),
    setInterval(followKey, keyEveryMs),
    setInterval(refresh, refreshEveryMs),
    setInterval(retain, refreshEveryMs),
    setInterval(signTuf, refreshEveryMs),
    setInterval(countPulls, countEveryMs),
    setInterval(clear, sweepEveryMs),
  ];
  for (const timer of timers) timer.unref();
  refresh();
  retain();
  signTuf();
  countPulls();
  judge();
  clear();
  return async () => {
    for (const timer of timers) clearInterval(timer);
    await running;
  };
}
