/** Which channel a path of the package repositories belongs to. */

/** `apt/dists/stable/…`, `yum/stable/…`, `apk/stable/…`; undefined for a path of no channel: APT's pool, plain files. */
export function channelOfPath(path: string): string | undefined {
  return /^(?:apt\/dists|yum|apk)\/([^/]+)\//.exec(path)?.[1];
}
