import assert from "node:assert/strict";
import { test } from "node:test";

import { releaseMemory } from "./heap.ts";

test("what a burst of work has left behind is given back", () => {
  let garbage: unknown[] = Array.from({ length: 400_000 }, (_, index) => ({ index }));
  const before = process.memoryUsage().heapTotal;
  assert.equal(garbage.length, 400_000);
  garbage = [];
  releaseMemory();
  const given = before - process.memoryUsage().heapTotal;
  assert.ok(given > 8 * 2 ** 20, `${given} bytes were given back`);
});
