import assert from "node:assert/strict";
import { test } from "node:test";

import type { EgressReply } from "../lib/egress.ts";
import { createReplies } from "./replies.ts";

/** A reply of `length` bytes that arrives when `sent` resolves. */
function replyOf(length: number, sent: Promise<void> = Promise.resolve()): EgressReply {
  return {
    status: 200,
    headers: { "content-length": String(length) },
    url: "https://vendor.example/v1/images",
    body: (async function* () {
      await sent;
      yield new Uint8Array(length - 1);
      yield new Uint8Array(1);
    })(),
    read: () => assert.fail("the pieces are read one by one"),
    discard: () => undefined,
  };
}

const long = 2 ** 20;

test("of long replies that end together one is parsed in a turn of the event loop", async () => {
  const replies = createReplies();
  let turn = 0;
  let isRunning = true;
  const count = (): void => {
    turn += 1;
    if (isRunning) setImmediate(count);
  };
  setImmediate(count);
  const turns = await Promise.all(
    Array.from({ length: 5 }, () => replies.take(replyOf(long), () => turn)),
  );
  isRunning = false;
  assert.equal(new Set(turns).size, 5, `parsed in the turns ${turns.join(", ")}`);
});

test("a reply is parsed whole, also when parsing fails the next one is", async () => {
  const replies = createReplies();
  const failing = replies.take(replyOf(long), () => {
    throw new RangeError("not JSON");
  });
  await assert.rejects(failing, RangeError);
  assert.equal(await replies.take(replyOf(long), (bytes) => bytes.length), long);
  assert.equal(await replies.take(replyOf(10), (bytes) => bytes.length), 10);
});

test("replies beyond the bound wait until others have been taken in", async () => {
  const replies = createReplies();
  const sent = Promise.withResolvers<void>();
  const order: string[] = [];
  const big = 200 * 2 ** 20;
  const first = replies.take(replyOf(big, sent.promise), () => order.push("first"));
  const second = replies.take(replyOf(big), () => order.push("second"));
  sent.resolve();
  await Promise.all([first, second]);
  assert.deepEqual(order, ["first", "second"]);
});
