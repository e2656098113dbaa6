import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { LRUCache } from "lru-cache";

import type { UsageFigures, UsageReply } from "../../../client/src/usage.ts";
import type { Caller } from "../accounts/caller.ts";
import type { RequestLimits } from "../accounts/limits.ts";
import type { UsageFigures as Figures, ReportUsage } from "../billing/usage-report.ts";
import { AppError } from "../lib/errors.ts";
import { toCredits, toUsd } from "../lib/money.ts";
import type { Clock } from "../lib/time.ts";
import { minuteMs, toUnixSeconds } from "../lib/time.ts";
import type { Auth } from "./auth.ts";
import { callerOf } from "./request.ts";
import { parseUsageQuery } from "./usage-query.ts";
import type { UsageQuestion } from "./usage-query.ts";

export type UsageDeps = {
  auth: Auth;
  requestLimits: RequestLimits;
  clock: Clock;
  reportUsage: ReportUsage;
  /** Zone of the dates where the caller names none. */
  timeZone: string;
};

/** A report reads many entries: its own bound comes beside the limits of the key. */
const reportsPerMinute = 60;
const cacheMs = minuteMs;
const cachedMax = 500;
const cacheHeader = "x-usage-cache";

type Kept = { body: Promise<UsageReply>; until: number };

export function registerUsage(app: FastifyInstance, deps: UsageDeps): void {
  const kept = new LRUCache<string, Kept>({ max: cachedMax });
  const onRequest = [deps.auth.identify, deps.auth.limit];
  for (const path of ["/v1/usage", "/usage"]) {
    app.get(path, { onRequest }, (request, reply) => showUsage(deps, kept, request, reply));
  }
}

async function showUsage(
  deps: UsageDeps,
  kept: LRUCache<string, Kept>,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<UsageReply> {
  const caller = callerOf(request);
  spendReport(deps, caller);
  const { clock, timeZone } = deps;
  const question = parseUsageQuery(request.query, { now: clock.now(), timeZone });
  const name = nameOf(caller, question);
  const known = kept.get(name);
  if (known !== undefined && clock.monotonic() < known.until) {
    reply.header(cacheHeader, "hit");
    return known.body;
  }
  reply.header(cacheHeader, "miss");
  const body = answer(deps, caller, question);
  kept.set(name, { body, until: clock.monotonic() + cacheMs });
  // A failure is not kept.
  body.catch(() => kept.delete(name));
  return body;
}

function spendReport({ requestLimits }: UsageDeps, { keyId }: Caller): void {
  const claim = { id: `usage ${keyId}`, requestsPerMinute: reportsPerMinute };
  const { refusedBy, retryAfterSeconds } = requestLimits.take([claim]);
  if (refusedBy === null) return;
  throw new AppError(
    "rate_limited",
    `a key may ask for ${reportsPerMinute} usage reports a minute; ` +
      `try again in ${retryAfterSeconds} s`,
    { retryAfterSeconds },
  );
}

/** A time that was not asked for is left out: it moves with every second. */
function nameOf({ accountId, mode, keyId }: Caller, question: UsageQuestion): string {
  const { asked, models, groupBy, timeZone, scope } = question;
  const who = scope === "key" ? keyId : `${accountId} ${mode}`;
  return JSON.stringify([who, scope, asked, models, groupBy, timeZone]);
}

async function answer(
  { reportUsage }: UsageDeps,
  { accountId, mode, keyId }: Caller,
  question: UsageQuestion,
): Promise<UsageReply> {
  const { start, end, models, groupBy, timeZone, scope } = question;
  const report = await reportUsage({
    accountId,
    mode,
    keyId: scope === "key" ? keyId : null,
    start,
    end,
    models: models === null ? null : new Set(models),
    groupBy: { model: groupBy.includes("model"), date: groupBy.includes("date") },
    timeZone,
  }).catch(failUnavailable);
  return {
    success: true,
    data: {
      start: toUnixSeconds(start),
      end: toUnixSeconds(end),
      tz: timeZone,
      scope,
      group_by: groupBy,
      total: presentFigures(report.total),
      items: report.groups.map(({ date, model, ...figures }) => ({
        ...(date === undefined ? {} : { date }),
        ...(model === undefined ? {} : { model }),
        ...presentFigures(figures),
      })),
    },
  };
}

/** Whoever bills by the report must not take a failure for a zero. */
function failUnavailable(error: unknown): never {
  if (error instanceof AppError && error.reason === "usage_unavailable") throw error;
  throw new AppError(
    "usage_unavailable",
    "the usage cannot be read at the moment; this is not a report of nothing",
    { cause: error },
  );
}

function presentFigures(figures: Figures): UsageFigures {
  return {
    amount_usd: toUsd(figures.amount),
    credits: toCredits(figures.amount),
    requests: figures.requests,
    prompt_tokens: figures.inputTokens,
    completion_tokens: figures.outputTokens,
  };
}
