import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestClock } from "../../test/support/clock.ts";
import type { Caller } from "./caller.ts";
import { createVerifiedKeys } from "./verified-keys.ts";

const caller: Caller = {
  accountId: "acc_1",
  accountName: "default",
  keyId: "key_1",
  keyName: "first",
  mode: "live",
  ratioPpm: 1_000_000,
  cap: null,
  models: null,
  ips: null,
  requestsPerMinute: null,
  tasksInFlight: null,
  spendPerDay: null,
  accountLimits: null,
  expiresAt: null,
};

function setup() {
  const clock = createTestClock();
  const verified = createVerifiedKeys(clock);
  let finds = 0;
  const load = (found: Promise<Caller | null>) =>
    verified.load("digest", () => {
      finds += 1;
      return found;
    });
  return { clock, verified, load, finds: () => finds };
}

test("a key that was found is looked up again only after a second", async () => {
  const { clock, load, finds } = setup();
  await load(Promise.resolve(caller));
  await clock.advance(999);
  assert.equal(await load(Promise.resolve(null)), caller);
  assert.equal(finds(), 1);
  await clock.advance(1);
  assert.equal(await load(Promise.resolve(null)), null);
  assert.equal(finds(), 2);
});

test("a key that was not found is looked up each time", async () => {
  const { load, finds } = setup();
  assert.equal(await load(Promise.resolve(null)), null);
  assert.equal(await load(Promise.resolve(caller)), caller);
  assert.equal(finds(), 2);
});

test("a look-up that began before a revocation is not remembered after it", async () => {
  const { verified, load } = setup();
  const { promise, resolve } = Promise.withResolvers<Caller | null>();
  const early = load(promise);
  verified.forget("digest");
  resolve(caller);
  assert.equal(await early, caller);
  assert.equal(await load(Promise.resolve(null)), null);
});

test("the second is counted from before the look-up, however long that took", async () => {
  const { clock, load } = setup();
  const { promise, resolve } = Promise.withResolvers<Caller | null>();
  const slow = load(promise);
  await clock.advance(1_000);
  resolve(caller);
  await slow;
  assert.equal(await load(Promise.resolve(null)), null);
});
