import type { FastifyInstance, FastifyRequest } from "fastify";

import type { EstimateReply } from "../../../client/src/pricing.ts";
import type { Caller } from "../accounts/caller.ts";
import type { JsonObject } from "../lib/json.ts";
import type { Micros } from "../lib/money.ts";
import { toUsd } from "../lib/money.ts";
import type { Warning } from "../models/model.ts";
import type { Auth } from "./auth.ts";
import { parseBody } from "./json-body.ts";
import { callerOf } from "./request.ts";

export type EstimateDeps = {
  auth: Auth;
  /** Throws what a submit of the same body would be refused with. */
  estimateTask: (input: { caller: Caller; body: JsonObject }) => Promise<{
    model: string;
    hold: Micros;
    likely: Micros;
    warnings: readonly Warning[];
  }>;
};

export function registerEstimate(app: FastifyInstance, deps: EstimateDeps): void {
  const onRequest = [deps.auth.identify, deps.auth.limit];
  app.post("/v1/images/estimate", { onRequest }, (request) => estimate(deps, request));
}

async function estimate(deps: EstimateDeps, request: FastifyRequest): Promise<EstimateReply> {
  const body = parseBody(request);
  const estimated = await deps.estimateTask({ caller: callerOf(request), body });
  return {
    code: 200,
    data: {
      model: estimated.model,
      currency: "USD",
      hold: toUsd(estimated.hold),
      likely: toUsd(estimated.likely),
      warnings: estimated.warnings,
    },
  };
}
