import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import type { AppErrorOptions } from "../lib/errors.ts";
import { AppError, reasons } from "../lib/errors.ts";
import { renderProblem, statusOf, typeOf } from "./problem.ts";

test("docs/errors.md prints every reason once, with its status and type, and no other", async () => {
  const docs = await readFile(new URL("../../../docs/errors.md", import.meta.url), "utf8");
  const printed = [...docs.matchAll(/^\| `(\w+)` +\| +(\d+) +\| `(\w+)` +\| \S.*\| \S.*\|$/gm)];
  assert.deepEqual(
    printed.map(([, reason, status, type]) => `${reason} ${status} ${type}`).toSorted(),
    reasons.map((reason) => `${reason} ${statusOf(reason)} ${typeOf(reason)}`).toSorted(),
  );
});

test("statuses have the types of the public contract", () => {
  const typesByStatus = new Map<number, Set<string>>();
  for (const reason of reasons) {
    const types = typesByStatus.get(statusOf(reason)) ?? new Set();
    typesByStatus.set(statusOf(reason), types.add(typeOf(reason)));
  }
  assert.deepEqual(
    Object.fromEntries([...typesByStatus].map(([status, types]) => [status, [...types].join()])),
    {
      400: "invalid_request_error",
      401: "authentication_error",
      402: "payment_required",
      403: "permission_error",
      404: "not_found",
      405: "invalid_request_error",
      408: "invalid_request_error",
      409: "conflict",
      410: "gone",
      413: "invalid_request_error",
      415: "invalid_request_error",
      429: "rate_limit_error",
      500: "server_error",
      503: "service_unavailable",
    },
  );
});

test("code is the HTTP status, and under the versioned contract the reason", () => {
  const error = new AppError("invalid_parameter", "n 9 is too many; use 1 to 4", { param: "n" });
  const plain = renderProblem(error, "req_1", "default");
  assert.equal(plain.status, 400);
  assert.deepEqual(JSON.parse(plain.body), {
    error: {
      code: 400,
      message: "n 9 is too many; use 1 to 4",
      type: "invalid_request_error",
      param: "n",
      reason: "invalid_parameter",
    },
    request_id: "req_1",
  });
  const versioned = renderProblem(error, "req_1", "versioned");
  assert.equal(versioned.status, 400);
  assert.equal(JSON.parse(versioned.body).error.code, "invalid_parameter");
  assert.equal(JSON.parse(versioned.body).error.reason, "invalid_parameter");
});

test("param is absent, not null, where nothing is at fault", () => {
  const { body } = renderProblem(new AppError("no_channel", "none"), "req_1", "default");
  assert.equal("param" in JSON.parse(body).error, false);
});

test("detail and cause of an error are never in its reply", () => {
  const error = new AppError("unavailable", "try later", {
    detail: "inner",
    cause: new Error("inner"),
  });
  assert.equal(JSON.stringify(renderProblem(error, "req_1", "default")).includes("inner"), false);
});

test("every 429 says when to come back, in whole seconds of at least one", () => {
  assert.equal(retryAfterOf({}), "1");
  assert.equal(retryAfterOf({ retryAfterSeconds: 0.2 }), "1");
  assert.equal(retryAfterOf({ retryAfterSeconds: 1.2 }), "2");
  assert.equal(retryAfterOf({ retryAfterSeconds: 60 }), "60");
});

function retryAfterOf(options: AppErrorOptions): string | undefined {
  const error = new AppError("rate_limited", "slow down", options);
  return renderProblem(error, "req_1", "default").headers["retry-after"];
}

test("refusals that no waiting mends carry no Retry-After", () => {
  const { headers } = renderProblem(new AppError("invalid_json", "no"), "req_1", "default");
  assert.equal(headers["retry-after"], undefined);
});
