/** What tests of adapters need beside an emulator: the real way out, trusted to reach this machine. */
import { createEgress } from "../../src/lib/egress.ts";
import { systemClock } from "../../src/lib/time.ts";
import type { Clock } from "../../src/lib/time.ts";
import type { Job } from "../../src/providers/adapter.ts";
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
