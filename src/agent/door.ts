/**
 * What stands before every request: by which name the agent is called, from which web page, and with whose token.
 *
 * A page in the operator's browser can make requests to this machine: with a name of its own that points here (DNS rebinding), or to a
 * WebSocket, which knows no same-origin rule. So names and origins are lists, and both are empty by default.
 */
import type { IncomingMessage } from "node:http";
import { SlipwayError } from "../model/errors.ts";
import { type Caller, callerOf, localCaller, readTokens } from "./roles.ts";

export type Door = {
  /** A Unix socket of this user's own: no browser gets here, and its mode says who may. */
  readonly isLocal: boolean;
  /** Lower-case names, without the port. */
  readonly hosts: ReadonlySet<string>;
  readonly origins: ReadonlySet<string>;
  /** Token file; without one only the local socket lets anybody in. */
  readonly tokens: string | undefined;
};

/** `Host: [::1]:8431` -> `::1`. */
function hostName(header: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(header);
  return (bracketed?.[1] ?? header.replace(/:\d+$/, "")).toLowerCase();
}

/** Throws `forbidden` for a foreign name or page, `unauthorized` without a valid token. */
export async function admit(door: Door, request: IncomingMessage): Promise<Caller> {
  const { host = "", origin, authorization } = request.headers;
  if (origin !== undefined && !door.origins.has(origin))
    throw new SlipwayError("forbidden", "a web page of a foreign origin may not call the agent", { hint: "agent: { origins: … } names the pages that may" });
  if (!door.isLocal && !door.hosts.has(hostName(host)))
    throw new SlipwayError("forbidden", "the agent is not called by this name", { hint: "agent: { hosts: … } names what it may be called" });
  if (door.isLocal && authorization === undefined) return localCaller;
  const [, token] = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization ?? "") ?? [];
  const caller = token === undefined || door.tokens === undefined ? undefined : callerOf(await readTokens(door.tokens), token);
  if (caller === undefined)
    throw new SlipwayError("unauthorized", "no valid token", { hint: "`slipway agent token` makes one; send it as Authorization: Bearer" });
  return caller;
}
