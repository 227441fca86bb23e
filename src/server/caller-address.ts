/** From which address a request comes: its socket's, or the one that a trusted proxy names in X-Forwarded-For. */
import type { IncomingMessage } from "node:http";
import { isIP, type Socket } from "node:net";
import { openNetworks } from "../access/networks.ts";
import type { Settings } from "../config/settings.ts";
import { SlipwayError } from "../model/errors.ts";

type ProxySettings = Pick<Settings, "trustedProxies">;

/** What fastify asks of each address on the way; false: no header is believed. Throws `usage`. */
export function proxyTrust({ trustedProxies }: ProxySettings): false | ((address: string) => boolean) {
  if (trustedProxies.length === 0) return false;
  const bad = trustedProxies.find((one) => isIP(one.split("/", 1)[0] ?? "") === 0);
  if (bad !== undefined)
    throw new SlipwayError("usage", `trusted-proxies: "${bad}" is no address or network`, { hint: "write it like 10.0.0.1 or 10.0.0.0/8" });
  const proxies = openNetworks(trustedProxies);
  return (address) => proxies.has(address);
}

/** What fastify's `request.ip` would be, where that is plain: no proxy, or one that names one address. Else undefined. */
export function createCallerAddress(settings: ProxySettings): (request: IncomingMessage) => string | undefined {
  const trust = proxyTrust(settings);
  const trusted = new WeakMap<Socket, boolean>(); // a connection's other end does not change
  return (request) => {
    const { remoteAddress } = request.socket;
    if (trust === false || remoteAddress === undefined) return remoteAddress;
    const isTrusted = trusted.get(request.socket) ?? trust(remoteAddress);
    trusted.set(request.socket, isTrusted);
    const named = request.headers["x-forwarded-for"];
    if (!isTrusted || named === undefined) return remoteAddress;
    return typeof named === "string" && isIP(named) !== 0 ? named : undefined;
  };
}
