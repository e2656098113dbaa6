import assert from "node:assert/strict";
import { test } from "node:test";

import type { Random } from "../lib/random.ts";
import { systemRandom } from "../lib/random.ts";
import { createToken, digestToken, hintOf, isToken } from "./token.ts";

function randomOf(byte: number): Random {
  return { bytes: (size) => Buffer.alloc(size, byte), fraction: () => 0 };
}

test("a key says its mode and carries 256 bits in 43 characters", () => {
  assert.equal(createToken(randomOf(0), "live"), `sk-live-${"0".repeat(43)}`);
  const highest = createToken(randomOf(255), "test");
  assert.match(highest, /^sk-test-[0-9A-Za-z]{43}$/);
  // All 256 bits are set in what the 43 digits spell.
  const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const value = highest
    .slice(8)
    .split("")
    .reduce((sum, digit) => sum * 62n + BigInt(digits.indexOf(digit)), 0n);
  assert.equal(value, 2n ** 256n - 1n);
});

test("no two keys are alike", () => {
  const tokens = Array.from({ length: 1_000 }, () => createToken(systemRandom, "live"));
  assert.equal(new Set(tokens).size, tokens.length);
  assert.ok(tokens.every(isToken));
});

test("text that is no key is recognised without a look-up", () => {
  const secret = "a".repeat(43);
  assert.ok(isToken(`sk-live-${secret}`));
  for (const text of [
    "",
    `sk-prod-${secret}`,
    `sk-live-${secret}a`,
    `sk-live-${secret.slice(1)}`,
    `sk-live-${secret.slice(1)}-`,
    ` sk-live-${secret}`,
    `sk-live-${secret}\n`,
  ]) {
    assert.equal(isToken(text), false, JSON.stringify(text));
  }
});

test("the digest of a key depends on the pepper and on every character", () => {
  const pepper = Buffer.from("pepper");
  const token = `sk-live-${"a".repeat(43)}`;
  const digest = digestToken(pepper, token);
  assert.match(digest, /^[0-9a-f]{64}$/);
  assert.equal(digestToken(pepper, token), digest);
  assert.notEqual(digestToken(Buffer.from("salt"), token), digest);
  assert.notEqual(digestToken(pepper, token.replace("live", "test")), digest);
});

test("the hint of a key is its last four characters", () => {
  assert.equal(hintOf(`sk-live-${"a".repeat(39)}wxyz`), "wxyz");
});
