/** Events for several listeners, each with a queue of its own that has an end: who does not listen loses the oldest, never the updater its time. */

export type EventStream<T> = {
  readonly publish: (event: T) => void;
  /** From now on, until the loop is left, the signal is aborted or the stream is closed. */
  readonly events: (signal?: AbortSignal) => AsyncIterableIterator<T>;
  readonly close: () => void;
};

/** Progress comes a few times a second; a listener that is away for minutes loses only what a later event says again. */
const queueLimit = 1000;

export function createEventStream<T>(): EventStream<T> {
  const listeners = new Set<{ readonly push: (event: T) => void; readonly end: () => void }>();
  let isClosed = false;

  const events = (signal?: AbortSignal): AsyncIterableIterator<T> => {
    const queue: T[] = [];
    const waiting: ((result: IteratorResult<T, undefined>) => void)[] = [];
    let isOver = isClosed || signal?.aborted === true;
    const listener = {
      push: (event: T): void => {
        const next = waiting.shift();
        if (next !== undefined) next({ value: event, done: false });
        else if (queue.push(event) > queueLimit) queue.shift();
      },
      end: (): void => {
        isOver = true;
        listeners.delete(listener);
        signal?.removeEventListener("abort", listener.end);
        for (const next of waiting.splice(0)) next({ value: undefined, done: true });
      },
    };
    if (!isOver) {
      listeners.add(listener);
      signal?.addEventListener("abort", listener.end, { once: true });
    }
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: () => {
        const event = queue.shift();
        if (event !== undefined) return Promise.resolve({ value: event, done: false });
        if (isOver) return Promise.resolve({ value: undefined, done: true });
        return new Promise((resolve) => waiting.push(resolve));
      },
      return: () => {
        listener.end();
        return Promise.resolve({ value: undefined, done: true });
      },
    };
  };

  return {
    events,
    publish: (event) => {
      for (const { push } of listeners) push(event);
    },
    close: () => {
      isClosed = true;
      for (const { end } of listeners) end();
    },
  };
}
