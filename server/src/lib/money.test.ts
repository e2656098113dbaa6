import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { assertMicros, formatUsd, parseUsd, scale, toCredits, toUsd } from "./money.ts";

const amounts = fc.integer({ min: -999_999_999_999_999, max: 999_999_999_999_999 });

test("an operator's decimal amounts are read exactly", () => {
  const cases: [string, number | null][] = [
    ["12.5", 12_500_000],
    ["0", 0],
    ["-0.000001", -1],
    [" 7 ", 7_000_000],
    ["999999999.999999", 999_999_999_999_999],
    // 0.1 + 0.2 and its kin never pass through a float.
    ["0.300001", 300_001],
    ["1.0000001", null],
    ["1000000000", null],
    ["1.", null],
    [".5", null],
    ["1,5", null],
    ["1e3", null],
    ["+1", null],
    ["", null],
    ["--1", null],
    ["0x10", null],
  ];
  for (const [text, micros] of cases) assert.equal(parseUsd(text), micros, JSON.stringify(text));
});

test("amounts are written with two to six decimals", () => {
  const cases: [number, string][] = [
    [38_700, "0.0387"],
    [12_500_000, "12.50"],
    [0, "0.00"],
    [1, "0.000001"],
    [-1, "-0.000001"],
    [-1_500_000, "-1.50"],
    [10_000_000, "10.00"],
    [1_230_000, "1.23"],
    [100_000, "0.10"],
  ];
  for (const [micros, text] of cases) assert.equal(formatUsd(micros), text);
});

test("what is written is read again as the same amount", () => {
  fc.assert(
    fc.property(amounts, (micros) => {
      assert.equal(parseUsd(formatUsd(micros)), micros === 0 ? 0 : micros);
    }),
  );
});

test("the API's numbers are exact to six decimals, and ten credits are a dollar", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 9_000_000_000_000 }), (micros) => {
      assert.equal(Math.round(toUsd(micros) * 1e6), micros);
      assert.equal(Math.round(toCredits(micros) * 1e5), micros);
    }),
  );
  assert.equal(JSON.stringify({ cost: toUsd(38_700) }), '{"cost":0.0387}');
  assert.equal(JSON.stringify({ cost: toCredits(38_700) }), '{"cost":0.387}');
});

test("scaling rounds half up and is exact where floats are not", () => {
  assert.equal(scale(1, 1, 2), 1);
  assert.equal(scale(3, 1, 2), 2);
  assert.equal(scale(1, 499_999, 1_000_000), 0);
  assert.equal(scale(Number.MAX_SAFE_INTEGER, 1, 1), Number.MAX_SAFE_INTEGER);
  assert.equal(scale(9_007_199_254_740_990, 999_999, 1_000_000), 9_007_190_247_541_735);
  assert.throws(() => scale(Number.MAX_SAFE_INTEGER, 2, 1), /whole number of micro-USD/);
  assert.throws(() => scale(-1, 1, 1), /whole number of micro-USD/);
});

test("only whole, safe amounts from zero up pass", () => {
  for (const good of [0, 1, Number.MAX_SAFE_INTEGER]) assertMicros(good);
  for (const bad of [-1, 0.5, Number.NaN, Infinity, Number.MAX_SAFE_INTEGER + 1]) {
    assert.throws(() => assertMicros(bad), /whole number of micro-USD/);
  }
});
