/**
 * Where a URL leads, judged before any packet leaves. WHATWG `URL` is the only parser: it turns
 * decimal, octal, hexadecimal, short and full-width hosts into one form, and the request is sent from
 * the very object that was judged. What the name resolves to is judged again at the connection.
 */
import { isIP } from "node:net";
import type { AddressPolicy } from "./address.ts";
import { EgressError } from "./egress-error.ts";

export type Destination = {
  url: URL;
  /** Lower case, without brackets. */
  hostname: string;
  port: number;
};

/** Longest URL taken where the caller of the guard says nothing else, in characters. */
export const urlLengthMaxDefault = 8_192;

const webPorts: readonly number[] = [80, 443];

/** Names that public DNS does not have; where they resolve at all, they mean something inside. */
const localSuffixes = [
  "localhost",
  "local",
  "localdomain",
  "internal",
  "home.arpa",
  "intranet",
  "private",
  "corp",
  "home",
  "lan",
];

/**
 * Reads an absolute http or https URL. Throws an `EgressError` (`blocked`) whose message is fit for
 * the caller and continues a sentence that begins with the name of the field.
 */
export function parseDestination(text: string, lengthMax = urlLengthMaxDefault): Destination {
  if (text.length > lengthMax) refuse(`is longer than ${lengthMax} characters`);
  const url = URL.parse(text);
  if (url === null) return refuse("is not a valid URL; use an absolute http or https URL");
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    refuse("is neither an http nor an https URL; use one of these");
  }
  if (url.username !== "" || url.password !== "") {
    refuse("carries a user name or a password; leave them out");
  }
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (!isHostname(hostname)) refuse("has an invalid host name");
  return { url, hostname, port: findPort(url.protocol, url.port) };
}

/** Throws like `parseDestination` for what can be refused without asking the network. */
export function checkDestination(destination: Destination, policy: AddressPolicy): void {
  const { hostname, port } = destination;
  if (isIP(hostname) !== 0) {
    const verdict = policy.judge(hostname);
    if (verdict === "trusted") return;
    if (verdict === "forbidden") refuse("names an address that is not on the public internet");
    if (!webPorts.includes(port)) refuse(`names port ${port}; use 80 or 443`);
    return;
  }
  if (policy.trustsAny) return;
  if (isLocalName(hostname)) refuse("names a local host; use a public host name");
  if (!webPorts.includes(port)) refuse(`names port ${port}; use 80 or 443`);
}

/** Whether a connection to `hostname` and `port` may go to `address`, one of the answers for the name. */
export function mayConnect(
  policy: AddressPolicy,
  { hostname, port }: { hostname: string; port: number },
  address: string,
): boolean {
  const verdict = policy.judge(address);
  return verdict === "trusted" || (verdict === "public" && !needsTrust(hostname, port));
}

/** Whether nobody on the way can read or change what is said: by https, or inside what the operator trusts. */
export function isSecure({ url, hostname }: Destination, policy: AddressPolicy): boolean {
  if (url.protocol === "https:") return true;
  return isIP(hostname) === 0 ? policy.trustsAny : policy.judge(hostname) === "trusted";
}

/** Local names and unusual ports are for destinations that the operator trusts. */
export function needsTrust(hostname: string, port: number): boolean {
  return !webPorts.includes(port) || (isIP(hostname) === 0 && isLocalName(hostname));
}

/** The port that a connection uses when the URL leaves it out. */
export function findPort(protocol: string, port: string): number {
  if (port !== "") return Number(port);
  return protocol === "https:" ? 443 : 80;
}

/** Whether `hostname` is one of `hosts`: exact names, or `*.example.com` for everything below it. */
export function isListedHost(hostname: string, hosts: readonly string[]): boolean {
  const name = withoutRootDot(hostname);
  return hosts.some((host) =>
    host.startsWith("*.")
      ? name.endsWith(host.slice(1).toLowerCase())
      : name === host.toLowerCase(),
  );
}

function isHostname(hostname: string): boolean {
  if (isIP(hostname) !== 0) return true;
  const labels = withoutRootDot(hostname).split(".");
  return hostname.length <= 254 && labels.every((label) => label !== "" && label.length <= 63);
}

function isLocalName(hostname: string): boolean {
  const name = withoutRootDot(hostname);
  return !name.includes(".") || localSuffixes.some((suffix) => name.endsWith(`.${suffix}`));
}

function withoutRootDot(hostname: string): string {
  return hostname.endsWith(".") ? hostname.slice(0, -1) : hostname;
}

function refuse(message: string): never {
  throw new EgressError("blocked", message);
}
