import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestClock } from "../../test/support/clock.ts";
import { createSharedWatch } from "./shared-watch.ts";
import { createWatch } from "./watch.ts";

/** Two nodes whose notices reach both, as PostgreSQL's do. */
function setup() {
  const clock = createTestClock();
  const sent: string[] = [];
  const names = ["nod_a", "nod_b"] as const;
  const nodes = names.map((node) => createSharedWatch(createWatch(), { clock, node, send }));
  function send(text: string): Promise<void> {
    sent.push(text);
    for (const { receive } of nodes) receive(text);
    return Promise.resolve();
  }
  const [a, b] = nodes;
  assert.ok(a !== undefined && b !== undefined);
  return { clock, sent, a, b };
}

test("what one node tells is heard there at once and on the others shortly after, once each", async () => {
  const { clock, a, b } = setup();
  const heard: string[] = [];
  for (const [name, { watch }] of Object.entries({ a, b })) {
    watch.onReady((lane) => heard.push(`${name} ready ${lane}`));
    watch.onChanged("task_1", () => heard.push(`${name} changed`));
    watch.onEnded("task_1", () => heard.push(`${name} ended`));
    watch.onPlaceFreed(() => heard.push(`${name} place`));
  }
  a.watch.ready("model/live");
  a.watch.changed("task_1");
  a.watch.ended("task_1");
  a.watch.placeFreed();
  assert.deepEqual(heard, ["a ready model/live", "a changed", "a ended", "a place"]);
  await clock.advance(20);
  assert.deepEqual(heard.slice(4), ["b ready model/live", "b changed", "b ended", "b place"]);
});

test("hints of a moment go out in one notice, each named once", async () => {
  const { clock, sent, a } = setup();
  for (let i = 0; i < 50; i += 1) a.watch.changed(`task_${i % 2}`);
  await clock.advance(20);
  assert.deepEqual(sent, ["nod_a ctask_0 ctask_1"]);
  await clock.advance(1_000);
  assert.equal(sent.length, 1);
});

test("a notice carries at most 200 hints and fits the server's bound; the rest follows", async () => {
  const { clock, sent, a } = setup();
  for (let i = 0; i < 450; i += 1) a.watch.changed(`task_${String(i).padStart(26, "0")}`);
  for (let i = 0; i < 50; i += 1) a.watch.ready(`${"m".repeat(300)}${i}`);
  await clock.advance(20);
  assert.equal(sent.length, 1);
  await clock.advance(2_000);
  const hints = sent.flatMap((text) => text.split(" ").slice(1));
  assert.equal(new Set(hints).size, 500);
  for (const text of sent) {
    assert.ok(text.split(" ").length <= 201);
    assert.ok(Buffer.byteLength(text) < 8_000);
  }
});

test("words of a newer node are passed over", () => {
  const { a } = setup();
  assert.doesNotThrow(() => a.receive("nod_new zsomething ctask_1"));
});
