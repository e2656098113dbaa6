import assert from "node:assert/strict";
import { test } from "node:test";

import { createIds, idPrefixes, isId, lowestId, timeOfId } from "./ids.ts";
import type { IdKind } from "./ids.ts";
import { systemRandom } from "./random.ts";
import type { Random } from "./random.ts";
import type { Clock } from "./time.ts";

function setup(random: Random = systemRandom) {
  const time = { ms: 1_767_225_600_000 };
  const clock: Pick<Clock, "now"> = { now: () => time.ms };
  // Ids read nothing of a clock but its date.
  return { time, ids: createIds(clock as Clock, random) };
}

test("an id is its kind's prefix and 26 Crockford characters, and its kind recognises it", () => {
  const { ids } = setup();
  const kinds = Object.keys(idPrefixes) as IdKind[];
  for (const kind of kinds) {
    const id = ids(kind);
    assert.match(id, new RegExp(`^${idPrefixes[kind]}[0-9A-HJKMNP-TV-Z]{26}$`));
    for (const other of kinds) assert.equal(isId(other, id), other === kind);
  }
});

test("the time part is that of the ULID specification", () => {
  const { time, ids } = setup();
  time.ms = 1_469_918_176_385;
  assert.equal(ids("task").slice(0, 15), "task_01ARYZ6S41");
  assert.equal(setup().ids("task").slice(5, 15), "01KDVDNA00");
});

test("ids of one process sort in the order they were made, though its clock stands or goes back", () => {
  const { time, ids } = setup();
  const made: string[] = [];
  for (let i = 0; i < 5_000; i += 1) {
    if (i % 1_000 === 500) time.ms -= 60_000;
    if (i % 100 === 0) time.ms += 1;
    made.push(ids("task"));
  }
  assert.deepEqual(made, made.toSorted());
  assert.equal(new Set(made).size, made.length);
});

test("counting up within a millisecond carries over and has room from the highest start", () => {
  const highest: Random = { ...systemRandom, bytes: (size) => Buffer.alloc(size, 255) };
  const { ids } = setup(highest);
  const first = ids("task");
  assert.ok(first.endsWith("FZZZZZZZZZZZZZZZ"), first);
  assert.ok(ids("task").endsWith("G000000000000000"));
  assert.ok(ids("task").endsWith("G000000000000001"));
});

test("two processes do not make the same ids in the same millisecond", () => {
  const [a, b] = [setup().ids, setup().ids];
  const made = new Set(Array.from({ length: 1_000 }, () => [a("task"), b("task")]).flat());
  assert.equal(made.size, 2_000);
});

test("what is no id is not taken for one", () => {
  const id = setup().ids("task");
  const wrong = [
    "",
    id.slice(5),
    id.slice(0, -1),
    `${id}0`,
    ` ${id}`,
    `${id}\n`,
    id.toLowerCase(),
    `${id.slice(0, -1)}U`,
    id.replace("task_", "key_"),
  ];
  for (const text of wrong) assert.equal(isId("task", text), false, JSON.stringify(text));
});

test("the lowest id of a moment stands between the ids made before it and the others", () => {
  const { time, ids } = setup();
  const before = ids("task");
  time.ms += 1;
  const lowest = lowestId("task", time.ms);
  const made = ids("task");
  assert.ok(before < lowest && lowest <= made, `${before} ${lowest} ${made}`);
});

test("an id tells when it was made", () => {
  const { time, ids } = setup();
  assert.equal(timeOfId("task", ids("task")), time.ms);
  assert.equal(timeOfId("key", lowestId("key", 0)), 0);
});
