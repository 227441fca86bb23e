/** The Sigstore libraries, loaded when a bundle is really looked at: an updater that knows only minisign does not pay for them. */
import type * as SigstoreBundle from "@sigstore/bundle";
import type * as SigstoreSpecs from "@sigstore/protobuf-specs";
import type * as SigstoreVerify from "@sigstore/verify";

export type SigstoreLibraries = {
  readonly bundle: typeof SigstoreBundle;
  readonly specs: typeof SigstoreSpecs;
  readonly verify: typeof SigstoreVerify;
};

export async function loadSigstore(): Promise<SigstoreLibraries> {
  const [bundle, specs, verify] = await Promise.all([import("@sigstore/bundle"), import("@sigstore/protobuf-specs"), import("@sigstore/verify")]);
  return { bundle, specs, verify };
}
