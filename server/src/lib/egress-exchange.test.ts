import assert from "node:assert/strict";
import { test } from "node:test";
import { createTestClock } from "../../test/support/clock.ts";
import { EgressError } from "./egress-error.ts";
import { createExchange } from "./egress-exchange.ts";

function setUp() {
  const clock = createTestClock();
  return { clock, exchange: createExchange({ clock, timeoutMs: 20_000, signal: undefined }) };
}

function withCode(code: string): Error {
  return Object.assign(new Error("went wrong"), { code });
}

test("a failure counts as sent from the moment the request may leave", () => {
  const { exchange } = setUp();
  const before = exchange.describe(withCode("ECONNRESET"));
  assert.deepEqual([before.kind, before.sent], ["unreachable", false]);
  exchange.markSent();
  const after = exchange.describe(withCode("ECONNRESET"));
  assert.deepEqual([after.kind, after.sent], ["broken", true]);
  assert.equal(after.message, "ECONNRESET: went wrong");
});

test("what the network library reports is told apart by its code, also when several addresses failed", () => {
  const { exchange } = setUp();
  const cases = {
    ERR_IP_BLOCKED: "blocked",
    UND_ERR_CONNECT_TIMEOUT: "timeout",
    UND_ERR_HEADERS_OVERFLOW: "too_large",
    ECONNREFUSED: "unreachable",
  };
  for (const [code, kind] of Object.entries(cases)) {
    assert.equal(exchange.describe(withCode(code)).kind, kind);
    const several = new AggregateError([withCode("EHOSTUNREACH"), withCode(code)]);
    assert.equal(exchange.describe(several).kind, kind);
    assert.match(exchange.describe(several).message, new RegExp(code));
  }
  assert.equal(exchange.describe("nonsense").kind, "unreachable");
});

test("the reason why an exchange was ended outweighs the errors that follow from it", async () => {
  const { clock, exchange } = setUp();
  exchange.enter(5_000, "no connection");
  await clock.advance(5_000);
  const error = exchange.describe(withCode("ECONNRESET"));
  assert.ok(error instanceof EgressError);
  assert.deepEqual([error.kind, error.message], ["timeout", "no connection within 5000 ms"]);
});

test("a stage replaces the one before it and leaves the limit of the whole alone", async () => {
  const { clock, exchange } = setUp();
  exchange.enter(5_000, "one");
  await clock.advance(4_000);
  exchange.enter(5_000, "two");
  await clock.advance(4_000);
  exchange.leave();
  await clock.advance(11_999);
  assert.equal(exchange.signal.aborted, false);
  await clock.advance(1);
  assert.equal(exchange.signal.aborted, true);
  exchange.end();
  assert.equal(clock.waiting, 0);
});
