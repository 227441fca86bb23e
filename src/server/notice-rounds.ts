/** Sends notices in the background: every few seconds what is due, every hour a look at what ends soon and at what is old. */
import { asSlipwayError } from "../model/errors.ts";
import { deliverDue } from "../notices/deliver.ts";
import { noticeExpiries } from "../notices/expiry-notices.ts";
import { clearDeliveries } from "../store/outbox.ts";
import type { ServerContext } from "./context.ts";

const deliverEveryMs = 5_000;
const expiryEveryMs = 3_600_000;

/** Starts both, the first ones now; the returned function ends them, after the message that is on its way. */
export function startNoticeRounds(context: ServerContext): () => Promise<void> {
  const { store, repositoryKey, notices, log } = context;
  const state = { isStopping: false };
  let running: Promise<void> = Promise.resolve();
  let isDelivering = false;
  const round = (event: string, act: () => Promise<Readonly<Record<string, unknown>> | undefined>): void => {
    running = running.then(async () => {
      if (state.isStopping) return;
      try {
        const done = await act();
        if (done !== undefined) log.info({ event, ...done });
      } catch (error) {
        log.error({ event: `${event}_failed`, code: asSlipwayError(error).code, err: error });
      }
    });
  };
  const deliver = (): void => {
    if (isDelivering) return; // a slow receiver makes a round longer than the time between two
    isDelivering = true;
    round("notices_delivered", async () => {
      try {
        const done = await deliverDue(store, { ...notices, isStopping: () => state.isStopping });
        return done.planned + done.sent + done.failed === 0 ? undefined : done;
      } finally {
        isDelivering = false;
      }
    });
  };
  const lookAhead = (): void =>
    round("expiries_noticed", async () => {
      const [written, cleared] = [await noticeExpiries(store, repositoryKey), await clearDeliveries(store.db, store)];
      return written + cleared === 0 ? undefined : { notices: written, cleared };
    });
  const timers = [setInterval(deliver, deliverEveryMs), setInterval(lookAhead, expiryEveryMs)];
  for (const timer of timers) timer.unref();
  lookAhead();
  deliver();
  return async () => {
    state.isStopping = true;
    for (const timer of timers) clearInterval(timer);
    await running;
  };
}
