import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { canonicalJson, isJsonObject } from "./json.ts";
import type { JsonValue } from "./json.ts";

/** The same value with the members of every object in another order. */
function shuffle(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(shuffle);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([name, member]) => [name, shuffle(member)]),
  );
}

test("equal values have equal text, whatever the order of their members", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      const value = JSON.parse(text) as JsonValue;
      assert.equal(canonicalJson(shuffle(value)), canonicalJson(value));
    }),
  );
});

test("the text is JSON for the same value", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      const value = JSON.parse(text) as JsonValue;
      assert.deepEqual(JSON.parse(canonicalJson(value)), value);
    }),
  );
});

test("different values have different text", () => {
  const values = [
    "1",
    "1.5",
    '"1"',
    "null",
    "{}",
    "[]",
    '{"a":null}',
    "[1,2]",
    "[2,1]",
    '{"a":[]}',
  ];
  const texts = values.map((text) => canonicalJson(JSON.parse(text) as JsonValue));
  assert.equal(new Set(texts).size, values.length);
});

test("members that have special names elsewhere are plain members here", () => {
  const value = JSON.parse('{"__proto__":1,"constructor":2}') as JsonValue;
  assert.equal(canonicalJson(value), '{"__proto__":1,"constructor":2}');
});

test("only objects are objects", () => {
  assert.equal(isJsonObject({}), true);
  for (const other of [null, [], "x", 1, true, undefined]) {
    assert.equal(isJsonObject(other), false);
  }
});
