/** The guard of `lib/egress.ts` with names and a clock of the test, and what a request of it comes to. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";

import { EgressError } from "../../src/lib/egress-error.ts";
import type { EgressErrorKind } from "../../src/lib/egress-error.ts";
import { createEgress } from "../../src/lib/egress.ts";
import type { EgressOptions } from "../../src/lib/egress.ts";
import { createTestClock } from "./clock.ts";

/** What every test but a few asks for. */
export const limits = { bytesMax: 1_000, timeoutMs: 20_000 };

type SetUp = Partial<EgressOptions> & {
  /** Answers by name; where there are several lists, each question takes the next one. */
  answers?: Record<string, string[][]>;
};

/** A guard that trusts 127.0.0.1 alone, so that 127.0.0.2 is the same machine and still forbidden. */
export function createTestEgress(context: TestContext, { answers = {}, ...options }: SetUp = {}) {
  const clock = createTestClock();
  const asked: string[] = [];
  const egress = createEgress({
    allow: ["127.0.0.1/32"],
    clock,
    resolve: (hostname) => {
      const lists = answers[hostname] ?? [];
      const list =
        lists[Math.min(asked.filter((name) => name === hostname).length, lists.length - 1)];
      asked.push(hostname);
      return list === undefined ? Promise.reject(new Error("ENOTFOUND")) : Promise.resolve(list);
    },
    ...options,
  });
  context.after(() => egress.close());
  return { egress, clock, asked };
}

export function fails(kind: EgressErrorKind, sent: boolean, message = /./) {
  return (error: unknown): true => {
    assert.ok(error instanceof EgressError, String(error));
    assert.deepEqual({ kind: error.kind, sent: error.sent }, { kind, sent }, error.message);
    assert.match(error.message, message);
    return true;
  };
}

export function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
