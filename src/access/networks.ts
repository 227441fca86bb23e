/** Networks that an access key may be used from: IPv4 and IPv6, single addresses or with a prefix length (CIDR). */
import { BlockList, isIP } from "node:net";
import { SlipwayError } from "../model/errors.ts";

export type Networks = {
  /** `address` as the socket or a trusted proxy gave it; an IPv4 address in IPv6 form is the IPv4 address. */
  has(address: string): boolean;
};

/** A list longer than this is a firewall's work. */
const networkLimit = 100;

type Network = { readonly address: string; readonly prefix: number; readonly family: "ipv4" | "ipv6" };

function readNetwork(text: string): Network | undefined {
  const [address = "", prefix, ...rest] = text.split("/");
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || address.includes("%")) return undefined; // a zone names an interface of one machine
  const width = version === 4 ? 32 : 128;
  if (prefix !== undefined && (!/^\d{1,3}$/.test(prefix) || Number(prefix) > width)) return undefined;
  return { address, prefix: prefix === undefined ? width : Number(prefix), family: version === 4 ? "ipv4" : "ipv6" };
}

/** An address with bits set behind its prefix: meant as one machine, it would open the whole network. */
function hasHostBits({ address, prefix, family }: Network): boolean {
  if (family === "ipv4") return BigInt.asUintN(32 - prefix, bitsOf(address.split("."), { base: 10, width: 8 })) !== 0n;
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1); // without dotted quads, zeros shortened to ::
  const [front = "", back] = plain.split("::");
  const groups = (text: string): readonly string[] => (text === "" ? [] : text.split(":"));
  const [head, tail] = [groups(front), groups(back ?? "")];
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  return BigInt.asUintN(128 - prefix, bitsOf([...head, ...zeros, ...tail], { base: 16, width: 16 })) !== 0n;
}

function bitsOf(parts: readonly string[], { base, width }: { readonly base: 10 | 16; readonly width: number }): bigint {
  return parts.reduce((bits, part) => (bits << BigInt(width)) | BigInt(Number.parseInt(part, base)), 0n);
}

/** `["203.0.113.0/24", "2001:db8::/32"]` as it is kept. Throws `usage`. */
export function parseNetworks(texts: readonly string[]): readonly string[] {
  if (texts.length === 0 || texts.length > networkLimit) throw new SlipwayError("usage", `expected 1 to ${networkLimit} networks`);
  for (const text of texts) {
    const network = readNetwork(text);
    if (network === undefined) {
      throw new SlipwayError("usage", `"${text.slice(0, 60)}" is not a network`, { hint: "write it like 203.0.113.0/24 or 2001:db8::/32" });
    }
    if (hasHostBits(network)) {
      throw new SlipwayError("usage", `${text} has bits set behind its prefix of ${network.prefix}`, {
        hint: `${network.address} alone is one machine; a network begins with its lowest address`,
      });
    }
  }
  return [...new Set(texts)];
}

/** Of parsed networks. */
export function openNetworks(texts: readonly string[]): Networks {
  const list = new BlockList();
  for (const text of texts) {
    const network = readNetwork(text);
    if (network === undefined) throw new SlipwayError("internal", `a stored network is damaged: ${text.slice(0, 60)}`);
    list.addSubnet(network.address, network.prefix, network.family);
  }
  return {
    has: (address) => {
      const plain = address.toLowerCase().startsWith("::ffff:") && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
      const version = plain.includes("%") ? 0 : isIP(plain);
      return version !== 0 && list.check(plain, version === 4 ? "ipv4" : "ipv6");
    },
  };
}

/** The network that stands for whoever is behind an address: /24 of IPv4, /48 of IPv6, since one customer's machine moves within that. */
export function networkOf(address: string): string {
  const plain = address.toLowerCase().startsWith("::ffff:") && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
  if (isIP(plain) === 4) return plain.split(".").slice(0, 3).join(".");
  if (isIP(plain) !== 6 || plain.includes("%")) return plain;
  const groups = new URL(`http://[${plain}]`).hostname.slice(1, -1).split("::");
  const head = (groups[0] ?? "").split(":").filter((group) => group !== "");
  return [...head, "0", "0", "0"].slice(0, 3).join(":");
}
