import assert from "node:assert/strict";
import { test } from "node:test";

import { callAt, startMs } from "../../test/contracts/adapter-driver.ts";
import errors from "../../test/fixtures/gemini/errors.json" with { type: "json" };
import { ProviderError } from "./adapter.ts";
import type { FailureKind } from "./adapter.ts";
import { assertAnswered, failureOfWord, isRejected } from "./gemini-errors.ts";
import type { VendorReply, VendorRequest } from "./request.ts";

test("every error of the vendor has its kind, and says when to come back if the vendor does", () => {
  for (const { name, status, body, kind, retryAfterMs } of errors) {
    const failure = failureOf(replyOf(status, body));
    assert.deepEqual([failure.kind, failure.retryAfterMs], [kind, retryAfterMs], name);
    assert.match(failure.message, new RegExp(`HTTP ${status} `));
  }
});

test("a daily quota ends at the next midnight in California, in summer and in winter", () => {
  const details = [{ violations: [{ quotaId: "GenerateRequestsPerDayPerProject" }] }];
  const reply = replyOf(429, { error: { status: "RESOURCE_EXHAUSTED", details } });
  const cases = [
    ["2026-07-01T06:59:00Z", 1],
    ["2026-07-01T07:00:00Z", 24 * 60],
    ["2026-12-01T07:59:00Z", 1],
    ["2026-12-01T20:00:00Z", 12 * 60],
  ] as const;
  for (const [at, minutes] of cases) {
    const { kind, retryAfterMs } = failureOf(reply, "submit", Date.parse(at));
    assert.deepEqual([kind, retryAfterMs], ["exhausted", minutes * 60_000], at);
  }
});

test("up to ten minutes are a matter of waiting, and a header is heeded where the body says nothing", () => {
  const told = (delay: string, headers = {}) => {
    const error = { status: "RESOURCE_EXHAUSTED", details: [{ retryDelay: delay }] };
    const { kind, retryAfterMs } = failureOf(replyOf(429, { error }, headers));
    return [kind, retryAfterMs];
  };
  assert.deepEqual(told("600s"), ["rate_limited", 600_000]);
  assert.deepEqual(told("600.5s"), ["exhausted", 600_500]);
  assert.deepEqual(told("soon"), ["rate_limited", undefined]);
  assert.deepEqual(told("-5s"), ["rate_limited", undefined]);
  assert.deepEqual(told("999999999s"), ["exhausted", 86_400_000]);
  assert.deepEqual(told("soon", { "retry-after": "7" }), ["rate_limited", 7_000]);
});

test("a server error of the vendor made nothing; one of somebody on the way may hide a picture", () => {
  const kinds: [status: number, submit: FailureKind, poll: FailureKind][] = [
    [401, "unauthorized", "unavailable"],
    [402, "exhausted", "rate_limited"],
    [403, "unauthorized", "unavailable"],
    [404, "unavailable", "vanished"],
    [405, "bad_request", "garbled"],
    [408, "unavailable", "unavailable"],
    [410, "bad_request", "vanished"],
    [413, "bad_request", "garbled"],
    [429, "rate_limited", "rate_limited"],
    [500, "unavailable", "unavailable"],
    [502, "lost", "unavailable"],
    [503, "unavailable", "unavailable"],
    [504, "lost", "unavailable"],
    [529, "unavailable", "unavailable"],
  ];
  for (const [status, submit, poll] of kinds) {
    const reply = replyOf(status, undefined);
    assert.equal(failureOf(reply, "submit").kind, submit, `submit ${status}`);
    assert.equal(failureOf(reply, "poll").kind, poll, `poll ${status}`);
  }
});

test("an error under status 200 is an error", () => {
  assert.equal(failureOf(replyOf(200, { error: { status: "UNAVAILABLE" } })).kind, "unavailable");
  assert.equal(failureOf(replyOf(200, { error: {} })).kind, "garbled");
  assertAnswered(replyOf(200, { error: null }), "submit", callAt(startMs, "att_1"));
  assertAnswered(replyOf(200, { candidates: [] }), "submit", callAt(startMs, "att_1"));
});

test("odd error bodies are judged by what can be read of them", () => {
  const bodies: [body: unknown, kind: FailureKind][] = [
    [{ error: "no" }, "unavailable"],
    [{ error: { code: 429.5, status: 7, details: "none" } }, "unavailable"],
    [{ error: { code: "constructor" } }, "unavailable"],
    [
      { error: { code: 503, details: [null, { reason: 3, violations: [null, {}] }] } },
      "unavailable",
    ],
    [{ error: { code: 8 } }, "rate_limited"],
    [{ error: { status: "PERMISSION_DENIED", details: {} } }, "unauthorized"],
  ];
  for (const [body, kind] of bodies) {
    assert.equal(failureOf(replyOf(503, body)).kind, kind, JSON.stringify(body));
  }
});

test("a wrong key is not a rejection of what was sent", () => {
  const rejected = errors.filter(({ status, body }) => isRejected(replyOf(status, body)));
  assert.deepEqual(
    rejected.map(({ name }) => name),
    ["a bad field", "flat: a bad field", "flat: an unknown field", "flat: not there"],
  );
});

test("a word that no picture came with never makes the outcome unknown", () => {
  for (const word of ["cancelled", "constructor", "", "SOMETHING_NEW", 1, 499, -1, 0.5]) {
    const { kind, taskError } = failureOfWord(word);
    assert.deepEqual([kind, taskError], ["refused", "no_image"], String(word));
  }
});

function failureOf(
  reply: VendorReply,
  verb: VendorRequest["verb"] = "submit",
  now = startMs,
): ProviderError {
  try {
    assertAnswered(reply, verb, callAt(now, "att_1"));
  } catch (error) {
    if (error instanceof ProviderError) return error;
    throw error;
  }
  assert.fail("nothing was thrown");
}

function replyOf(status: number, json: unknown, headers: Record<string, string> = {}): VendorReply {
  return { status, headers, json, excerpt: "the beginning" };
}
