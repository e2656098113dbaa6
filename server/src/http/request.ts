import type { FastifyRequest } from "fastify";

import type { Caller } from "../accounts/caller.ts";
import { must } from "../lib/errors.ts";
import type { ResponseContract } from "./headers.ts";

declare module "fastify" {
  interface FastifyRequest {
    contract: ResponseContract;
    /** Null on routes that need no key. */
    caller: Caller | null;
    /** Gives back the body's share of memory before the reply; null without a body. */
    releaseBody: (() => void) | null;
    /** Its route has begun with it: from then on something may have been run. */
    isInHand: boolean;
  }
}

/** The caller that the route's `onRequest` hook found. */
export function callerOf(request: FastifyRequest): Caller {
  return must(request.caller, "the caller of an authenticated route");
}

/** Forgets the body, for a request that goes on waiting: minutes of megabytes would add up. */
export function dropBody(request: FastifyRequest): void {
  request.body = undefined;
  request.releaseBody?.();
}

/** The path as the client wrote it, without its query. */
export function pathOf(request: FastifyRequest): string {
  const url = request.raw.url ?? "/";
  const end = url.indexOf("?");
  return end === -1 ? url : url.slice(0, end);
}
