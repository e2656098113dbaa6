/**
 * The HTTP server: limits, request ids, common headers and refusals; the routes are in the files
 * beside it. `app.ts` listens and closes. Nothing here reads a body before the key is known.
 */
import type { Socket } from "node:net";
import { STATUS_CODES } from "node:http";

import { fastify } from "fastify";
import type { FastifyInstance, FastifyReply, FastifyRequest, preHandlerHookHandler } from "fastify";

import { AppError } from "../lib/errors.ts";
import type { Ids } from "../lib/ids.ts";
import type { Log } from "../lib/log.ts";
import { secondMs } from "../lib/time.ts";
import { renderDialectProblem } from "./dialects/problems.ts";
import type { ByteBudget } from "./byte-budget.ts";
import { createByteBudget } from "./byte-budget.ts";
import { toAppError, toClientError } from "./framework-error.ts";
import {
  baseHeaders,
  contractOf,
  preflightHeaders,
  responseVersion,
  responseVersionHeader,
} from "./headers.ts";
import { createJsonBodyParser } from "./json-body.ts";
import type { ProblemReply } from "./problem.ts";
import { renderProblem } from "./problem.ts";
import { nameForRetry } from "../tasks/retry.ts";
import { pathOf } from "./request.ts";
import type { RouteTable } from "./route-table.ts";
import { createRouteTable } from "./route-table.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** What a route takes as its body, in words for a 415; JSON unless it says otherwise. */
    mediaType?: string;
  }
}

export type ServerDeps = {
  ids: Ids;
  log: Log;
  /** Largest body of a request, in bytes; uploads have a limit of their own. */
  bodyBytesMax: number;
  /** CIDRs of the proxies whose `X-Forwarded-For` names the caller. */
  trustedProxies?: readonly string[];
  /** True from the moment the server has been told to stop: reads go on, nothing new is accepted. */
  isDraining: () => boolean;
  /** True from the moment a stop was asked for: requests are taken, their connections not kept. */
  isLeaving?: () => boolean;
};

const requestTimeoutMs = 60 * secondMs;
const headersTimeoutMs = 15 * secondMs;
/** Longer than the 60 s after which common load balancers drop an idle connection first. */
const keepAliveTimeoutMs = 65 * secondMs;
const requestsPerSocketMax = 10_000;
const connectionsMax = 8_192;
/** Longest part of a path: the signed part of a file's link has some eighty characters. */
const pathPartMax = 256;
/** Bodies in memory at once, at least four of the largest. */
const bodiesBytesMin = 268_435_456;

/** A server without routes. Register them on it before it listens. */
export function createServer(deps: ServerDeps): FastifyInstance {
  const { trustedProxies = [] } = deps;
  const app = fastify({
    logger: false,
    genReqId: () => deps.ids("request"),
    bodyLimit: deps.bodyBytesMax,
    trustProxy: trustedProxies.length > 0 ? [...trustedProxies] : false,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    maxRequestsPerSocket: requestsPerSocketMax,
    // Node's own refusal of a request without Host has no body; `openRequest` has one.
    http: { headersTimeout: headersTimeoutMs, requireHostHeader: false },
    routerOptions: { maxParamLength: pathPartMax },
    // While it closes, requests under way and on open connections are still answered by our rules.
    return503OnClosing: false,
    // Refusals of the router: they pass no hook.
    frameworkErrors: (error, request, reply) => {
      setBaseHeaders(request, reply);
      sendProblem(deps, error, request, reply);
    },
    clientErrorHandler: (error, socket) => refuseSocket(deps, error, socket),
  });
  app.server.maxConnections = connectionsMax;
  app.decorateRequest("contract", "default");
  app.decorateRequest("caller", null);
  app.decorateRequest("releaseBody", null);
  app.decorateRequest("isInHand", false);
  app.setErrorHandler((error, request, reply) => sendProblem(deps, error, request, reply));
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, createJsonBodyParser(app));

  const routes = createRouteTable();
  app.addHook("onRoute", (route) => {
    const methods = [route.method].flat();
    routes.add(route.url, methods);
    if (methods.includes("POST"))
      route.preHandler = [...[route.preHandler ?? []].flat(), takeInHand];
  });
  const bodies = createByteBudget(Math.max(bodiesBytesMin, 4 * deps.bodyBytesMax));
  app.addHook("onRequest", (request, reply, done) => {
    openRequest(deps, request, reply);
    if (request.is404) answerUnrouted(routes, request, reply);
    else done();
  });
  app.addHook("preParsing", (request, reply, _payload, done) => {
    reserveBody(deps, bodies, request, reply);
    done(null);
  });
  if (deps.log.isLevelEnabled("debug")) app.addHook("onResponse", accessLog(deps.log));
  return app;
}

