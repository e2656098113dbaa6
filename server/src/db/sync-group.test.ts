import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { createSyncGroup } from "./sync-group.ts";

type Gate = { resolve(): void; reject(error: Error): void };

/** A disk whose syncs end when the test says so. */
function setup() {
  const gates: Gate[] = [];
  const fatal: Error[] = [];
  const group = createSyncGroup(
    () => new Promise<void>((resolve, reject) => gates.push({ resolve, reject })),
    (error) => fatal.push(error),
  );
  return { group, gates, fatal };
}

test("without a commit there is nothing to wait for", async () => {
  const { group, gates } = setup();
  await group.wait();
  assert.equal(gates.length, 0);
});

test("callers that come before a sync begins share it, and a later one needs no other", async () => {
  const { group, gates } = setup();
  group.addCommit();
  const first = group.wait();
  group.addCommit();
  group.addCommit();
  const others = [group.wait(), group.wait(), group.wait()];
  gates[0]!.resolve();
  await first;
  gates[1]!.resolve();
  await Promise.all(others);
  await group.wait();
  assert.equal(gates.length, 2);
});

test("a commit made while a sync runs is not durable when that sync ends", async () => {
  const { group, gates } = setup();
  group.addCommit();
  const first = group.wait();
  group.addCommit();
  const second = group.wait();
  gates[0]!.resolve();
  await first;
  const winner = await Promise.race([second.then(() => "durable"), nextTurn("not yet")]);
  assert.equal(winner, "not yet");
  gates[1]!.resolve();
  await second;
});

test("a failed sync is fatal once, and nobody is told that anything is durable after it", async () => {
  const { group, gates, fatal } = setup();
  group.addCommit();
  const first = group.wait();
  group.addCommit();
  const second = group.wait();
  gates[0]!.reject(new Error("disk gone"));
  await assert.rejects(first, /disk gone/);
  await assert.rejects(second, /disk gone/);
  await assert.rejects(group.wait(), /disk gone/);
  assert.equal(gates.length, 1);
  assert.deepEqual(
    fatal.map((error) => error.message),
    ["disk gone"],
  );
});

test("after a failure elsewhere every caller is refused, also when all was synced", async () => {
  const { group } = setup();
  group.fail(new Error("commit failed"));
  await assert.rejects(group.wait(), /commit failed/);
});
