/**
 * The only way out of the house: references, webhooks, calls to vendors and what vendors link to all
 * leave through here, because every one of these addresses can be chosen or moved by somebody else.
 *
 * What must stay true: an address is judged where the socket is opened (`createConnector`), and the
 * answers that were judged are the ones connected to, so a name that changes its mind gains nothing.
 * Each redirect starts from the beginning. No proxy of the environment, no other HTTP client and no
 * other agent may be used: the global `fetch` would silently leave the guard out.
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { BlockList, LookupFunction } from "node:net";
import { callbackify } from "node:util";
import type * as undiciModule from "undici";
import type { Agent, buildConnector, Dispatcher } from "undici";
import { assert } from "./errors.ts";
import { createAddressPolicy } from "./address.ts";
import type { AddressPolicy } from "./address.ts";
import { closeQuietly, createReplyBody } from "./egress-body.ts";
import type { ReplyBody } from "./egress-body.ts";
import { EgressError } from "./egress-error.ts";
import { createExchange } from "./egress-exchange.ts";
import type { Exchange } from "./egress-exchange.ts";
import { buildHeaders, countHeaderBytes, findLocation, followRedirect } from "./egress-headers.ts";
import type { Headers, Hop } from "./egress-headers.ts";
import {
  checkDestination,
  findPort,
  isListedHost,
  isSecure,
  mayConnect,
  needsTrust,
  parseDestination,
} from "./egress-url.ts";
import { secondMs } from "./time.ts";
import type { Clock } from "./time.ts";

export { EgressError } from "./egress-error.ts";

/** Every address of a name, in text form; rejects when there is none. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

export type EgressOptions = {
  /** Ranges the operator trusts, as `parseCidrs` gives them: any port, any name that resolves into them. */
  allow: readonly string[];
  resolve: Resolve;
  clock: Clock;
  /** From the request to a usable connection, name and TLS included. Default 5 s. */
  connectTimeoutMs?: number;
  /** Connections to one origin at the same time; more requests wait. Default 256. */
  connectionsMax?: number;
};

export type EgressRequest = {
  /** Default `GET`. */
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  headers?: Headers;
  body?: string | Uint8Array;
  /** Longest reply body. */
  bytesMax: number;
  /** The whole exchange: connecting, redirects and reading the body. */
  timeoutMs: number;
  /** From the first byte sent to the last header received, so it covers the upload too. Default 10 s. */
  headersTimeoutMs?: number;
  /** Between two pieces of the body. Default 10 s. */
  gapTimeoutMs?: number;
  /** Default 8 KB; at most 64 KB. */
  headerBytesMax?: number;
  /** In characters; also for redirects. Default 8,192. */
  urlLengthMax?: number;
  /** Redirects to follow, for `GET` only. With 0, the default, a redirect is a reply like any other. */
  redirectsMax?: number;
  /** Hosts that may be asked, redirects included; `*.example.com` means everything below it. */
  hosts?: readonly string[];
  /** Refuses plain http, redirects included, but to what the operator trusts. */
  secure?: boolean;
  /**
   * Lets the request use, and leave behind, an idle connection. Off by default: a peer may be closing
   * an idle connection just then, and the request would count as sent although nobody read it.
   */
  keepAlive?: boolean;
  signal?: AbortSignal | undefined;
};

/** A reply whose body is still on the wire: read it, or discard it. */
export type EgressReply = ReplyBody & {
  status: number;
  /** By lower-case name; a repeated header is joined by commas. */
  headers: Headers;
  /** Where the reply came from, after redirects. */
  url: string;
};

export type Egress = {
  /** Sends a request, and resolves when the headers of the reply are there. Throws `EgressError`. */
  request(url: string, request: EgressRequest): Promise<EgressReply>;
  /**
   * Refuses what needs no network to be refused: form, scheme, literal addresses, local names, ports.
   * Throws an `EgressError` whose message is fit for the caller and goes on after the field's name:
   * `webhook` + `names port 8080; use 80 or 443`.
   */
  checkUrl(url: string, options?: { lengthMax?: number }): void;
  /** Ends every exchange under way and closes all connections. */
  close(): Promise<void>;
};

/** Parser's bound; the bound of a request is checked after it. */
const headerBytesCeiling = 65_536;

/** Undici's own connect timer runs on the real clock; it cleans up after the injected one has decided. */
const connectGraceMs = secondMs;

type Undici = typeof undiciModule;
type Agents = { fresh: Agent; pooled: Agent; send: Undici["request"] };

type Outbound = {
  policy: AddressPolicy;
  loadAgents: () => Promise<Agents>;
  clock: Clock;
  connectTimeoutMs: number;
};

