/** What tests of adapters need beside an emulator: the real way out, trusted to reach this machine. */
import assert from "node:assert/strict";

import { createEgress } from "../../src/lib/egress.ts";
import { systemClock } from "../../src/lib/time.ts";
import type { Clock } from "../../src/lib/time.ts";
import { ProviderError } from "../../src/providers/adapter.ts";
import type { FailureKind, Job } from "../../src/providers/adapter.ts";
import { createSend } from "../../src/providers/request.ts";
import type { Send } from "../../src/providers/request.ts";

/** Sends to loopback addresses; no name resolves. */
export function createTestSend(clock: Clock = systemClock): {
  send: Send;
  close: () => Promise<void>;
} {
  const egress = createEgress({
    allow: ["127.0.0.0/8"],
    clock,
    resolve: () => Promise.reject(new Error("ENOTFOUND")),
  });
  return { send: createSend(egress), close: () => egress.close() };
}

/** A job for one square png of a cat. */
export function catJob(wishes: Partial<Job>): Job {
  return {
    model: "gpt-image-2.5-flare",
    upstreamModel: "gpt-image-2.5-flare",
    prompt: "a cat",
    parameters: {},
    slots: [0],
    width: 1_024,
    height: 1_024,
    format: "png",
    references: [],
    mask: null,
    test: false,
    ...wishes,
  };
}

/** For `assert.rejects`: a failure of this kind. */
export function isFailure(kind: FailureKind): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.kind, kind, error.message);
    return true;
  };
}
