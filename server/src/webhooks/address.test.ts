import assert from "node:assert/strict";
import { test } from "node:test";

import { createEgress } from "../lib/egress.ts";
import { AppError } from "../lib/errors.ts";
import { createTestClock } from "../../test/support/clock.ts";
import { callbackOf, checkAddress, parseTarget } from "./address.ts";

test("the address of a submit keeps its path and query and grows by /callback, without a double slash", () => {
  const cases = [
    ["https://h.example", "https://h.example/callback"],
    ["https://h.example/", "https://h.example/callback"],
    ["https://h.example/api", "https://h.example/api/callback"],
    ["https://h.example/api//", "https://h.example/api/callback"],
    ["https://h.example/api?token=a%20b&x=/", "https://h.example/api/callback?token=a%20b&x=/"],
    ["https://h.example/api#part", "https://h.example/api/callback"],
    [" http://h.example:80/a ", "http://h.example/a/callback"],
  ];
  for (const [base = "", expected] of cases) assert.equal(callbackOf(base).url, expected);
});

test("deliveries are bounded by scheme, host and port", () => {
  assert.equal(
    parseTarget("https://h.example/a").origin,
    parseTarget("https://H.example:443/b").origin,
  );
  assert.notEqual(
    parseTarget("https://h.example/").origin,
    parseTarget("http://h.example/").origin,
  );
  assert.notEqual(
    parseTarget("https://h.example/").origin,
    parseTarget("https://h.example:8443/").origin,
  );
});

test("an address that could never be reached is refused by the name of its field", () => {
  const egress = createEgress({
    allow: [],
    resolve: () => Promise.reject(new Error("no names in tests")),
    clock: createTestClock(),
  });
  const bad = [
    "ftp://example.com/",
    "example.com/hook",
    "http://",
    "https://user:secret@example.com/",
    "https://example.com:8443/",
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://169.254.169.254/latest/meta-data",
    "http://192.168.1.1/",
    "http://localhost/",
    "http://service.internal/",
    `https://example.com/${"a".repeat(8_200)}`,
  ];
  for (const address of bad) {
    assert.throws(
      () => checkAddress(egress, address, "url"),
      (error) =>
        error instanceof AppError &&
        error.reason === "invalid_parameter" &&
        error.param === "url" &&
        error.message.startsWith("url ") &&
        !error.message.includes("secret"),
      address,
    );
  }
  checkAddress(egress, "https://example.com/hook?x=1", "url");
  checkAddress(egress, "http://example.com:80/", "url");
});
