/**
 * The updater's own compose file: which image the service runs, by its digest. It comes last on compose's command line, so that its image
 * overrides the one of the operator's files, which stay as they are.
 *
 *     # Written by slipway; …
 *     x-slipway: { product: "jaco", version: "1.5.0" }
 *     services:
 *       "jaco":
 *         image: "sha256:…"
 *
 * It is read back only if it is, byte for byte, what this file writes: an edit by hand is said, and never overwritten in silence.
 */
import { SlipwayError } from "../model/errors.ts";
import { parseVersion } from "../model/version.ts";

export const composeOverrideName = "compose.slipway.yaml";

/** As compose takes service names. */
export const composeServicePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** An image's id, or a repository with a digest; never a tag, which may lead elsewhere tomorrow. */
const pinnedImagePattern = /^(?:[a-z0-9][a-z0-9._:/-]{0,254}@)?sha256:[0-9a-f]{64}$/;

export type ComposeOverride = { readonly product: string; readonly version: string; readonly service: string; readonly image: string };

export function renderComposeOverride({ product, version, service, image }: ComposeOverride): string {
  if (!composeServicePattern.test(service) || !pinnedImagePattern.test(image))
    throw new SlipwayError("internal", `cannot pin the service ${service} to ${image}`);
  return `# Written by slipway; \`slipway upgrade install\` replaces it. The image that the service runs, by its digest.
x-slipway: { product: "${product}", version: "${parseVersion(version)}" }
services:
  "${service}":
    image: "${image}"
`;
}

/** Throws `state_dir_insecure` for a file that is not the updater's. */
export function parseComposeOverride(text: string, place: string): ComposeOverride {
  const found = /^x-slipway: \{ product: "([^"]+)", version: "([^"]+)" \}\nservices:\n {2}"([^"]+)":\n {4}image: "([^"]+)"$/m.exec(text);
  const [, product = "", version = "", service = "", image = ""] = found ?? [];
  try {
    const read = { product, version, service, image };
    if (renderComposeOverride(read) === text) return read;
  } catch {
    // said below, with the place
  }
  throw new SlipwayError("state_dir_insecure", `${place} is not as slipway wrote it`, {
    place,
    hint: "move your own settings to another compose file and remove this one; `slipway upgrade install --adopt <version>` begins again",
  });
}
