/** The clock as an argument: pure areas take `now`, services take a Clock, tests pass a fake one. */

export type Clock = { readonly now: () => Date };

export const systemClock: Clock = { now: () => new Date() };
