/** Which addresses lie in the public Internet: what strangers name may be connected to there, and nowhere inside our own network. */
import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { SlipwayError } from "../model/errors.ts";

/** IANA's special-purpose registries (RFC 6890 and later): own machine, private, shared, link-local (cloud metadata), documentation, multicast. */
const specialIpv4 = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const;

/** Inside 2000::/3 those that carry an IPv4 address of somebody's choice (Teredo, 6to4) or are documentation. */
const specialIpv6 = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
] as const;

const special = new BlockList();
for (const [network, prefix] of specialIpv4) special.addSubnet(network, prefix, "ipv4");
for (const [network, prefix] of specialIpv6) special.addSubnet(network, prefix, "ipv6");
/** All of IPv6 that is routed today; mapped IPv4, NAT64, local and multicast addresses lie outside. */
const globalIpv6 = new BlockList();
globalIpv6.addSubnet("2000::", 3, "ipv6");

export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !special.check(address, "ipv4");
  return family === 6 && globalIpv6.check(address, "ipv6") && !special.check(address, "ipv6");
}

/** The host where it says itself, without a look at DNS, that it is on this machine or in a private network. */
export function insideAddress(hostname: string): string | undefined {
  const bare = hostname.replace(/^\[|\]$/g, "");
  if (isIP(bare) === 0) return /^(?:.*\.)?localhost\.?$/i.test(bare) ? bare : undefined;
  return isPublicAddress(bare) ? undefined : bare;
}

export type ResolvedAddress = { readonly address: string; readonly family: 4 | 6 };

/** Gives every address of a name; a test passes its own. */
export type ResolveName = (name: string) => Promise<readonly ResolvedAddress[]>;

export const resolveName: ResolveName = async (name) =>
  (await lookup(name, { all: true })).map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }));

/**
 * One address of the host, to connect to and to no other: a name may answer differently the next time. `forbidden` where any of its
 * addresses is not public, unless `isTrusted`; `network_unreachable` where it has none.
 */
export async function checkedAddress(hostname: string, options: { readonly isTrusted: boolean; readonly resolve?: ResolveName }): Promise<ResolvedAddress> {
  const bare = hostname.replace(/^\[|\]$/g, "");
  const literal = isIP(bare);
  const found =
    literal === 0 ? await resolveAll(bare, options.resolve ?? resolveName) : [{ address: bare, family: literal === 6 ? (6 as const) : (4 as const) }];
  const inside = options.isTrusted ? undefined : found.find(({ address }) => !isPublicAddress(address));
  if (inside !== undefined) {
    throw new SlipwayError("forbidden", `${hostname} is at ${inside.address}, which is not in the public Internet`, {
      hint: "name the host in the setting webhook-hosts where it is yours",
    });
  }
  const [first] = found;
  if (first === undefined) throw new SlipwayError("network_unreachable", `${hostname} has no address`);
  return first;
}

async function resolveAll(name: string, resolve: ResolveName): Promise<readonly ResolvedAddress[]> {
  try {
    return await resolve(name);
  } catch (error) {
    throw new SlipwayError("network_unreachable", `${name} cannot be resolved`, { cause: error });
  }
}
