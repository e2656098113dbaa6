/**
 * Which IP addresses the house may connect to. Two independent judgements exist on purpose:
 * `judge` asks ipaddr.js, and the block lists carry our own table to the socket layer, so that one
 * wrong entry opens nothing. Only the canonical text form of an address is understood; everything
 * else is forbidden.
 */
import { BlockList, isIP } from "node:net";
import ipaddr from "ipaddr.js";

/**
 * `trusted`: the operator named it, on any port. `public`: a global unicast address of the internet.
 * `forbidden`: everything else, among it all IPv6 forms that carry an IPv4 address inside.
 */
export type AddressVerdict = "trusted" | "public" | "forbidden";

export type AddressPolicy = {
  /** Judges one address in text form, as a resolver answers or a URL spells it (without brackets). */
  judge(address: string): AddressVerdict;
  /** True when the operator trusts at least one range. */
  readonly trustsAny: boolean;
  /** Blocks what is forbidden. */
  readonly publicBlockList: BlockList;
  /** Blocks what is not trusted. */
  readonly trustedBlockList: BlockList;
};

type Family = "ipv4" | "ipv6";

/** An inclusive range of addresses of one family, as numbers. */
type AddressRange = { family: Family; first: bigint; last: bigint };

const familyBits = { ipv4: 32, ipv6: 128 } as const;

/** Azure's virtual host (DNS, metadata, health): globally routable by its number, private by its use. */
const azureHostAddress = "168.63.129.16";

/** Globally reachable IPv6 unicast is assigned out of this block only (IANA, RFC 4291). */
const globalUnicast: AddressRange = {
  family: "ipv6",
  first: 0x2000n << 112n,
  last: (0x4000n << 112n) - 1n,
};

/** From the IANA special-purpose registries; ranges that a stranger's URL must not reach. */
const forbiddenCidrs = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  `${azureHostAddress}/32`,
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.31.196.0/24",
  "192.52.193.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "192.175.48.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
  "::/3",
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "2620:4f:8000::/48",
  "3fff::/20",
  "4000::/2",
  "8000::/1",
];

const everyCidr = ["0.0.0.0/0", "::/0"];

/**
 * `::ffff:0:0/96`. A block list judges these by the IPv4 address inside them, and a rule for them
 * would block every IPv4 address.
 */
const mappedRange: AddressRange = {
  family: "ipv6",
  first: 0xffffn << 32n,
  last: (0x10000n << 32n) - 1n,
};

/**
 * Reads a list of CIDRs and single addresses, separated by commas or spaces. Throws an `Error` that
 * names the first bad entry. An empty text is an empty list.
 */
export function parseCidrs(text: string): string[] {
  const entries = text.split(/[\s,]+/).filter((entry) => entry !== "");
  for (const entry of entries) parseRange(entry);
  return entries;
}

/** Makes the policy of an operator who trusts the ranges in `allow`. Throws like `parseCidrs`. */
export function createAddressPolicy(allow: readonly string[]): AddressPolicy {
  const trusted = allow.map(parseRange);
  return {
    judge: (address) => judgeAddress(address, trusted),
    trustsAny: trusted.length > 0,
    publicBlockList: buildBlockList(forbiddenCidrs, trusted),
    trustedBlockList: buildBlockList(everyCidr, trusted),
  };
}

function judgeAddress(text: string, trusted: readonly AddressRange[]): AddressVerdict {
  const address = parseAddress(text);
  if (address === null) return "forbidden";
  const { family, first } = toRange(address, familyBits[address.kind()]);
  if (trusted.some((range) => range.family === family && contains(range, first))) return "trusted";
  if (address.range() !== "unicast") return "forbidden";
  // ipaddr.js also says "unicast" of IPv6 space that nobody has been given, such as ::7f00:1 and 4000::1.
  if (family === "ipv6" && !contains(globalUnicast, first)) return "forbidden";
  return address.toString() === azureHostAddress ? "forbidden" : "public";
}

/** Null for what is no address and for addresses with a zone, which only mean something on one link. */
function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  // ipaddr.js by itself also reads octal, hexadecimal and shortened IPv4.
  if (isIP(text) === 0 || text.includes("%")) return null;
  return ipaddr.process(text);
}

/** Throws an `Error` that names the entry. */
function parseRange(entry: string): AddressRange {
  const [text = "", prefix, ...rest] = entry.split("/");
  const address = parseAddress(text);
  const bits = address === null ? 0 : familyBits[address.kind()];
  const prefixBits = prefix === undefined ? bits : Number(prefix);
  const isPrefix = prefix === undefined || (/^\d{1,3}$/.test(prefix) && prefixBits <= bits);
  // `process` has turned an IPv4-mapped address into IPv4, so its prefix no longer counts from the left.
  const isMapped = address?.kind() === "ipv4" && text.includes(":");
  if (address === null || !isPrefix || rest.length > 0 || isMapped) {
    throw new Error(
      `"${entry}" is not a range of addresses; write it like 10.0.0.0/8, 192.168.1.7 or fd00::/8`,
    );
  }
  return toRange(address, prefixBits);
}

function toRange(address: ipaddr.IPv4 | ipaddr.IPv6, prefixBits: number): AddressRange {
  const family = address.kind();
  const value = address.toByteArray().reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const freeBits = BigInt(familyBits[family] - prefixBits);
  const first = (value >> freeBits) << freeBits;
  return { family, first, last: first + (1n << freeBits) - 1n };
}

function contains(range: AddressRange, value: bigint): boolean {
  return range.first <= value && value <= range.last;
}

function buildBlockList(cidrs: readonly string[], trusted: readonly AddressRange[]): BlockList {
  const spared = [...trusted, mappedRange];
  const list = new BlockList();
  for (const range of cidrs.map(parseRange).flatMap((each) => subtractAll(each, spared))) {
    list.addRange(
      formatAddress(range, range.first),
      formatAddress(range, range.last),
      range.family,
    );
  }
  return list;
}

/** What is left of `range`: a block list knows no exceptions, so trusted ranges are cut out of it. */
function subtractAll(range: AddressRange, spared: readonly AddressRange[]): AddressRange[] {
  let left = [range];
  for (const hole of spared) left = left.flatMap((each) => subtract(each, hole));
  return left;
}

function subtract(range: AddressRange, hole: AddressRange): AddressRange[] {
  const isApart = hole.last < range.first || range.last < hole.first;
  if (hole.family !== range.family || isApart) return [range];
  const parts: AddressRange[] = [];
  if (range.first < hole.first) parts.push({ ...range, last: hole.first - 1n });
  if (hole.last < range.last) parts.push({ ...range, first: hole.last + 1n });
  return parts;
}

function formatAddress({ family }: AddressRange, value: bigint): string {
  const bytes = Array.from({ length: familyBits[family] / 8 }, (_, index) =>
    Number((value >> BigInt(familyBits[family] - 8 * (index + 1))) & 255n),
  );
  return ipaddr.fromByteArray(bytes).toString();
}