function openRequest(deps: ServerDeps, request: FastifyRequest, reply: FastifyReply): void {
  setBaseHeaders(request, reply);
  if (request.headers.host === undefined && request.raw.httpVersionMinor >= 1) {
    throw new AppError("invalid_header", "header Host is missing", { param: "Host" });
  }
  if (deps.isLeaving?.() === true) reply.header("connection", "close");
  if (!deps.isDraining()) return;
  reply.header("connection", "close");
  if (request.method !== "POST") return;
  throw new AppError(
    "unavailable",
    "the server is shutting down; nothing was run, send the request again",
  );
}

/** Runs for requests that no route took, before a body of theirs is read. */
function answerUnrouted(routes: RouteTable, request: FastifyRequest, reply: FastifyReply): void {
  const path = pathOf(request);
  const methods = routes.methodsOf(path);
  if (methods.length > 0) reply.headers(preflightHeaders(path, methods));
  if (methods.length > 0 && request.method === "OPTIONS") {
    void reply.code(204).send();
    return;
  }
  const shown = `${request.method} ${path.slice(0, 200)}`;
  throw methods.length > 0
    ? new AppError("method_not_allowed", `${shown} is not served; use ${methods.join(" or ")}`)
    : new AppError(
        "route_not_found",
        `${shown} is not served; the API's routes begin with /v1/, and /docs explains them`,
      );
}

function reserveBody(
  deps: ServerDeps,
  bodies: ByteBudget,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  const declared = request.headers["content-length"];
  const chunked = request.headers["transfer-encoding"] !== undefined;
  if (declared === undefined && !chunked) return;
  const bytes = chunked ? deps.bodyBytesMax : Math.min(Number(declared), deps.bodyBytesMax);
  const release = bodies.take(bytes);
  if (release === null) return;
  request.releaseBody = release;
  // `close` comes after the reply, and also when the caller leaves before it.
  reply.raw.once("close", release);
}

function setBaseHeaders(request: FastifyRequest, reply: FastifyReply): void {
  reply.headers(baseHeaders(request.raw.url ?? "/", request.headers.origin));
  reply.header("x-request-id", request.id);
  request.contract = contractOf(request.headers);
  if (request.contract === "versioned") reply.header(responseVersionHeader, responseVersion);
}

function sendProblem(
  deps: ServerDeps,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  const { bodyLimit, config } = request.routeOptions;
  const refusal = toAppError(error, {
    bodyBytesMax: bodyLimit ?? deps.bodyBytesMax,
    mediaType: config?.mediaType ?? "application/json",
    contentType: request.headers["content-type"],
  });
  // What a route itself refuses may have run something; it says so where it is certain that nothing was.
  const problem = request.isInHand ? refusal : nameForRetry(refusal, { isKeyed: isKeyed(request) });
  logProblem(deps.log, problem, request.id);
  const rendered = renderProblem(problem, request.id, request.contract);
  // Fastify closes the connection after a body error. A client that is still sending would then see a
  // reset instead of the reply; the rest of its body is read and dropped within the request timeout.
  if (problem.reason === "body_too_large") reply.removeHeader("connection");
  const dialect = renderDialectProblem(pathOf(request), problem);
  void reply
    .code(rendered.status)
    .headers({ ...rendered.headers, ...dialect?.headers })
    .send(dialect?.body ?? rendered.body);
}

/** Only what is posted is ever repeated with a key: the other routes are spared the hook. */
const takeInHand: preHandlerHookHandler = (request, _reply, done) => {
  request.isInHand = true;
  done();
};

function isKeyed({ method, headers }: FastifyRequest): boolean {
  return method === "POST" && headers["idempotency-key"] !== undefined;
}

/** The caller gets a reason; whatever only the operator may know goes here. */
function logProblem(log: Log, problem: AppError, requestId: string): void {
  const { reason, detail, cause } = problem;
  if (reason === "internal_error") {
    log.error({ requestId, err: cause ?? problem, detail }, "request failed");
  } else if (detail !== undefined || cause !== undefined) {
    log.warn({ requestId, reason, err: cause, detail }, "request refused");
  }
}

function accessLog(log: Log) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    log.debug(
      {
        requestId: request.id,
        method: request.method,
        // The pattern: the path of a file's link is a secret of its holder.
        route: request.routeOptions.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
        keyId: request.caller?.keyId,
      },
      "request",
    );
  };
}

/**
 * Answers what is not HTTP, or did not arrive in time, on the bare socket. A connection that has had a
 * reply is only closed: the words could end up inside a picture that is still being sent.
 */
function refuseSocket(deps: ServerDeps, error: unknown, socket: Socket): void {
  if (!socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const requestId = deps.ids("request");
  socket.write(formatReply(renderProblem(toClientError(error), requestId, "default"), requestId));
  // Closed in both directions once the words are out: a peer that never reads must not keep its place.
  socket.destroySoon();
}

function formatReply(problem: ProblemReply, requestId: string): string {
  const headers = {
    ...problem.headers,
    "content-length": String(Buffer.byteLength(problem.body)),
    "x-request-id": requestId,
    connection: "close",
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const status = `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ""}`;
  return [status, ...lines, "", problem.body].join("\r\n");
}
