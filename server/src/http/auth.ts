import type { FastifyReply, FastifyRequest, onRequestHookHandler } from "fastify";

import type { Caller } from "../accounts/caller.ts";
import { isAllowedIp } from "../accounts/caller.ts";
import type { Keys } from "../accounts/keys.ts";
import type { RequestLimits } from "../accounts/limits.ts";
import { AppError } from "../lib/errors.ts";
import { whenThere } from "../lib/promised.ts";
import { assertKnownResponseVersion, assertSingleHeaders } from "./headers.ts";
import { spendRequest } from "./rate-limit.ts";
import { callerOf } from "./request.ts";

export type AuthDeps = {
  keys: Pick<Keys, "verify">;
  requestLimits: RequestLimits;
};

/** What happens before a body is read, as `onRequest` hooks of the routes that need a key. */
export type Auth = {
  /** Finds the caller and puts it on the request. Throws 401, 403, and 400 for unclear headers. */
  identify: onRequestHookHandler;
  /**
   * Spends one request of the key's and the account's allowance a minute, and tells what is left in
   * headers. Throws `rate_limited`. The submit spends it later, because a repeat of a known idempotency
   * key is never limited.
   */
  limit: onRequestHookHandler;
  /** The same as a function, for the submit; without a reply nothing is told in headers. */
  spend: (caller: Caller, reply?: FastifyReply) => void;
};

/** Longer than any key of ours: noise costs no look-up. */
const tokenPattern = /^Bearer +([!-~]{1,256})$/i;

const howToMakeKeys = 'keys are made on the server with "npx node server/src/main.ts keys create"';

export function createAuth(deps: AuthDeps): Auth {
  return {
    identify: (request, _reply, done) => {
      const identified = identify(deps, request);
      // Without a promise for a key that was seen a moment ago, which is nearly every one.
      if (identified === undefined) done();
      // oxlint-disable-next-line promise/no-callback-in-promise -- Fastify's hooks are told by a callback
      else identified.then(() => done(), done);
    },
    limit: (request, reply, done) => {
      spendRequest(deps.requestLimits, callerOf(request), reply);
      done();
    },
    spend: (caller, reply) => spendRequest(deps.requestLimits, caller, reply),
  };
}

function identify(deps: AuthDeps, request: FastifyRequest): void | Promise<void> {
  assertSingleHeaders(request.raw.rawHeaders);
  const caller = deps.keys.verify(parseToken(request.headers.authorization));
  return whenThere(caller, (found) => acceptCaller(request, found));
}

function acceptCaller(request: FastifyRequest, caller: Caller | null): void {
  // One text for all three: whoever guesses keys learns nothing from the answer.
  if (caller === null) throw unauthorized("the API key is unknown, revoked or expired");
  if (caller.ips !== null && !isAllowedIp(caller, request.ip)) {
    throw new AppError(
      "ip_not_allowed",
      `this key may not be used from ${request.ip}; its list of allowed addresses does not hold it`,
    );
  }
  assertKnownResponseVersion(request.headers);
  request.caller = caller;
}

function parseToken(header: string | undefined): string {
  if (header === undefined) {
    throw unauthorized('header Authorization is missing; send "Authorization: Bearer sk-…"');
  }
  const token = tokenPattern.exec(header)?.[1];
  if (token === undefined) {
    throw unauthorized('header Authorization is not of the form "Bearer sk-…"');
  }
  return token;
}

function unauthorized(what: string): AppError {
  return new AppError("invalid_api_key", `${what}; ${howToMakeKeys}`, { param: "Authorization" });
}
