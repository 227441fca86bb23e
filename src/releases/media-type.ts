/** The Content-Type of an artifact, by the end of its name. */

/** Sources: IANA's registry; Debian Policy 4.5 names the deb type, shared-mime-info the rpm one. Longest ending first. */
const endings: readonly (readonly [ending: string, type: string])[] = [
  [".tar.gz", "application/gzip"],
  [".tgz", "application/gzip"],
  [".deb", "application/vnd.debian.binary-package"],
  [".rpm", "application/x-rpm"],
  [".zip", "application/zip"],
  [".json", "application/json"],
  [".sig", "application/pgp-signature"],
  [".asc", "application/pgp-signature"],
  [".minisig", "text/plain; charset=utf-8"],
  [".txt", "text/plain; charset=utf-8"],
  [".md", "text/markdown; charset=utf-8"],
  ["SHA256SUMS", "text/plain; charset=utf-8"],
];

export function mediaTypeOf(name: string): string {
  return endings.find(([ending]) => name.endsWith(ending))?.[1] ?? "application/octet-stream";
}
