import assert from "node:assert/strict";
import { test } from "node:test";

import { findS3Target, locateBucket } from "./s3-target.ts";

function placeOf(text: string): string {
  const target = findS3Target(text);
  assert.ok(target !== null, text);
  return `${locateBucket(target, target.endpoint)}/${target.prefix}`;
}

test("a bucket alone is one of Amazon's, under its own host name", () => {
  assert.deepEqual(findS3Target("s3://pictures?region=eu-central-1"), {
    bucket: "pictures",
    region: "eu-central-1",
    endpoint: "https://s3.eu-central-1.amazonaws.com",
    style: "host",
    prefix: "",
    publicEndpoint: "https://s3.eu-central-1.amazonaws.com",
  });
  assert.equal(placeOf("s3://pictures"), "https://pictures.s3.us-east-1.amazonaws.com/");
  assert.equal(placeOf("s3://a.b"), "https://s3.us-east-1.amazonaws.com/a.b/");
});

test("another endpoint has the bucket in the path, or in the host when asked", () => {
  const asked = "s3://pictures?endpoint=https://s3.example.com:9000";
  assert.equal(placeOf(asked), "https://s3.example.com:9000/pictures/");
  assert.equal(placeOf(`${asked}/base/`), "https://s3.example.com:9000/base/pictures/");
  assert.equal(placeOf(`${asked}&style=host`), "https://pictures.s3.example.com:9000/");
  assert.equal(placeOf(`${asked}&prefix=a/b/`), "https://s3.example.com:9000/pictures/a/b/");
});

test("callers are sent to a store over https, and to a plain one only when that is said", () => {
  const publicOf = (text: string) => findS3Target(text)?.publicEndpoint;
  assert.equal(publicOf("s3://p12?endpoint=https://s3.example.com"), "https://s3.example.com");
  assert.equal(publicOf("s3://p12?endpoint=https://s3.example.com&downloads=stream"), null);
  assert.equal(publicOf("s3://p12?endpoint=http://s3:9000"), null);
  assert.equal(publicOf("s3://p12?endpoint=http://s3:9000&downloads=redirect"), "http://s3:9000");
  assert.equal(
    publicOf("s3://p12?endpoint=http://s3:9000&public_endpoint=https://files.example.com"),
    "https://files.example.com",
  );
});

test("what is not understood is refused as a whole", () => {
  for (const text of [
    "",
    "pictures",
    "https://pictures",
    "S3://pictures",
    "s3://",
    "s3://x",
    "s3://Pictures",
    "s3://pic_tures",
    "s3://pictures:9000",
    "s3://key:secret@pictures",
    "s3://pictures/prefix",
    "s3://pictures#a",
    "s3://pictures?regoin=eu",
    "s3://pictures?region=",
    "s3://pictures?region=a&region=b",
    "s3://pictures?region=EU West",
    "s3://pictures?endpoint=s3.example.com",
    "s3://pictures?endpoint=ftp://s3.example.com",
    "s3://pictures?endpoint=https://key:secret@s3.example.com",
    "s3://pictures?endpoint=https://s3.example.com?a=b",
    "s3://pictures?prefix=/a",
    "s3://pictures?prefix=a//b",
    "s3://pictures?prefix=a/../b",
    "s3://pictures?prefix=a b",
    `s3://pictures?prefix=${"a".repeat(201)}`,
    "s3://pictures?style=both",
    "s3://pictures?downloads=no",
    "s3://pictures?public_endpoint=files.example.com",
    "s3://pictures?downloads=stream&public_endpoint=https://files.example.com",
  ]) {
    assert.equal(findS3Target(text), null, text);
  }
});
