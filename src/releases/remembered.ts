/** A value that is asked for once: the first readers wait for it, later ones have it at hand. */

export type Remembered<T> = {
  readonly coming: Promise<T>;
  /** Undefined until it has come, and for ever where it failed. */
  readonly value: T | undefined;
};

export function remember<T>(coming: Promise<T>): Remembered<T> {
  const remembered: { readonly coming: Promise<T>; value: T | undefined } = { coming, value: undefined };
  coming.then(
    (value) => {
      remembered.value = value;
    },
    () => undefined, // whoever awaits `coming` hears of it
  );
  return remembered;
}
