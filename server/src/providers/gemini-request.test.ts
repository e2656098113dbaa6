import assert from "node:assert/strict";
import { test } from "node:test";

import { referenceOf } from "../../test/contracts/adapter-driver.ts";
import { encodeBody, pictureData } from "./gemini-request.ts";

test("bytes of every length are written as base64 into one well-formed body", async () => {
  const lengths = [0, 1, 2, 3, 4, 255, 65_537];
  const pictures = lengths.map((length) => Buffer.alloc(length, length));
  const body = {
    text: "a “cat” 猫",
    parts: pictures.map(() => ({ data: pictureData })),
    end: true,
  };
  const encoded = await encodeBody(
    body,
    pictures.map((bytes) => referenceOf(bytes)),
  );
  assert.deepEqual(JSON.parse(Buffer.from(encoded).toString()), {
    ...body,
    parts: pictures.map((bytes) => ({ data: bytes.toString("base64") })),
  });
});

test("pictures are read one after the other", async () => {
  let reading = 0;
  let readingMost = 0;
  const references = [1, 2, 3].map((length) => ({
    ...referenceOf(Buffer.alloc(length)),
    read: async () => {
      readingMost = Math.max(readingMost, (reading += 1));
      await new Promise<void>((resolve) => setImmediate(resolve));
      reading -= 1;
      return Buffer.alloc(length);
    },
  }));
  await encodeBody({ parts: references.map(() => ({ data: pictureData })) }, references);
  assert.equal(readingMost, 1);
});

test("a reference that is not what was stored is never sent", async () => {
  for (const length of [2, 4]) {
    const reference = { ...referenceOf(Buffer.alloc(3)), read: async () => Buffer.alloc(length) };
    await assert.rejects(encodeBody({ data: pictureData }, [reference]), /changed its length/);
  }
});
