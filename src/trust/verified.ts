/** The brand of what has passed verification: a value that came from outside is not `Verified` until the one function of its kind says so. */

declare const verified: unique symbol;

/** Made only by verifySums and verifyRelease (verify-release.ts); never by a cast elsewhere. */
export type Verified<T> = T & { readonly [verified]: true };