/** Asks the operating system, as every other program does: hosts file, search list, IPv4 and IPv6. */
export async function systemResolver(hostname: string): Promise<readonly string[]> {
  const answers = await lookup(hostname, { all: true });
  return answers.map(({ address }) => address);
}

/** Throws an `Error` that names a bad entry of `allow`. */
export function createEgress(options: EgressOptions): Egress {
  const connectTimeoutMs = options.connectTimeoutMs ?? 5 * secondMs;
  const policy = createAddressPolicy(options.allow);
  const timeoutMs = connectTimeoutMs + connectGraceMs;
  let agents: Promise<Agents> | null = null;
  // With the first request only: a gateway that fetches nothing does without the 30 MB of undici.
  const loadAgents = (): Promise<Agents> =>
    (agents ??= createAgents(
      { policy, resolve: options.resolve, timeoutMs },
      options.connectionsMax ?? 256,
    ));
  const outbound: Outbound = { policy, loadAgents, clock: options.clock, connectTimeoutMs };
  return {
    request: (url, request) => exchangeWith(outbound, url, request),
    checkUrl: (url, { lengthMax } = {}) =>
      checkDestination(parseDestination(url, lengthMax), policy),
    close: async () => {
      const loaded = await agents;
      await Promise.all([loaded?.fresh.destroy(), loaded?.pooled.destroy()]);
    },
  };
}

async function createAgents(options: ConnectorOptions, connections: number): Promise<Agents> {
  const undici = await import("undici");
  const shared = {
    connect: createConnector(undici, options),
    connections,
    allowH2: false,
    maxHeaderSize: headerBytesCeiling,
    // The time limits are the exchange's, on the injected clock.
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  return {
    // To undici, no pipelining at all means one request a connection.
    fresh: new undici.Agent({ ...shared, pipelining: 0 }),
    pooled: new undici.Agent({ ...shared, pipelining: 1, keepAliveMaxTimeout: 30 * secondMs }),
    send: undici.request,
  };
}

async function exchangeWith(
  outbound: Outbound,
  url: string,
  request: EgressRequest,
): Promise<EgressReply> {
  const { redirectsMax = 0 } = request;
  assert(redirectsMax === 0 || (request.method ?? "GET") === "GET", "only a GET is redirected");
  const headers = buildHeaders(request.headers);
  const exchange = createExchange({
    clock: outbound.clock,
    timeoutMs: request.timeoutMs,
    signal: request.signal,
  });
  try {
    let hop: Hop = { url: admit(outbound, url, request), headers };
    for (let followed = 0; ; followed += 1) {
      const response = await sendHop(outbound, exchange, { hop, request });
      const location = redirectsMax === 0 ? null : findLocation(response.status, response.headers);
      if (location === null) return createReply(exchange, response, request);
      closeQuietly(response.source);
      if (followed === redirectsMax) {
        throw exchange.fail("redirect", `answered with more than ${redirectsMax} redirects`);
      }
      const next = followRedirect(hop, location);
      hop = { ...next, url: admit(outbound, next.url.href, request) };
    }
  } catch (error) {
    exchange.end();
    throw exchange.describe(error);
  }
}

/** The URL to ask, once it has passed every rule that needs no network. */
function admit(outbound: Outbound, text: string, request: EgressRequest): URL {
  const destination = parseDestination(text, request.urlLengthMax);
  checkDestination(destination, outbound.policy);
  if (request.hosts !== undefined && !isListedHost(destination.hostname, request.hosts)) {
    throw new EgressError("blocked", `${destination.hostname} is not one of the expected hosts`);
  }
  if (request.secure === true && !isSecure(destination, outbound.policy)) {
    throw new EgressError("blocked", `${destination.hostname} is asked by http; use https`);
  }
  return destination.url;
}

type Response = {
  status: number;
  headers: Headers;
  url: string;
  source: Dispatcher.ResponseData["body"];
};

async function sendHop(
  outbound: Outbound,
  exchange: Exchange,
  { hop, request }: { hop: Hop; request: EgressRequest },
): Promise<Response> {
  const { headersTimeoutMs = 10 * secondMs, headerBytesMax = 8_192 } = request;
  const { fresh, pooled, send } = await outbound.loadAgents();
  const agent = request.keepAlive === true ? pooled : fresh;
  // Undici opens a connection for a request that is already called off.
  exchange.signal.throwIfAborted();
  exchange.enter(outbound.connectTimeoutMs, "no connection");
  const response = await orAborted(
    exchange.signal,
    send(hop.url, {
      dispatcher: agent.compose(
        noteStart(() => {
          exchange.markSent();
          exchange.enter(headersTimeoutMs, "no headers");
        }),
      ),
      method: request.method ?? "GET",
      headers: hop.headers,
      body: request.body ?? null,
      signal: exchange.signal,
    }),
  );
  exchange.leave();
  const headers = joinHeaders(response.headers);
  if (countHeaderBytes(headers) > headerBytesMax) {
    closeQuietly(response.body);
    throw exchange.fail("too_large", `the headers are longer than ${headerBytesMax} bytes`);
  }
  return { status: response.statusCode, headers, url: hop.url.href, source: response.body };
}

/** Undici only notices an abort once it has a connection; the caller need not wait for that. */
async function orAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = new Promise<never>((_resolve, reject) => {
    const giveUp = (): void => reject(signal.reason as EgressError); // set by the exchange alone
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
  });
  return Promise.race([work, aborted]);
}

