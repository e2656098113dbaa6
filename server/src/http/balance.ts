import type { FastifyInstance, FastifyRequest } from "fastify";

import type { BalanceReply } from "../../../client/src/balance.ts";
import type { Balance, Balances } from "../billing/balance.ts";
import { toCredits, toUsd } from "../lib/money.ts";
import type { Auth } from "./auth.ts";
import { callerOf } from "./request.ts";

export type BalanceDeps = { auth: Auth; balances: Balances };

export function registerBalance(app: FastifyInstance, deps: BalanceDeps): void {
  const onRequest = [deps.auth.identify, deps.auth.limit];
  for (const path of ["/v1/balance", "/balance"]) {
    app.get(path, { onRequest }, (request) => showKeyBalance(deps, request));
  }
  for (const path of ["/v1/user/balance", "/user/balance"]) {
    app.get(path, { onRequest }, (request) => showAccountBalance(deps, request));
  }
}

async function showKeyBalance(deps: BalanceDeps, request: FastifyRequest): Promise<BalanceReply> {
  return presentBalance(await deps.balances.readKeyBalance(callerOf(request)));
}

async function showAccountBalance(
  deps: BalanceDeps,
  request: FastifyRequest,
): Promise<BalanceReply> {
  return presentBalance(await deps.balances.readAccountBalance(callerOf(request)));
}

function presentBalance({ remain, used }: Balance): BalanceReply {
  return {
    success: true,
    remain_balance: remain === null ? -1 : toUsd(remain),
    remain_credits: remain === null ? -1 : toCredits(remain),
    used_balance: toUsd(used),
    used_credits: toCredits(used),
    unlimited_quota: remain === null,
  };
}
