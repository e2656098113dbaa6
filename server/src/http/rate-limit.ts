/**
 * Requests a minute: taken from the allowances of the key and of its account, and told in headers.
 * `RateLimit-Policy` and `RateLimit` are those of the IETF draft (draft-ietf-httpapi-ratelimit-headers):
 * `q` the limit, `w` its window in seconds, `qu` what is counted where that is not requests, `r` what is
 * left, `t` seconds until it is whole again. The `x-ratelimit-*` trio says the same of the allowance that
 * has least left, for clients that know only those.
 */
import type { FastifyReply } from "fastify";

import type { Caller } from "../accounts/caller.ts";
import type { RateClaim, RateState, RequestLimits } from "../accounts/limits.ts";
import { AppError, must } from "../lib/errors.ts";
import { minuteMs, secondMs } from "../lib/time.ts";

type Policy = RateClaim & {
  /** Its name in the headers. */
  name: string;
  /** Subject of the sentence that refuses. */
  whose: string;
};

const windowSeconds = minuteMs / secondMs;

/** Throws `rate_limited`. A caller without any limit costs nothing and is told nothing. */
export function spendRequest(limits: RequestLimits, caller: Caller, reply?: FastifyReply): void {
  const { requestsPerMinute, tasksInFlight, accountLimits } = caller;
  if (requestsPerMinute === null && tasksInFlight === null && accountLimits === null) return;
  const policies = policiesOf(caller);
  const described = describePolicies(caller, policies);
  if (described !== "") reply?.header("ratelimit-policy", described);
  if (policies.length === 0) return;
  const { refusedBy, retryAfterSeconds, states } = limits.take(policies);
  reply?.headers(stateHeaders(policies, states));
  if (refusedBy === null) return;
  const { whose, requestsPerMinute: limit } = must(policies[refusedBy], "the limit that refuses");
  throw new AppError(
    "rate_limited",
    `${whose} may make ${limit} requests a minute; try again in ${retryAfterSeconds} s`,
    { retryAfterSeconds },
  );
}

function policiesOf({ accountId, mode, keyId, ...caller }: Caller): Policy[] {
  const ofKey = caller.requestsPerMinute;
  const ofAccount = caller.accountLimits?.requestsPerMinute ?? null;
  const key = { id: keyId, name: "key-requests", whose: "this key" };
  const account = { id: `${accountId} ${mode}`, name: "account-requests", whose: "this account" };
  return [
    ...(ofKey === null ? [] : [{ ...key, requestsPerMinute: ofKey }]),
    ...(ofAccount === null ? [] : [{ ...account, requestsPerMinute: ofAccount }]),
  ];
}

function describePolicies(
  { tasksInFlight, accountLimits }: Caller,
  policies: readonly Policy[],
): string {
  const requests = policies.map(
    ({ name, requestsPerMinute }) => `"${name}";q=${requestsPerMinute};w=${windowSeconds}`,
  );
  return [
    ...requests,
    ...describeTasks("key-tasks", tasksInFlight),
    ...describeTasks("account-tasks", accountLimits?.tasksInFlight ?? null),
  ].join(", ");
}

function describeTasks(name: string, limit: number | null): string[] {
  return limit === null ? [] : [`"${name}";q=${limit};qu="concurrent-requests"`];
}

function stateHeaders(
  policies: readonly Policy[],
  states: readonly RateState[],
): Record<string, string> {
  const fields = policies.map(({ name }, i) => {
    const { remaining, wholeInSeconds } = must(states[i], "the state of a limit");
    return `"${name}";r=${remaining};t=${wholeInSeconds}`;
  });
  const least = must(
    states.toSorted((a, b) => a.remaining - b.remaining)[0],
    "the limit that has least left",
  );
  return {
    ratelimit: fields.join(", "),
    "x-ratelimit-limit": String(least.requestsPerMinute),
    "x-ratelimit-remaining": String(least.remaining),
    "x-ratelimit-reset": String(least.wholeInSeconds),
  };
}
