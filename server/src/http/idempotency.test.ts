import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";

import { assert as check, dictionary, jsonValue, property, string } from "fast-check";

import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { digestBody, parseIdempotencyKey } from "./idempotency.ts";

test("a key is taken literally, quotes included", () => {
  for (const key of ["a", '"a"', "a,b", "!", "~", "0f8f-…".replace("…", "x"), "k".repeat(191)]) {
    assert.equal(parseIdempotencyKey({ "idempotency-key": key }), key);
  }
});

test("without the header there is no key", () => {
  assert.equal(parseIdempotencyKey({}), null);
});

test("a key of other than 1 to 191 visible ASCII characters is refused by name", () => {
  for (const key of ["", " ", "a b", "a\tb", "ключ", "a\u007f", "k".repeat(192)]) {
    assert.throws(
      () => parseIdempotencyKey({ "idempotency-key": key }),
      (error) =>
        error instanceof AppError &&
        error.reason === "invalid_header" &&
        error.param === "Idempotency-Key" &&
        error.message.includes("1 to 191 visible ASCII characters"),
    );
  }
});

const picture = `data:image/png;base64,${"A".repeat(4_000)}`;
const body: JsonObject = {
  model: "gpt-image-1-official",
  prompt: "a fox",
  n: 2,
  image_urls: [picture, "https://a.example/1.png"],
  webhook: null,
};

test("the order of members does not matter, at any depth", () => {
  const turned = {
    webhook: null,
    image_urls: [picture, "https://a.example/1.png"],
    n: 2,
    prompt: "a fox",
    model: "gpt-image-1-official",
  };
  assert.equal(digestBody(body), digestBody(turned));
  assert.equal(digestBody({ a: { b: 1, c: 2 } }), digestBody({ a: { c: 2, b: 1 } }));
});

test("anything else that differs gives another digest", () => {
  const others: JsonObject[] = [
    { ...body, n: 3 },
    { ...body, n: "2" },
    { ...body, prompt: "a fox " },
    { ...body, webhook: "" },
    Object.fromEntries(Object.entries(body).filter(([name]) => name !== "webhook")),
    { ...body, image_urls: ["https://a.example/1.png", picture] },
    { ...body, image_urls: [`${picture}B`, "https://a.example/1.png"] },
    { ...body, image_urls: [picture.replace("png", "jpg"), "https://a.example/1.png"] },
    { ...body, extra: {} },
    { ...body, extra: [] },
  ];
  const digests = [body, ...others].map(digestBody);
  assert.equal(new Set(digests).size, digests.length);
});

test("the digest is SHA-256 over the canonical JSON, in which a data URI stands as its own", () => {
  const uri = "data:image/png;base64,AAAA";
  const inner = createHash("sha256").update(uri).digest("hex");
  const text = `{"image_urls":["data:;sha256,${inner}"],"model":"m"}`;
  assert.equal(
    digestBody({ model: "m", image_urls: [uri] }),
    createHash("sha256").update(text).digest("hex"),
  );
});

test("a body and its round trip through JSON text have one digest", () => {
  const object = dictionary(string(), jsonValue({ maxDepth: 4 }));
  check(
    property(object, (value) => {
      const members = JSON.parse(JSON.stringify(value)) as JsonObject;
      const reversed = Object.fromEntries(Object.entries(members).toReversed());
      assert.equal(digestBody(members), digestBody(reversed));
    }),
  );
});
