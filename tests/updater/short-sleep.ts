/** Waits, but never long: the retries of an upgrade would take minutes. Health checks still have a moment to see something else. */
export const shortSleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.min(ms, 20)));
