/**
 * Where a URL led: the route and the parameters that fastify found for it, kept for the fast path (fast-path.ts).
 *
 * It is learned from requests that were answered the ordinary way, by the whole text of the request's target: so nobody but fastify ever
 * reads a path, decodes it or chooses a route. What a caller may read of it is asked each time.
 */
import type { DownloadTree } from "../releases/resolve.ts";
import type { OciReference } from "./oci-address.ts";

export type RoutedPath =
  | { readonly kind: "file"; readonly route: string; readonly product: string; readonly tree: DownloadTree; readonly path: string }
  | { readonly kind: "manifest"; readonly route: string; readonly product: string; readonly name: string; readonly reference: OciReference };

export type RoutedPaths = {
  readonly find: (url: string) => RoutedPath | undefined;
  readonly learn: (url: string, path: RoutedPath) => void;
};

const pathLimit = 10_000;
/** What clients ask for over and over is shorter. */
const lengthLimit = 512;

export function createRoutedPaths(): RoutedPaths {
  const paths = new Map<string, RoutedPath>();
  return {
    find: (url) => paths.get(url),
    learn: (url, path) => {
      if (url.length > lengthLimit || url.includes("?")) return; // queries that nobody reads would fill it
      if (paths.size >= pathLimit) paths.clear();
      paths.set(url, path);
    },
  };
}
