import assert from "node:assert/strict";
import { test } from "node:test";

import { groupPlaces } from "./group-places.ts";

const letters = {
  keyOf: (item: string) => item.slice(0, 1),
  isSame: (a: string, b: string) => a.charAt(0) === b.charAt(0),
};

test("groups stand in the order of their keys, places in the order of the list", () => {
  assert.deepEqual(groupPlaces(["b1", "a1", "a2", "b2", "a3"], letters), [
    [1, 2, 4],
    [0, 3],
  ]);
});

test("neighbours of one key cost one key", () => {
  let keys = 0;
  const keyOf = (item: string): string => {
    keys += 1;
    return letters.keyOf(item);
  };
  assert.deepEqual(groupPlaces(["a1", "a2", "a3", "b1"], { ...letters, keyOf }), [[0, 1, 2], [3]]);
  assert.equal(keys, 2);
});

test("an empty list has no groups", () => {
  assert.deepEqual(groupPlaces([], letters), []);
});