/** Calls `onStart` when a connection is ready and the next thing written to it is the request. */
function noteStart(onStart: () => void): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    const start = handler.onRequestStart?.bind(handler);
    handler.onRequestStart = (controller, context) => {
      start?.(controller, context);
      if (!controller.aborted) onStart();
    };
    return dispatch(options, handler);
  };
}

function createReply(
  exchange: Exchange,
  { status, headers, url, source }: Response,
  { bytesMax, gapTimeoutMs = 10 * secondMs }: EgressRequest,
): EgressReply {
  const body = createReplyBody({ exchange, source, headers, bytesMax, gapTimeoutMs });
  return { status, headers, url, ...body };
}

function joinHeaders(headers: Dispatcher.ResponseData["headers"]): Headers {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, [value ?? ""].flat().join(", ")]),
  );
}

export type ConnectorOptions = { policy: AddressPolicy; resolve: Resolve; timeoutMs: number };

/**
 * Opens connections for undici. A literal address never reaches a `lookup` function, so it is judged
 * here; the answers for a name are judged, all of them, in the lookup; the block list looks at
 * each address once more inside Node. TLS is put on top of an open connection because `tls.connect`
 * ignores `blockList` (Node 24.21).
 */
export function createConnector(
  undici: Pick<Undici, "buildConnector">,
  options: ConnectorOptions,
): buildConnector.connector {
  const { policy, timeoutMs } = options;
  const openPublic = createOpener(undici, options, policy.publicBlockList);
  const openTrusted = createOpener(undici, options, policy.trustedBlockList);
  const secure = undici.buildConnector({
    allowH2: false,
    rejectUnauthorized: true,
    timeout: timeoutMs,
  });
  return (target, callback) => {
    const { hostname, protocol } = target;
    const port = findPort(protocol, target.port);
    if (isIP(hostname) !== 0 && !mayConnect(policy, { hostname, port }, hostname)) {
      callback(refuseAddress(hostname, hostname), null);
      return;
    }
    const open = needsTrust(hostname, port) ? openTrusted : openPublic;
    open({ hostname, port }, (error, socket) => {
      if (error !== null) callback(error, null);
      else if (protocol === "https:") secure({ ...target, httpSocket: socket }, callback);
      else callback(null, socket);
    });
  };
}

type Opener = (
  target: { hostname: string; port: number },
  callback: buildConnector.Callback,
) => void;

function createOpener(
  undici: Pick<Undici, "buildConnector">,
  options: ConnectorOptions,
  blockList: BlockList,
): Opener {
  return ({ hostname, port }, callback) => {
    const open = undici.buildConnector({
      lookup: createLookup(options, port),
      blockList,
      port,
      // Makes Node ask for all answers, and try the next one when a connection fails.
      autoSelectFamily: true,
      timeout: options.timeoutMs,
    });
    open({ hostname, protocol: "http:", port: String(port) }, callback);
  };
}

/** Hands over exactly the answers that were judged, or none: one bad answer spoils them all. */
function createLookup({ policy, resolve }: ConnectorOptions, port: number): LookupFunction {
  return callbackify(async (hostname: string, _options: object) => {
    const answers = await resolve(hostname);
    const bad = answers.find((address) => !mayConnect(policy, { hostname, port }, address));
    if (bad !== undefined) throw refuseAddress(hostname, bad);
    if (answers.length === 0) throw new Error(`${hostname} has no address`);
    return answers.map((address) => ({ address, family: isIP(address) }));
  });
}

function refuseAddress(hostname: string, address: string): EgressError {
  const where = hostname === address ? address : `${hostname} at ${address}`;
  return new EgressError("blocked", `${where} may not be connected to`);
}
