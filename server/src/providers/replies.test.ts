import assert from "node:assert/strict";
import { test } from "node:test";

import { z } from "zod";

import type { EgressReply } from "../lib/egress.ts";
import { base64Schema, parseBase64 } from "./base64.ts";
import { createReplies } from "./replies.ts";

/** A reply of `length` bytes without any sense. */
function replyOf(length: number): EgressReply {
  return replyWith([new Uint8Array(length - 1), new Uint8Array(1)]);
}

/** A reply that arrives when `sent` resolves. */
function replyWith(
  pieces: readonly Uint8Array[],
  sent: Promise<void> = Promise.resolve(),
): EgressReply {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  return {
    status: 200,
    headers: { "content-length": String(length) },
    url: "https://vendor.example/v1/images",
    body: (async function* () {
      await sent;
      yield* pieces;
    })(),
    read: () => assert.fail("the pieces are read one by one"),
    discard: () => undefined,
  };
}

const long = 2 ** 20;

/** The turn of the event loop in which each of the takings ended. */
async function turnsOf(takings: readonly (() => Promise<unknown>)[]): Promise<number[]> {
  let turn = 0;
  let isRunning = true;
  const count = (): void => {
    turn += 1;
    if (isRunning) setImmediate(count);
  };
  setImmediate(count);
  const turns = await Promise.all(
    takings.map(async (take) => {
      await take();
      return turn;
    }),
  );
  isRunning = false;
  return turns;
}

test("of long replies that end together one is parsed in a turn of the event loop", async () => {
  const replies = createReplies();
  const turns = await turnsOf(Array.from({ length: 5 }, () => () => replies.take(replyOf(long))));
  assert.equal(new Set(turns).size, 5, `parsed in the turns ${turns.join(", ")}`);
});

test("pictures that arrive together are decoded over many turns of the event loop", async () => {
  const replies = createReplies();
  const picture = Buffer.alloc(2 * long, 7);
  const body = Buffer.from(JSON.stringify({ data: picture.toString("base64") }));
  const pieces = Array.from({ length: Math.ceil(body.length / 65_536) }, (_, index) =>
    body.subarray(index * 65_536, (index + 1) * 65_536),
  );
  const take = async (): Promise<void> => {
    const { json } = await replies.take(replyWith(pieces));
    const { data } = z.object({ data: base64Schema }).parse(json);
    assert.ok(picture.equals(parseBase64(data)));
  };
  const turns = await turnsOf(Array.from({ length: 8 }, () => take));
  // Eight times 2.8 MB, two megabytes at a time.
  assert.ok(Math.max(...turns) >= 10, `ended in the turns ${turns.join(", ")}`);
});

test("a reply is read whole, also after one that was cut", async () => {
  const replies = createReplies();
  const cut = replies.take({
    ...replyOf(long),
    body: (async function* () {
      yield Buffer.from("{");
      throw new RangeError("cut");
    })(),
  });
  await assert.rejects(cut, RangeError);
  const { json, beginning } = await replies.take(
    replyWith([Buffer.from('{"a":'), Buffer.from("1}")]),
  );
  assert.deepEqual(json, { a: 1 });
  assert.equal(Buffer.from(beginning).toString(), '{"a":1}');
});

test("replies beyond the bound wait until others have been taken in", async () => {
  const replies = createReplies();
  const sent = Promise.withResolvers<void>();
  const order: string[] = [];
  const big = 200 * 2 ** 20;
  const announced = { "content-length": String(big) };
  const small = [Buffer.from("{}")];
  const first = replies.take({ ...replyWith(small, sent.promise), headers: announced });
  const second = replies.take({ ...replyWith(small), headers: announced });
  const all = Promise.all([
    first.then(() => order.push("first")),
    second.then(() => order.push("second")),
  ]);
  sent.resolve();
  await all;
  assert.deepEqual(order, ["first", "second"]);
});
