import { isIP } from "node:net";

import ipaddr from "ipaddr.js";

import { AppError } from "../lib/errors.ts";

/** Addresses from which a key may be used; made once by `parseIpList`. */
export type IpList = readonly IpRange[];

type IpAddress = ipaddr.IPv4 | ipaddr.IPv6;
type IpRange = { address: IpAddress; prefixBits: number };

/** Longest allow-list of a key. */
const entriesMax = 100;
const ipv4Bits = 32;
const ipv6Bits = 128;
/** An IPv4-mapped IPv6 address carries the IPv4 address in its last 32 bits. */
const mappedPrefixBits = ipv6Bits - ipv4Bits;

/**
 * Parses addresses and CIDR ranges (`203.0.113.7`, `10.0.0.0/8`, `2001:db8::/32`); an IPv4-mapped
 * form counts as the IPv4 address in it. Throws `AppError` with param `ips`.
 */
export function parseIpList(texts: readonly string[]): IpList {
  if (texts.length === 0 || texts.length > entriesMax) {
    throw new AppError(
      "invalid_parameter",
      `ips has ${texts.length} entries; allowed are 1 to ${entriesMax}, or no list at all`,
      { param: "ips" },
    );
  }
  return texts.map(parseRange);
}

/** True when the peer's address, as the socket gives it, is on the list. */
export function isOnIpList(list: IpList, ip: string): boolean {
  const address = findAddress(ip);
  return (
    address !== null &&
    list.some(
      (range) =>
        range.address.kind() === address.kind() && address.match(range.address, range.prefixBits),
    )
  );
}

function parseRange(text: string): IpRange {
  const [host = "", prefix, ...rest] = text.trim().split("/");
  const address = findAddress(host);
  if (address === null || rest.length > 0) throw badEntry(text);
  const familyBits = address.kind() === "ipv4" ? ipv4Bits : ipv6Bits;
  if (prefix === undefined) return { address, prefixBits: familyBits };
  const hiddenBits = isIP(host) === 6 && familyBits === ipv4Bits ? mappedPrefixBits : 0;
  const prefixBits = /^\d{1,3}$/.test(prefix) ? Number(prefix) - hiddenBits : -1;
  if (prefixBits < 0 || prefixBits > familyBits) throw badEntry(text);
  return { address, prefixBits };
}

/**
 * Null for every spelling that ipaddr.js reads more kindly than a socket would write it: `010.0.0.1` as
 * octal, `10.1` as `10.0.0.1`, and the IPv4-compatible `::10.0.0.1` as the IPv4 address.
 */
function findAddress(text: string): IpAddress | null {
  const [withoutZone = ""] = text.split("%");
  const isIpv4Compatible = withoutZone.startsWith("::") && isIP(withoutZone.slice(2)) === 4;
  if (isIP(withoutZone) === 0 || isIpv4Compatible) return null;
  return ipaddr.process(withoutZone);
}

function badEntry(text: string): AppError {
  return new AppError(
    "invalid_parameter",
    `ips entry ${JSON.stringify(text.slice(0, 80))} is neither an address nor a range; ` +
      "use forms like 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32",
    { param: "ips" },
  );
}
