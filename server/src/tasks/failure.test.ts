import assert from "node:assert/strict";
import { test } from "node:test";

import { failureKinds, ProviderError } from "../providers/adapter.ts";
import type { FailureKind } from "../providers/adapter.ts";
import { decide, pauseBeforeRetry } from "./failure.ts";
import type { Decision } from "./failure.ts";

const expected: Record<FailureKind, [Decision["again"], Decision["attempt"], Decision["error"]]> = {
  refused: ["never", "failed", "content_policy_violation"],
  bad_request: ["never", "failed", "provider_rejected"],
  unauthorized: ["elsewhere", "failed", "provider_unavailable"],
  exhausted: ["elsewhere", "failed", "provider_unavailable"],
  unserved: ["elsewhere", "failed", "provider_unavailable"],
  rate_limited: ["anywhere", "failed", "provider_unavailable"],
  unavailable: ["anywhere", "failed", "provider_unavailable"],
  lost: ["never", "unknown", "outcome_unknown"],
  vanished: ["never", "unknown", "outcome_unknown"],
  garbled: ["never", "unknown", "outcome_unknown"],
};

test("every kind of failure has its decision, and only what made nothing is tried again", () => {
  for (const kind of failureKinds) {
    const { again, attempt, error } = decide(new ProviderError(kind, "words of a vendor"));
    assert.deepEqual([again, attempt, error], expected[kind], kind);
    assert.ok(again === "never" || attempt === "failed", kind);
  }
});

test("an adapter that names the task error has the last word, and nothing is tried again", () => {
  for (const kind of failureKinds) {
    const decision = decide(new ProviderError(kind, "words", { taskError: "invalid_mask" }));
    assert.deepEqual(decision, {
      again: "never",
      attempt: expected[kind][1],
      error: "invalid_mask",
    });
  }
});

test("pauses double up to a minute, are spread over their whole length, and respect the vendor", () => {
  assert.deepEqual(
    [1, 2, 3, 4, 20].map((tries) => pauseBeforeRetry(tries, 0.5, undefined)),
    [500, 1_000, 2_000, 4_000, 30_000],
  );
  assert.equal(pauseBeforeRetry(1, 0, undefined), 0);
  assert.equal(pauseBeforeRetry(1, 0, 2_500), 2_500);
  assert.equal(pauseBeforeRetry(3, 0.999, 100), 3_996);
});
