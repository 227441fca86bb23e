/** The address under which customers find this server, as set-up files and printed instructions name it. */
import { absent } from "./error-rim.ts";
import type { Call } from "./route.ts";

/** The address that customers use: the setting, else what this request was sent to. */
export function publicAddress(call: Pick<Call, "context" | "request">): string {
  if (call.context.settings.publicUrl !== "") return call.context.settings.publicUrl;
  const host = call.request.host;
  // The Host header is the caller's own word and ends up in the caller's own file; still, only a plain host may.
  if (!/^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/.test(host)) throw absent();
  return `${call.request.protocol}://${host}`;
}
